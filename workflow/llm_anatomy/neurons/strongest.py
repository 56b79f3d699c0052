"""The strongest texts of every neuron of a layer, kept while batches pass.

A text's activation and its place among all texts make one whole number, the activation in front:
no two texts are equal, so that what is kept depends neither on batches nor on shards. Of texts with
equal activations the first stays.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from llm_anatomy.neurons.activity import LAST_PLACE, PLACE_BITS, Peaks

# Smaller than the key of any text.
NONE = -1


@dataclass(frozen=True)
class Kept:
    """The contexts of a layer's neurons, in the order of neuron, sign (+1 first) and rank.

    Attributes:
        neuron: The neuron of every context.
        sign: +1 or -1.
        rank: 1 is the strongest.
        activation: The activation, with its sign.
        place: The text's place among all texts.
        position: Token position in the text.
        window: Activations around the position; NaN beyond the ends of the text.
    """

    neuron: Int[ndarray, " contexts"]
    sign: Int[ndarray, " contexts"]
    rank: Int[ndarray, " contexts"]
    activation: Float[ndarray, " contexts"]
    place: Int[ndarray, " contexts"]
    position: Int[ndarray, " contexts"]
    window: Float[ndarray, "contexts window"]


class Strongest:
    """The `count` strongest texts at either sign of every neuron of a layer.

    Args:
        neurons: Neurons of the layer.
        count: Texts kept per neuron and sign.
        before: Tokens of the window in front of the strongest.
        after: Tokens behind it.
        device: Where they are kept.
    """

    def __init__(
        self,
        neurons: int,
        count: int,
        before: int,
        after: int,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (2, count, neurons)
        self.count = count
        self.offsets = torch.arange(-before, after + 1, device=device)
        self.keys = torch.full(shape, NONE, dtype=torch.int64, device=device)
        self.positions = torch.zeros(shape, dtype=torch.int32, device=device)
        self.windows = torch.full((*shape, before + 1 + after), torch.nan, device=device)

    def take(
        self,
        values: Float[Tensor, "texts tokens neurons"],
        peaks: Peaks,
        places: Int[Tensor, " texts"],
    ) -> None:
        """Take in a batch of texts of one length.

        Args:
            values: Activations, float32.
            peaks: Where they are strongest (`activity.take_values`).
            places: Place of every text among all texts, below 2^32.
        """
        if values.device.type == "cpu":
            from llm_anatomy.neurons.compiled_activity import insert_compiled

            kept = (self.keys, self.positions, self.windows)
            insert_compiled(kept, values, peaks, places, -int(self.offsets[0]))
        else:
            self.take_torch(values, peaks, places)

    def take_torch(
        self,
        values: Float[Tensor, "texts tokens neurons"],
        peaks: Peaks,
        places: Int[Tensor, " texts"],
    ) -> None:
        """`take` on any device; on a CPU the reference of the compiled one."""
        bits = peaks.values.contiguous().view(torch.int32).long()
        # The bits of positive floats are in the order of their values. A context has its sign: an
        # activation of zero is none.
        keys = (bits << PLACE_BITS) | (LAST_PLACE - places)[:, None]
        keys = torch.where(peaks.values > 0, keys, NONE)
        if not bool((keys.amax(1) > self.keys[:, -1]).any()):
            return
        # Few texts of a large batch can be among the strongest.
        candidates = keys.topk(min(self.count, len(places)), dim=1)
        merged = torch.cat([self.keys, candidates.values], 1).topk(self.count, dim=1)
        self.keys, chosen = merged.values, merged.indices
        new = (chosen >= self.count) & (self.keys > NONE)
        self.positions = self.positions.gather(1, chosen.clamp(max=self.count - 1))
        spread = chosen.clamp(max=self.count - 1)[..., None].expand_as(self.windows)
        self.windows = self.windows.gather(1, spread)
        rows = candidates.indices.gather(1, (chosen - self.count).clamp(min=0))
        positions = peaks.positions.gather(1, rows)
        self.positions[new] = positions[new].int()
        text, position = rows[new][:, None], positions[new][:, None] + self.offsets
        neuron = new.nonzero()[:, 2:]
        inside = (position >= 0) & (position < values.shape[1])
        window = values[text, position.clamp(0, values.shape[1] - 1), neuron]
        self.windows[new] = window.masked_fill(~inside, torch.nan)

    def kept(self) -> Kept:
        """What is kept so far."""
        # [neurons, 2, count]
        keys = self.keys.permute(2, 0, 1).cpu()
        there = keys > NONE
        neuron, end, rank = (there.nonzero()[:, axis].numpy() for axis in range(3))
        keys = keys[there]
        sign = 1 - 2 * end
        size = (keys >> PLACE_BITS).int().view(torch.float32).numpy()
        return Kept(
            neuron,
            sign,
            rank + 1,
            (sign * size).astype(np.float32),
            (LAST_PLACE - (keys & LAST_PLACE)).numpy(),
            self.positions.permute(2, 0, 1).cpu()[there].numpy(),
            self.windows.permute(2, 0, 1, 3).cpu()[there].numpy(),
        )
