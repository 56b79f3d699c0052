"""Slow references that read like the paper's formulas, in float64 and without batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from llm_anatomy.model.parts.architecture import Decoder


def preactivations(decoder: Decoder, ids: Sequence[int]) -> list[np.ndarray]:
    """h of every layer [tokens, units], as the model itself computes it for one text."""
    seen: dict[int, np.ndarray] = {}
    handles = []
    for block in decoder.blocks:

        def keep(module: Any, args: Any, output: torch.Tensor, block: Any = block) -> None:
            own = block.preactivation.select(output)
            seen[block.index] = own.reshape(-1, own.shape[-1]).double().numpy()

        handles.append(block.preactivation.module.register_forward_hook(keep))
    with torch.no_grad():
        decoder.body(input_ids=torch.tensor([list(ids)]), use_cache=False)
    for handle in handles:
        handle.remove()
    return [seen[layer] for layer in range(decoder.n_layers)]


def features(h: np.ndarray, weight: np.ndarray) -> list[float]:
    """The seven features of one layer, one number at a time (papers/geometry, section 2.1)."""
    norms = [float(np.sqrt((w.astype(np.float64) ** 2).sum())) for w in weight]
    a, d = [], []
    for row in h.tolist():
        a.append(sum(1 for value in row if value > 0) / len(row))
        d.append(min(abs(value) / norm for value, norm in zip(row, norms, strict=True)))
    return [mean(a), min(a), max(a), std(a), min(d), mean(d), std(d)]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def std(values: list[float]) -> float:
    if len(values) == 1:
        return 0.0
    centre = mean(values)
    return float(np.sqrt(sum((v - centre) ** 2 for v in values) / (len(values) - 1)))


def attention(decoder: Decoder, ids: Sequence[int]) -> list[np.ndarray]:
    """Whole attention maps [heads, query, key] of one text from the eager implementation."""
    config = decoder.model.config
    before = config._attn_implementation
    decoder.model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            output = decoder.body(
                input_ids=torch.tensor([list(ids)]), use_cache=False, output_attentions=True
            )
    finally:
        decoder.model.set_attn_implementation(before)
    return [layer[0].double().numpy() for layer in output.attentions]


def count(row: np.ndarray, threshold: float, relative: bool) -> int:
    limit = threshold * max(row) if relative else threshold
    return sum(1 for value in row if value > limit)
