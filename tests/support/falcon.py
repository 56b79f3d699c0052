"""Falcon's attention maps, written out: those that transformers returns for it are not causal."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from llm_anatomy.model.parts.architecture import Decoder
from transformers.models.falcon.modeling_falcon import apply_rotary_pos_emb, build_alibi_tensor


def falcon_attention(decoder: Decoder, ids: Sequence[int]) -> list[np.ndarray]:
    """softmax((q k^T + alibi) / sqrt(d)) over earlier tokens, [heads, query, key] per layer."""
    seen: list[tuple[Any, torch.Tensor, Any]] = []

    def keep(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        states = args[0] if args else kwargs["hidden_states"]
        seen.append((module, states, kwargs.get("position_embeddings")))

    modules = [block.module.self_attention for block in decoder.blocks]
    handles = [module.register_forward_hook(keep, with_kwargs=True) for module in modules]
    decoder.model(torch.tensor([list(ids)]))
    for handle in handles:
        handle.remove()
    return [_map(module, states, rotary) for module, states, rotary in seen]


def _map(module: Any, states: torch.Tensor, rotary: Any) -> np.ndarray:
    query, key, _ = module._split_heads(module.query_key_value(states))
    query, key = query.transpose(1, 2), key.transpose(1, 2)
    scores = torch.zeros(query.shape[1], query.shape[2], query.shape[2], dtype=query.dtype)
    if module.config.alibi:
        mask = torch.ones(1, query.shape[2])
        scores = scores + build_alibi_tensor(mask, query.shape[1], query.dtype).view(
            -1, 1, len(mask[0])
        )
    else:
        query, key = apply_rotary_pos_emb(query, key, *rotary)
    scores = (scores + (query @ key.mT)[0]) / math.sqrt(query.shape[-1])
    later = torch.ones_like(scores[0], dtype=torch.bool).triu(1)
    result: np.ndarray = scores.masked_fill(later, -torch.inf).softmax(-1).double().numpy()
    return result
