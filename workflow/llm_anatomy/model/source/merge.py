"""Merge a LoRA adapter into a model's weights: W + s B A, with s = alpha / r.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1, equation 3.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.source.adapter import ADAPTER_WEIGHTS, LoraSettings
from llm_anatomy.model.source.shards import tensor_files
from llm_anatomy.model.source.tensors import stored_names

PREFIX = "base_model.model."
ELSEWHERE = "merge it with PEFT (merge_and_unload) and give the merged folder as the model's 'path'"


def merge_adapter(
    weights: Path, decoder: Decoder, adapter: Path, settings: LoraSettings, name: str
) -> int:
    """Replace a model's weights by the merged ones; tensors that stay are copied as they are.

    A merged tensor is stored in float32, because a small update would be lost to rounding.

    Args:
        weights: The prepared model's `weights/`; links in it become files.
        decoder: The base model, on the meta device.
        adapter: The adapter's folder, checked.
        settings: What its configuration says.
        name: The model's configured name, for messages.

    Returns:
        Number of tensors that were changed.

    Raises:
        UserError: The adapter belongs to another model, or changes what cannot be merged.
    """
    refusal = next((b.mlp_refusal for b in decoder.blocks if b.mlp is None), None)
    if refusal is not None:
        raise UserError(
            f"the model '{name}': {refusal}, into which no adapter is merged here; {ELSEWHERE}"
        )
    model = decoder.model
    changes = _changes(load_file(adapter / ADAPTER_WEIGHTS), settings, adapter, name)
    stored = stored_names(model, weights)
    files = tensor_files(weights)
    by_file: dict[str, dict[str, Any]] = defaultdict(dict)
    for parameter, change in changes.items():
        parameter = _known(parameter, model, adapter, name)
        tensor = stored.get(parameter)
        if tensor is None:
            raise UserError(
                f"the model '{name}': the adapter {adapter} changes '{parameter}', which is put "
                f"together from several tensors; {ELSEWHERE}"
            )
        tied = [other for other, same in stored.items() if same == tensor and other != parameter]
        if tied:
            raise UserError(
                f"the model '{name}': the adapter {adapter} changes '{parameter}', which is the "
                f"same weight as '{tied[0]}', so that merging it would change both; give a base "
                "model whose head and embedding are stored apart"
            )
        by_file[files[tensor]][tensor] = (parameter, change)
    for file, own in by_file.items():
        _rewrite(weights / file, own, model, f"the model '{name}': the adapter {adapter}")
    return len(changes)


def _changes(
    tensors: dict[str, Tensor], settings: LoraSettings, adapter: Path, name: str
) -> dict[str, Tensor | tuple[Tensor, Tensor, float]]:
    """What becomes of each parameter: a tensor in its place, or (A, B, s)."""
    where = f"the model '{name}': the adapter {adapter}"
    changes: dict[str, Tensor | tuple[Tensor, Tensor, float]] = {}
    halves: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        if not key.startswith(PREFIX):
            raise UserError(f"{where} holds '{key}', which does not begin with '{PREFIX}'")
        path = key.removeprefix(PREFIX)
        half = re.fullmatch(r"(.+)\.lora_([AB])\.weight", path)
        if half:
            halves[half[1]][half[2]] = tensor.float()
        elif "lora_" in path or not path.endswith((".weight", ".bias")):
            raise UserError(
                f"{where} holds '{key}', which is no update of a linear map; {ELSEWHERE}"
            )
        else:
            # `modules_to_save` and trained biases, whole; PEFT wraps the layers that it updates.
            changes[path.replace(".base_layer.", ".")] = tensor
    for module, pair in halves.items():
        if set(pair) != {"A", "B"}:
            raise UserError(f"{where} lacks one of lora_A and lora_B of '{module}'")
        rank = settings.rank_of(module)
        if not len(pair["A"]) == pair["B"].shape[1] == rank:
            raise UserError(
                f"{where} has rank {len(pair['A'])} for '{module}' but its configuration says "
                f"{rank}; its two files do not belong together"
            )
        if f"{module}.weight" in changes:
            raise UserError(f"{where} holds '{module}' whole and as an update; {ELSEWHERE}")
        changes[f"{module}.weight"] = (pair["A"], pair["B"], settings.scale(module))
    if not halves:
        raise UserError(f"{where} holds no update (lora_A, lora_B)")
    return changes


def _known(parameter: str, model: Any, adapter: Path, name: str) -> str:
    """A parameter's name in the model with its head; adapters may be of the model without."""
    known = dict(model.named_parameters(remove_duplicate=False))
    for candidate in (parameter, f"{model.base_model_prefix}.{parameter}"):
        if candidate in known:
            return candidate
    raise UserError(
        f"the model '{name}': the adapter {adapter} changes '{parameter}', which the model does "
        "not have; give the base model that it was trained on"
    )


def _rewrite(file: Path, changes: dict[str, Any], model: Any, where: str) -> None:
    """Write a file with some of its tensors changed in the place of the old one."""
    tensors = load_file(file)
    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
    for tensor, (parameter, change) in changes.items():
        base = tensors[tensor].float()
        if isinstance(change, Tensor):
            merged = change.float()
        else:
            module = model.get_submodule(parameter.rpartition(".")[0])
            merged = low_rank_update(*change)
            # GPT-2's weights are stored [in, out].
            merged = merged.T if isinstance(module, Conv1D) else merged
        if merged.shape != base.shape:
            raise UserError(
                f"{where} changes '{parameter}' of the shape {tuple(merged.shape)}, but the "
                f"model's is {tuple(base.shape)}; give the base model that it was trained on"
            )
        tensors[tensor] = (merged if isinstance(change, Tensor) else base + merged).contiguous()
    # The old one may be a link to the user's file, which must stay as it is.
    file.unlink()
    save_file(tensors, file, metadata or {"format": "pt"})


def low_rank_update(
    a: Float[Tensor, "rank in"], b: Float[Tensor, "out rank"], scale: float
) -> Float[Tensor, "out in"]:
    """The update s B A, computed in float64."""
    return (scale * (b.double() @ a.double())).float()
