"""Where a token lies in the input-space partition of an MLP.

Every unit k of the MLP's first layer cuts the input space along the hyperplane w_k x + b_k = 0;
the cells of this arrangement are the regions on which a ReLU MLP is affine.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from llm_anatomy.model.run.devices import kernels_run_on

# One chunk of pre-activations stays in a processor's cache between the passes over it.
CPU_CHUNK_ELEMENTS = 1 << 18
DEVICE_CHUNK_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class Partition:
    """Hyperplanes of one layer, reduced to what distances need.

    Attributes:
        inverse_norms: 1 / |w_k| of every unit; 0 where w_k = 0.
        flat: Units with w_k = 0, which cut nothing, or None when there is none.
    """

    inverse_norms: Float[Tensor, " units"]
    flat: Bool[Tensor, " units"] | None


def partition(weight: Float[Tensor, "units d_model"]) -> Partition:
    """Row norms of the weight that makes the pre-activations, computed once per model."""
    norms = torch.linalg.vector_norm(weight, dim=1)
    flat = norms == 0
    inverse = torch.where(flat, torch.zeros_like(norms), 1 / norms)
    return Partition(inverse, flat if bool(flat.any()) else None)


def token_statistics(
    preactivations: Float[Tensor, "tokens units"], layer: Partition
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """Share of active units and distance to the nearest boundary, for every token.

    a_t = (1/F) sum_k 1[h_tk > 0]          (papers/geometry, section 2.1; zero is inactive)
    d_t = min_k |h_tk| / |w_k|

    Half-precision pre-activations are widened to float32 before anything is computed.

    Args:
        preactivations: h = W x + b, the input of the activation function.
        layer: The layer's hyperplanes.
    """
    tokens, units = preactivations.shape
    dtype = torch.promote_types(preactivations.dtype, torch.float32)
    inverse_norms = layer.inverse_norms.to(preactivations.device, dtype)
    if kernels_run_on(preactivations) and dtype == torch.float32:
        # Triton is imported where it runs alone.
        from llm_anatomy.geometry.fused_statistics import fused_token_statistics

        return fused_token_statistics(preactivations, inverse_norms)
    # Counts are summed as floats, which are exact.
    active = preactivations.new_empty(tokens, dtype=dtype)
    distance = torch.empty_like(active)
    on_cpu = preactivations.device.type == "cpu"
    elements = CPU_CHUNK_ELEMENTS if on_cpu else DEVICE_CHUNK_ELEMENTS
    rows = min(tokens, max(1, elements // units))
    buffer = preactivations.new_empty((rows, units), dtype=dtype)
    for start in range(0, tokens, rows):
        chunk = preactivations[start : start + rows]
        work = buffer[: len(chunk)]
        torch.gt(chunk, 0, out=work)
        torch.sum(work, -1, out=active[start : start + rows])
        # Multiplying with the wider norms is what widens half-precision values.
        torch.mul(chunk, inverse_norms, out=work)
        work.abs_()
        if layer.flat is not None:
            work[:, layer.flat.to(work.device)] = torch.inf
        torch.amin(work, -1, out=distance[start : start + rows])
    return active.div_(units), distance


def segment_regions(start: Float[Tensor, " units"], end: Float[Tensor, " units"]) -> int:
    """Number of regions on the straight line between two inputs, given their pre-activations.

    A line crosses each hyperplane at most once, so this is one more than the number of hyperplanes
    that separate the two ends.
    """
    return 1 + int(((start > 0) != (end > 0)).sum())


def arrangement_regions_log10(hyperplanes: int, dimension: int) -> float:
    """log10 of the most regions that `hyperplanes` cut a `dimension`-dimensional space into.

    sum_{k <= d} C(n, k), which grows exponentially with d while d < n / 2.
    """
    total, term = 0, 1
    for k in range(min(dimension, hyperplanes) + 1):
        total += term
        term = term * (hyperplanes - k) // (k + 1)
    return math.log10(total)
