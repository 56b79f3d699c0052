"""Whether a model's files fill every parameter of its architecture, and which tensor fills which.

transformers fills what is missing with random numbers and leaves out what has no place. Both are
asked of transformers itself, which knows the names of every family, without reading a weight.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from llm_anatomy.errors import UserError
from llm_anatomy.model.source.shards import stored_tensors, tensor_files, tensor_shapes

INTEGERS = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "BOOL"}
# Buffers that older versions of transformers stored, and that are computed today: rotary
# frequencies, positions, and causal masks (with the value that they put in). Their number of
# dimensions tells a mask, [1, 1, n, n], from a bias.
OLD_BUFFERS = {
    r"(^|\.)inv_freq$": (1,),
    r"(^|\.)position_ids$": (1, 2),
    r"(^|\.)embed_positions$": (2, 3),
    r"(^|\.)(attn|attention)\.(bias|causal_mask)$": (4,),
    r"(^|\.)(attn|attention)\.masked_bias$": (0, 1),
}


def check_tensors(model: Any, weights: Path, name: str) -> None:
    """Check that files and architecture fit each other, tensor by tensor.

    Tied weights may be stored once, under names of older versions, with or without the base model's
    prefix, and beside buffers that are computed today.

    Args:
        model: The model of the folder's `config.json`, on the meta device.
        weights: Folder with the safetensors files.
        name: The model's configured name, for the message.

    Raises:
        UserError: A tensor is missing, has no place, has another shape or holds integers, or tied
            weights are stored twice and differ.
    """
    tensors = stored_tensors(weights)
    own = model.state_dict()
    for tensor, entry in tensors.items():
        integer = entry["dtype"] in INTEGERS and not _old_buffer(tensor, entry["shape"])
        if integer and (tensor not in own or own[tensor].is_floating_point()):
            raise UserError(
                f"the model '{name}': the tensor '{tensor}' is stored as {entry['dtype']}, which "
                "no unquantised weight is; give the unquantised model (precision.quantisation "
                "quantises it at load)"
            )
    empty = {
        tensor: torch.empty(entry["shape"], dtype=torch.float32, device="meta")
        for tensor, entry in tensors.items()
    }
    _, report = _load(model, empty, device_map={"": "meta"})
    fault = loading_fault(report, tensor_shapes(weights))
    if fault is not None:
        raise UserError(f"the model '{name}': {fault}")
    _check_tied(model, weights, name)


def loading_fault(report: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> str | None:
    """What is wrong with how transformers filled a model, and what to do; None where nothing is.

    Args:
        report: Its `output_loading_info`: `missing_keys`, `unexpected_keys`, `mismatched_keys`.
        shapes: Shape of every stored tensor.
    """
    for key, stored, expected in sorted(report["mismatched_keys"], key=lambda item: str(item[0])):
        return (
            f"the tensor '{key}' has the shape {tuple(stored)} in its files, but config.json "
            f"asks for {tuple(expected)}; take the config.json that belongs to the weights"
        )
    missing = sorted(report["missing_keys"])
    unexpected = sorted(
        key for key in report["unexpected_keys"] if not _old_buffer(key, _shape(key, shapes))
    )
    if missing and all("lm_head" in key or "embed_out" in key for key in missing):
        return (
            f"its files hold no LM head ('{missing[0]}'), which would be filled with random "
            "numbers; save the model with its head (AutoModelForCausalLM), or set "
            "tie_word_embeddings to true in config.json if its head is its embedding"
        )
    parts = []
    if missing:
        parts.append(
            f"{len(missing)} of its tensors are in none of its files, first '{missing[0]}', and "
            "would be filled with random numbers"
        )
    if unexpected:
        parts.append(
            f"its files hold {len(unexpected)} tensors that config.json has no place for, first "
            f"'{unexpected[0]}', which would be left out"
        )
    if not parts:
        return None
    return (
        " and ".join(parts) + "; take the config.json that belongs to the weights (layers, biases, "
        "model_type), or download or save the whole model again"
    )


def stored_names(model: Any, weights: Path) -> dict[str, str]:
    """Which stored tensor fills each parameter of a model; tied parameters have the same.

    Every stored tensor is replaced by one that is its number everywhere and takes no memory; the
    numbers in the loaded model tell. Parameters that are put together from several tensors (the
    experts of a mixture) are left out.

    Args:
        model: The model, on any device; its weights are not read.
        weights: Folder with the safetensors files, which fit the model.
    """
    tensors = stored_tensors(weights)
    names = sorted(tensors)
    numbered = {
        name: torch.tensor(float(number)).expand(tensors[name]["shape"])
        for number, name in enumerate(names)
    }
    filled, _ = _load(model, numbered)
    found = {}
    for name, parameter in filled.named_parameters(remove_duplicate=False):
        low, high = (int(extreme) for extreme in torch.aminmax(parameter.detach()))
        if low == high and list(parameter.shape) == tensors[names[low]]["shape"]:
            found[name] = names[low]
    return found


def _check_tied(model: Any, weights: Path, name: str) -> None:
    """Refuse tied weights that are stored twice and differ: which of them counts is unclear."""
    files = tensor_files(weights)
    for target, source in getattr(model, "all_tied_weights_keys", {}).items():
        pair = [_stored_as(key, files) for key in (target, source)]
        if None in pair:
            continue
        first, second = (_read(weights / files[str(key)], str(key)) for key in pair)
        if not torch.equal(first, second):
            raise UserError(
                f"the model '{name}': config.json says that '{pair[0]}' and '{pair[1]}' are the "
                "same weights (tie_word_embeddings), but its files hold both and they differ; set "
                "tie_word_embeddings to false in config.json if the head is its own"
            )


def _stored_as(parameter: str, files: Mapping[str, str]) -> str | None:
    """The stored name of an embedding or head, with or without the base model's prefix."""
    candidates = [parameter, parameter.split(".", 1)[-1]]
    if parameter == "lm_head.weight":
        candidates = [parameter, "embed_out.weight"]
    return next((candidate for candidate in candidates if candidate in files), None)


def _read(file: Path, tensor: str) -> Tensor:
    with safe_open(file, framework="pt") as stored:
        read: Tensor = stored.get_tensor(tensor)
    return read


def _load(model: Any, tensors: dict[str, Tensor], **options: Any) -> Any:
    with _quiet():
        return type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=tensors,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence: transformers without its bar and its own report."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _old_buffer(name: str, shape: list[int]) -> bool:
    return any(
        re.search(pattern, name) and len(shape) in dimensions
        for pattern, dimensions in OLD_BUFFERS.items()
    )


def _shape(key: str, shapes: Mapping[str, list[int]]) -> list[int]:
    """Shape of a tensor that transformers may have added a prefix to, or taken it from."""
    same = (name for name in shapes if key == name or key.endswith("." + name))
    name = next(same, next((n for n in shapes if n.endswith("." + key)), None))
    return [] if name is None else shapes[name]
