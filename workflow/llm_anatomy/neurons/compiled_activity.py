"""`activity.take_values` and `Strongest.take` on a CPU, compiled.

Torch passes over a batch a dozen times for the sums, and sorts for the strongest texts; here one
loop looks at every activation while it is in the cache, and another inserts the few texts that are
stronger than the weakest kept.
"""

from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.neurons.activity import (
    DROPPED_BITS,
    FIRST_BIN,
    LAST_PLACE,
    PER_SIGN,
    PLACE_BITS,
    Activity,
    Peaks,
)

# Neurons whose bins stay in the second level of the cache: 64 x 385 x 4 bytes.
AT_ONCE = 64
SIZE = np.int32(0x7FFFFFFF)


def take_compiled(
    activity: Activity, values: Float[Tensor, "texts tokens neurons"], first: int, threshold: float
) -> Peaks:
    """See `activity.take_values`."""
    texts, tokens, neurons = values.shape
    peaks = torch.full((2, texts, neurons), -torch.inf)
    positions = torch.zeros(2, texts, neurons, dtype=torch.int32)
    parts = (activity.sums, activity.beyond, activity.counts, peaks, positions)
    _take(values.contiguous().numpy(), first, threshold, *(part.numpy() for part in parts))
    activity.tokens += texts * (tokens - first)
    activity.extremes = torch.maximum(activity.extremes, peaks.amax(1))
    return Peaks(peaks, positions.long())


def insert_compiled(
    kept: tuple[Tensor, Tensor, Tensor],
    values: Float[Tensor, "texts tokens neurons"],
    peaks: Peaks,
    places: Int[Tensor, " texts"],
    before: int,
) -> None:
    """See `strongest.Strongest.take`.

    Args:
        kept: Keys, positions and windows, which are changed.
        values: Activations.
        peaks: Where they are strongest.
        places: Place of every text.
        before: Tokens of the windows in front of the strongest.
    """
    parts = (*kept, values.contiguous(), peaks.values.contiguous(), peaks.positions, places)
    _insert(*(part.numpy() for part in parts), before)


@numba.njit(nogil=True, error_model="numpy")
@no_type_check
def _insert(keys, positions, windows, values, peaks, peak_positions, places, before):
    """Put every text among the strongest of each neuron; the weakest falls out."""
    last, wide = keys.shape[1] - 1, windows.shape[3]
    tokens = values.shape[1]
    for end in range(2):
        for text in range(len(places)):
            place = LAST_PLACE - places[text]
            bits = peaks[end, text].view(np.int32)
            for neuron in range(keys.shape[2]):
                # Positive floats are in the order of their bits.
                key = (np.int64(bits[neuron]) << PLACE_BITS) | place
                if bits[neuron] <= 0 or key < keys[end, last, neuron]:
                    continue
                at = last
                while at > 0 and keys[end, at - 1, neuron] < key:
                    keys[end, at, neuron] = keys[end, at - 1, neuron]
                    positions[end, at, neuron] = positions[end, at - 1, neuron]
                    windows[end, at, neuron] = windows[end, at - 1, neuron]
                    at -= 1
                position = peak_positions[end, text, neuron]
                keys[end, at, neuron], positions[end, at, neuron] = key, position
                for offset in range(wide):
                    token = position - before + offset
                    inside = 0 <= token < tokens
                    value = values[text, token, neuron] if inside else np.float32(np.nan)
                    windows[end, at, neuron, offset] = value


@numba.njit(nogil=True, error_model="numpy")
@no_type_check
def _take(values, first, threshold, sums, beyond, counts, peaks, positions):
    """Add up a batch; of equal values the first position stays."""
    texts, tokens, neurons = values.shape
    limit = np.float32(threshold)
    for start in range(0, neurons, AT_ONCE):
        stop = min(start + AT_ONCE, neurons)
        for text in range(texts):
            for token in range(first, tokens):
                row = values[text, token]
                bits = row.view(np.int32)
                for neuron in range(start, stop):
                    value = row[neuron]
                    wide = np.float64(value)
                    sums[0, neuron] += wide
                    sums[1, neuron] += wide * wide
                    beyond[0, neuron] += value > limit
                    beyond[1, neuron] += value < -limit
                    if value > peaks[0, text, neuron]:
                        peaks[0, text, neuron] = value
                        positions[0, text, neuron] = token
                    if -value > peaks[1, text, neuron]:
                        peaks[1, text, neuron] = -value
                        positions[1, text, neuron] = token
                for neuron in range(start, stop):
                    size = ((bits[neuron] & SIZE) >> DROPPED_BITS) - FIRST_BIN + 1
                    size = min(max(size, 0), PER_SIGN)
                    place = PER_SIGN + size if bits[neuron] >= 0 else PER_SIGN - size
                    counts[neuron, place] += 1
