"""Checkpoints whose weights are quantised in their files, which are refused by name.

Standard library only, so that they are found while the workflow is being read.
"""

import re
from collections.abc import Mapping
from typing import Any

from llm_anatomy.errors import UserError

SECTIONS = ("quantization_config", "compression_config")
# What quantisers put beside or in place of a weight.
STORED = {
    "AWQ or GPTQ": r"\.(qweight|qzeros|g_idx)$",
    "FP8 or compressed-tensors": r"\.weight_(scale|scale_inv|packed|zero_point|shape)$",
    "EETQ": r"\.weight_scales$",
    "quanto": r"\.weight\._(data|scale|shift)$|\.(input|output)_scale$",
    "AQLM or VPTQ": r"\.(codes|codebooks|centroids|res_centroids|vector_norms)$",
    "bitsandbytes": r"\.(SCB|weight_format)$|\.weight\.(absmax|quant_map|quant_state\..*)$",
    "MXFP4": r"_(blocks|scales)$",
    "torchao": r"(:|\.|_)(qdata|tensor_impl\..*)$",
    "HQQ": r"\.W_q$",
}
# Types of numbers that a dense weight is stored in, as safetensors calls them.
DENSE = frozenset({"F64", "F32", "F16", "BF16"})


def check_unquantised(config: Mapping[str, Any], tensors: Mapping[str, str], name: str) -> None:
    """Check that neither the configuration nor a tensor's name or type speaks of quantised weights.

    Args:
        config: The model's `config.json`.
        tensors: Types of its stored tensors by name, as far as they are known.
        name: The model's configured name, for the message.

    Raises:
        UserError: One does; the sentence names the method.
    """
    remedy = (
        "give the model that it was made from (precision.quantisation: 4bit or 8bit quantises any "
        "model while it is loaded)"
    )
    inner = config.get("text_config")
    for holder in (config, inner if isinstance(inner, dict) else {}):
        for key in SECTIONS:
            section = holder.get(key)
            if section:
                raise UserError(
                    f"the model '{name}': its config.json says that its weights are stored "
                    f"quantised ({key}: {_method(section)}), which no study reads; {remedy}, or "
                    f"remove {key} if the weights are dense"
                )
    for tensor in sorted(tensors):
        for method, pattern in STORED.items():
            if re.search(pattern, tensor):
                raise UserError(
                    f"the model '{name}': its files hold '{tensor}', as {method} stores quantised "
                    f"weights, which no study reads; {remedy}"
                )
        # Masks and positions are no weights.
        if tensor.endswith(".weight") and tensors[tensor] not in DENSE:
            raise UserError(
                f"the model '{name}': its files hold '{tensor}' as {tensors[tensor]}, a type of "
                f"quantised weights, which no study reads; {remedy}"
            )


def _method(section: Any) -> str:
    """Method and format of a quantisation, in a few words."""
    if not isinstance(section, dict):
        return str(section)[:60]
    parts = [str(section.get("quant_method") or "no quant_method")]
    parts += [str(section[key]) for key in ("format", "fmt", "quant_type") if section.get(key)]
    bits = section.get("bits") or section.get("w_bit")
    bits = bits or next((n for n in (4, 8) if section.get(f"load_in_{n}bit")), None)
    return ", ".join([*parts, *([f"{bits} bits"] if bits else [])])
