"""Load a prepared model: verify its files, build it, resolve its parts, prove them."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llm_anatomy.artefacts.files import sha256_file as sha256_file
from llm_anatomy.config.base import CPU_BATCH_TOKENS, Compute, Precision
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.devices import batch_budget, choose_device
from llm_anatomy.model.run.proof import prove
from llm_anatomy.model.run.tokenizer import open_tokenizer
from llm_anatomy.model.source.head_rows import with_tokens
from llm_anatomy.model.source.record import package_versions as package_versions
from llm_anatomy.model.source.record import table_provenance, verified_record
from llm_anatomy.model.source.shards import tensor_shapes
from llm_anatomy.model.source.tensors import loading_fault


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for study.

    Attributes:
        decoder: The model with its parts resolved and proven.
        tokenizer: Its tokenizer.
        provenance: What to record in every table made with it.
        batch_tokens: Most padded tokens in one forward pass.
    """

    decoder: Decoder
    tokenizer: Any
    provenance: dict[str, Any]
    batch_tokens: int = CPU_BATCH_TOKENS


def load_model(provenance_path: Path, precision: Precision, compute: Compute) -> LoadedModel:
    """Load the model that `prepare_model` left beside its `provenance.json`.

    Raises:
        UserError: A file is missing or damaged, the device is not there, or the model's parts
            cannot be resolved or proven.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    # Its bars would tear the log; stages report their own progress.
    transformers_logging.disable_progress_bar()
    record = verified_record(provenance_path)
    weights = provenance_path.parent / "weights"
    device = choose_device(compute)
    options: dict[str, Any] = {}
    if precision.quantisation != "none":
        options["quantization_config"] = _quantisation(precision)
    if precision.quantisation != "none" or device != "cpu":
        # Tensor by tensor from the file to the card: the model is never in the CPU's memory.
        options["device_map"] = {"": device}
    trust = bool(record.get("trust_remote_code", False))
    # With `output_loading_info` a pair is returned, which its annotation does not say.
    pair: Any = AutoModelForCausalLM.from_pretrained(
        weights,
        output_loading_info=True,
        dtype=getattr(torch, precision.dtype),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=trust,
        **options,
    )
    model, report = pair
    fault = loading_fault(report, tensor_shapes(weights))
    if fault is not None:
        raise UserError(f"the model '{record['model']}': {fault}")
    model.eval().requires_grad_(False)
    tokenizer = open_tokenizer(weights, record)
    decoder = with_tokens(prove(resolve(model)), tokenizer.own.get_vocab())
    budget = batch_budget(compute, device, _token_bytes(decoder))
    return LoadedModel(decoder, tokenizer, table_provenance(record, precision), budget)


def _token_bytes(decoder: Decoder) -> int:
    """What a token takes in a pass, generously: a layer's activations, and float32 logits."""
    dense = [block for block in decoder.blocks if block.mlp is not None]
    widest = max((block.up.out_features for block in dense), default=0)
    activations = 4 * widest + 12 * decoder.d_model
    return decoder.dtype.itemsize * activations + 2 * 4 * decoder.vocab_size


def _quantisation(precision: Precision) -> Any:
    from transformers import BitsAndBytesConfig

    try:
        importlib.metadata.version("bitsandbytes")
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(
            f"precision.quantisation is '{precision.quantisation}' but bitsandbytes is not "
            "installed; install it with: pip install 'llm-anatomy[quantised]'"
        ) from error
    return BitsAndBytesConfig(
        load_in_8bit=precision.quantisation == "8bit",
        load_in_4bit=precision.quantisation == "4bit",
        # Closer to normally distributed weights than the library's own default.
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, precision.dtype),
    )
