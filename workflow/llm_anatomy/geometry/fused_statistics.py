"""Token statistics on a card: one look at every pre-activation, in one kernel.

Torch passes over them five times for the same two numbers. Written in Triton, as
`neurons.fused_scan`; `partition.token_statistics` is the plain form.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

# Units that a program looks at together.
UNITS_AT_ONCE = 2048


def fused_token_statistics(
    preactivations: Float[Tensor, "tokens units"], inverse_norms: Float[Tensor, " units"]
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """See `partition.token_statistics`; float32, from any type that float32 holds.

    Args:
        preactivations: h = W x + b.
        inverse_norms: 1 / |w_k|; 0 for a unit that cuts nothing.
    """
    tokens, units = preactivations.shape
    if preactivations.stride(1) != 1:
        preactivations = preactivations.contiguous()
    new = preactivations.new_empty
    active, distance = new(tokens, dtype=torch.float32), new(tokens, dtype=torch.float32)
    _take_token[(tokens,)](
        preactivations,
        inverse_norms,
        active,
        distance,
        preactivations.stride(0),
        units,
        UNITS_AT_ONCE,
    )
    return active, distance


@triton.jit
@no_type_check
def _take_token(
    preactivations,
    inverse_norms,
    active,
    distance,
    stride,
    units: tl.constexpr,
    at_once: tl.constexpr,
):
    """Share of active units of a token, and its distance to the nearest boundary."""
    token = tl.program_id(0).to(tl.int64)
    count = tl.zeros([at_once], tl.float32)
    nearest = tl.full([at_once], float("inf"), tl.float32)
    for first in range(0, units, at_once):
        unit = first + tl.arange(0, at_once)
        there = unit < units
        h = tl.load(preactivations + token * stride + unit, mask=there, other=0.0).to(tl.float32)
        inverse = tl.load(inverse_norms + unit, mask=there, other=0.0)
        count += tl.where(h > 0, 1.0, 0.0)
        # A unit without weight cuts nothing, and filling is no unit. What is not a number stays so.
        cut = tl.where(inverse > 0, tl.abs(h) * inverse, float("inf"))
        nearest = tl.minimum(nearest, cut, propagate_nan=tl.PropagateNan.ALL)
    lost = tl.sum(tl.where(nearest != nearest, 1.0, 0.0), 0)
    least = tl.min(tl.where(nearest != nearest, float("inf"), nearest), 0)
    tl.store(active + token, tl.sum(count, 0) / units)
    tl.store(distance + token, tl.where(lost > 0, float("nan"), least))
