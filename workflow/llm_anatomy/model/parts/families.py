"""What the module tree of a family does not say by itself: the row layout of fused projections.

Everything else is resolved by structure in `architecture.py`. A family needs an entry here only
when its fused query-key-value rows are not simply all queries, then all keys, then all values.
"""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

HeadRows = tuple[Int[Tensor, " q"], Int[Tensor, " k"], Int[Tensor, " v"]]


def fused_qkv_rows(
    config: Any, fused_name: str, n_heads: int, n_kv_heads: int, head_dim: int
) -> HeadRows:
    """Which output rows of a fused projection are queries, keys and values.

    Args:
        config: The model's text configuration.
        fused_name: Attribute name of the fused module, such as `c_attn` or `query_key_value`.
        n_heads: Query heads.
        n_kv_heads: Key and value heads.
        head_dim: Features per head.
    """
    if config.model_type == "falcon":
        return _falcon_rows(config, n_heads, n_kv_heads, head_dim)
    if config.model_type == "codegen":
        # Four groups of heads, each with all its queries, then all its values, then all its keys.
        rows = torch.arange(3 * n_heads * head_dim).view(4, 3, -1)
        return rows[:, 0].flatten(), rows[:, 2].flatten(), rows[:, 1].flatten()
    if fused_name == "query_key_value":
        # GPT-NeoX and Bloom: for each head its query, key and value rows.
        rows = torch.arange(n_heads * 3 * head_dim).view(n_heads, 3, head_dim)
        return rows[:, 0].flatten(), rows[:, 1].flatten(), rows[:, 2].flatten()
    # GPT-2, Phi-3, MPT: all queries, then all keys, then all values.
    q, kv = n_heads * head_dim, n_kv_heads * head_dim
    rows = torch.arange(q + 2 * kv)
    return rows[:q], rows[q : q + kv], rows[q + kv :]


def _falcon_rows(config: Any, n_heads: int, n_kv_heads: int, head_dim: int) -> HeadRows:
    if config.new_decoder_architecture:
        # For each key-value head: its group of query heads, its key, its value.
        group = n_heads // n_kv_heads
        rows = torch.arange((n_heads + 2 * n_kv_heads) * head_dim)
        rows = rows.view(n_kv_heads, group + 2, head_dim)
        return rows[:, :-2].flatten(), rows[:, -2].flatten(), rows[:, -1].flatten()
    if config.multi_query:
        rows = torch.arange((n_heads + 2) * head_dim).view(n_heads + 2, head_dim)
        return rows[:-2].flatten(), rows[-2].flatten(), rows[-1].flatten()
    rows = torch.arange(n_heads * 3 * head_dim).view(n_heads, 3, head_dim)
    return rows[:, 0].flatten(), rows[:, 1].flatten(), rows[:, 2].flatten()


def key_value_heads(config: Any, n_heads: int) -> int:
    """Key and value heads of a family whose fused projection does not show them by its shape."""
    if config.model_type == "falcon":
        if config.new_decoder_architecture:
            return int(config.num_kv_heads)
        return 1 if config.multi_query else n_heads
    return int(getattr(config, "num_key_value_heads", None) or n_heads)


def is_parallel(config: Any) -> bool:
    """Whether the configuration says that attention and MLP read the same residual stream."""
    if config.model_type == "falcon":
        return bool(config.new_decoder_architecture or config.parallel_attn)
    return bool(getattr(config, "use_parallel_residual", False))


def refuse_unsupported(config: Any) -> str | None:
    """Why a configuration lies outside the formulas of all four papers, or None.

    The formulas need a residual stream that each sublayer adds to and nothing else changes.
    """
    if config.model_type == "opt" and not config.do_layer_norm_before:
        return "it normalises the residual stream after each sublayer (OPT-350m's post-norm)"
    if getattr(config, "apply_residual_connection_post_layernorm", False):
        return "its residual connections start after the norm (Bloom's post-norm variant)"
    if "conv" in (getattr(config, "layer_types", None) or ()):
        return "some of its layers are convolutions instead of attention (LFM2)"
    if getattr(config, "is_encoder_decoder", False):
        return "it is an encoder-decoder model"
    return None
