"""The attention output as a point of a Minkowski sum of convex hulls, checked with numbers.

Lemma 3.1: row i of a head lies in the convex hull of the value vectors V_h' x_j, j <= i.
Theorem 3.2: row i of the layer lies in the Minkowski sum of the heads' hulls, whose dimension is at
most sum_h #{ j <= i : Attn_h[i, j] > 0 }.                    (papers/geometry, section 1.2)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.model.parts.architecture import Block

# Values are computed in float32: directions below its resolution are noise, not rank.
RESOLUTION = torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class HullCheck:
    """The result for one token and layer; see the table `geometry/hull_checks`."""

    count: int
    rank: int
    largest_head_rank: int
    weight_sum_error: float
    hull_error: float
    relative_error: float
    relative_count: int


def check_hull(
    block: Block,
    weights: Float[Tensor, "heads keys"],
    values: Float[Tensor, "kv_heads keys head_dim"],
    output: Float[Tensor, " d_model"],
    relative_threshold: float,
) -> HullCheck:
    """Rebuild one token's attention output from value vectors, and count their dimensions.

    Args:
        block: The layer.
        weights: The token's attention, per head.
        values: Value vectors of every token.
        output: What the layer's output projection gave for the token.
        relative_threshold: Share of a head's largest attention that the soft dimension keeps.
    """
    weights, output = weights.double(), output.double()
    points = projected_values(block, values)
    bias = block.o.bias(torch.float64)
    target = output if bias is None else output - bias.to(output.device)
    soft = torch.where(weights > relative_threshold * weights.amax(-1, keepdim=True), weights, 0.0)
    # The soft dimension keeps few tokens; their weights are made to sum to one again.
    soft = soft / soft.sum(-1, keepdim=True)
    seen = weights > 0
    return HullCheck(
        count=int(seen.sum()),
        rank=numerical_rank(points[seen]),
        largest_head_rank=max(
            numerical_rank(head[mask]) for head, mask in zip(points, seen, strict=True)
        ),
        weight_sum_error=float((weights.sum(-1) - 1).abs().max()),
        hull_error=relative_distance(_combine(weights, points), target),
        relative_error=relative_distance(_combine(soft, points), target),
        relative_count=int((soft > 0).sum()),
    )


def projected_values(
    block: Block, values: Float[Tensor, "kv_heads keys head_dim"]
) -> Float[Tensor, "heads keys d_model"]:
    """(V_h O_h)' x_j: the value vectors of every query head, sent through the output projection."""
    group = block.n_heads // block.n_kv_heads
    by_head = values.double().repeat_interleave(group, dim=0)
    weight = block.o.weight(torch.float64).to(by_head.device)
    slices = weight.unflatten(1, (block.n_heads, block.head_dim))
    return torch.einsum("hkc,dhc->hkd", by_head, slices)


def numerical_rank(points: Float[Tensor, "points d_model"]) -> int:
    """Dimension of the span of some vectors, up to the resolution of float32.

    Singular values come from the smaller Gram matrix, in float64, which resolves them far below
    the float32 noise that the tolerance has to exclude.
    """
    if len(points) == 0:
        return 0
    gram = points @ points.T if len(points) <= points.shape[1] else points.T @ points
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    tolerance = max(points.shape) * RESOLUTION * singular.max()
    return int((singular > tolerance).sum())


def relative_distance(
    actual: Float[Tensor, "*batch d_model"], expected: Float[Tensor, "*batch d_model"]
) -> float:
    """|actual - expected| / |expected|, the largest over the batch."""
    return float(((actual - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


def _combine(
    weights: Float[Tensor, "heads keys"], points: Float[Tensor, "heads keys d_model"]
) -> Float[Tensor, " d_model"]:
    return torch.einsum("hk,hkd->d", weights, points)
