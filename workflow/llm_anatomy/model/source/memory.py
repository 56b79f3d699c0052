"""Whether a model can fit this machine, from its configuration alone."""

from pathlib import Path
from typing import Any

import torch

from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import ModelSource
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.machine import machine_memory as machine_memory

GIGABYTE = 1e9


def empty_model(folder: Path, source: ModelSource, **options: Any) -> Any:
    """Build a model's modules without weights (on the meta device) from its `config.json`.

    Args:
        folder: Folder with the configuration.
        source: The configured model.
        **options: Further options of `AutoConfig.from_pretrained`, such as `gguf_file`.

    Raises:
        UserError: transformers knows no such decoder, or it needs code that is not trusted.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    trust = source.trust_remote_code
    try:
        config = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust, **options
        )
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
    except Exception as error:  # sizes that cannot be built are errors of many kinds
        if "trust_remote_code" in str(error):
            raise UserError(
                f"the model '{source.name}' comes with its own Python code, which is not run; read "
                "that code and set trust_remote_code: true for this model if you trust it"
            ) from error
        reason = " ".join(str(error).split())
        raise UserError(
            f"the model '{source.name}' is no decoder that transformers can build ({reason[:300]})"
        ) from error


def count_parameters(model: Any) -> int:
    """Number of parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def check_memory(parameters: int, name: str, precision: Precision, compute: Compute) -> None:
    """Check that a model's weights fit the memory of the device that is configured.

    Where the configured cards are not on this machine (a cluster's login node), nothing is checked.

    Raises:
        UserError: They do not; the sentence says how much is needed and there, and what helps.
    """
    available, where = device_memory(compute)
    needed = parameters * precision.weight_bytes
    if available is None or needed <= available:
        return
    smaller = [
        f"precision.{key}: {value} ({amount / GIGABYTE:.0f} GB)"
        for key, value, amount in (
            ("dtype", "bfloat16", parameters * Precision(dtype="bfloat16").weight_bytes),
            ("quantisation", "4bit", parameters * Precision(quantisation="4bit").weight_bytes),
        )
        if amount <= available
    ]
    remedy = f"set {' or '.join(smaller)}, or " if smaller else ""
    raise UserError(
        f"the model '{name}' has {parameters / 1e9:.1f} billion parameters and needs "
        f"{needed / GIGABYTE:.0f} GB in {_label(precision)}, but {where} has "
        f"{available / GIGABYTE:.0f} GB; {remedy}use a smaller model or a larger machine"
    )


def device_memory(compute: Compute) -> tuple[float | None, str]:
    """Bytes of memory of the configured device, and its name; None where it is not here."""
    if compute.device == "cpu":
        return machine_memory(), "this machine"
    if not torch.cuda.is_available():
        return None, compute.device
    totals = [
        torch.cuda.get_device_properties(index).total_memory
        for index in range(torch.cuda.device_count())
    ]
    return max(totals), "a card of this machine"


def _label(precision: Precision) -> str:
    return precision.dtype if precision.quantisation == "none" else precision.quantisation
