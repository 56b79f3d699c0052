"""How activations are distributed: sums, extremes and a histogram, taken batch by batch.

The histogram has bins of fixed places, an eighth of a power of two wide, so that it is the same in
whatever batches and shards the tokens come, and adds up. Values below 2^-10 in size share the bin
of zero, values above 2^14 the last ones: quantiles there are 0, or only known to lie beyond 2^14.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

# A float32 has 23 bits behind its leading one; the first 3 of them, with the exponent, are its bin.
DROPPED_BITS = 20
PER_OCTAVE = 8
LOWEST, HIGHEST = -10, 14
PER_SIGN = PER_OCTAVE * (HIGHEST - LOWEST)
BINS = 2 * PER_SIGN + 1
# The bin, counted from the smallest positive float32, below which values share the bin of zero.
FIRST_BIN = (127 + LOWEST) * PER_OCTAVE
# In a text's key its place lies behind its activation (`strongest.py`).
PLACE_BITS = 32
LAST_PLACE = (1 << PLACE_BITS) - 1


@dataclass(frozen=True)
class Peaks:
    """Where the neurons of a layer are strongest in each text of a batch.

    Attributes:
        values: Largest activation, and largest negated one, at the counted positions.
        positions: Where; the first of equal ones.
    """

    values: Float[Tensor, "2 texts neurons"]
    positions: Int[Tensor, "2 texts neurons"]


@dataclass
class Activity:
    """Sums over the positions of one layer that were counted so far.

    Attributes:
        tokens: How many.
        sums: Sum of the activations, and of their squares, float64.
        beyond: How many are above the threshold, and below the negative one.
        extremes: Largest activation, and largest negated one, float32.
        counts: How many lie in each bin, int32.
    """

    tokens: int
    sums: Float[Tensor, "2 neurons"]
    beyond: Int[Tensor, "2 neurons"]
    extremes: Float[Tensor, "2 neurons"]
    counts: Int[Tensor, "neurons bins"]

    @classmethod
    def empty(cls, neurons: int, device: torch.device | str = "cpu") -> "Activity":
        """Of no position."""
        return cls(
            0,
            torch.zeros(2, neurons, dtype=torch.float64, device=device),
            torch.zeros(2, neurons, dtype=torch.int64, device=device),
            torch.full((2, neurons), -torch.inf, device=device),
            torch.zeros(neurons, BINS, dtype=torch.int32, device=device),
        )


def take_torch(
    activity: Activity, values: Float[Tensor, "texts tokens neurons"], first: int, threshold: float
) -> Peaks:
    """Add a batch of texts of one length to the sums of a layer, and say where it is strongest.

    On any device, pass by pass; on a CPU `compiled_activity.take_values` does the same in one.

    Args:
        activity: The sums, which are changed.
        values: Activations, float32.
        first: Positions at the start of every text that do not count; fewer than there are tokens.
        threshold: What a value has to be beyond.
    """
    counted = values[:, first:]
    flat = counted.reshape(-1, values.shape[2])
    activity.tokens += len(flat)
    activity.sums[0] += flat.sum(0, dtype=torch.float64)
    activity.sums[1] += flat.double().square().sum(0)
    activity.beyond[0] += (flat > threshold).sum(0)
    activity.beyond[1] += (flat < -threshold).sum(0)
    neurons = torch.arange(flat.shape[1], device=flat.device)
    places = (neurons * BINS + bins_of(flat)).view(-1)
    found = torch.bincount(places, minlength=activity.counts.numel())
    activity.counts += found.view_as(activity.counts).int()
    (highest, high), (lowest, low) = counted.max(1), counted.min(1)
    peaks = Peaks(torch.stack([highest, -lowest]), torch.stack([high, low]) + first)
    activity.extremes = torch.maximum(activity.extremes, peaks.values.amax(1))
    return peaks


def bins_of(values: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """The bin of every value, int64; that of zero is `PER_SIGN`."""
    bits = values.contiguous().view(torch.int32)
    size = ((bits & 0x7FFFFFFF) >> DROPPED_BITS) - FIRST_BIN + 1
    return PER_SIGN + (size.clamp(0, PER_SIGN) * values.sign()).long()


def bin_middles() -> Float[ndarray, " bins"]:
    """The value that stands for every bin: its middle, 0 for that of zero."""
    bits = ((FIRST_BIN + np.arange(PER_SIGN)) << DROPPED_BITS).astype(np.int32)
    lower = bits.view(np.float32).astype(np.float64)
    upper = (bits + (1 << DROPPED_BITS)).astype(np.int32).view(np.float32).astype(np.float64)
    middles = (lower + upper) / 2
    return np.concatenate([-middles[::-1], [0.0], middles])


def quantiles(
    counts: Int[ndarray, "neurons bins"],
    shares: tuple[float, ...],
    lowest: Float[ndarray, " neurons"],
    highest: Float[ndarray, " neurons"],
) -> Float[ndarray, "shares neurons"]:
    """Quantiles from histograms: the middle of the bin that holds the value at that rank.

    The rank of a share q of n values is ceil(q n), at least 1 (the inverse of the empirical
    distribution). A result is within 1/16 of that value, and never beyond the extremes; of a value
    below 2^-10 in size it is 0, and of one beyond 2^14 it only lies there too.

    Args:
        counts: What the bins hold.
        shares: The shares q.
        lowest: Smallest value of every neuron.
        highest: Largest value.
    """
    cumulated = np.cumsum(counts, axis=1, dtype=np.int64)
    middles = bin_middles()
    found = []
    for share in shares:
        ranks = np.maximum(1, np.ceil(share * cumulated[:, -1:] - 1e-9)).astype(np.int64)
        places = (cumulated < ranks).sum(1)
        found.append(np.clip(middles[np.minimum(places, BINS - 1)], lowest, highest))
    return np.stack(found)
