"""What is done to the residual-stream states of chosen positions at layer k (paper, section 3).

`X^k` is the input of block k; blocks and positions count from 0; the current token is the last.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.model.run.devices import sent
from llm_anatomy.statistics.random import Purpose, keyed_generator

PURPOSES = {"noise": Purpose.NOISE, "shuffle": Purpose.SHUFFLE, "angle": Purpose.ANGLE}


def rescale(
    vectors: Float[Tensor, "*batch d_model"], states: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """Vectors at the L2 norms of the states they replace: v / ||v|| * ||x||, in float32."""
    norms = states.float().norm(dim=-1, keepdim=True)
    unit = vectors.float() / vectors.float().norm(dim=-1, keepdim=True)
    rescaled: Tensor = (unit * norms).to(states.dtype)
    return rescaled


def noise(
    states: Float[Tensor, "*batch d_model"], draws: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """Gaussian vectors with the norms of the states: X := v / ||v|| * ||X||, v ~ N(0, I)."""
    return rescale(draws, states)


def shuffle(
    states: Float[Tensor, "*batch d_model"], permutations: Int[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """States with permuted coordinates: X := X[pi]."""
    return states.gather(-1, permutations)


def turn(
    states: Float[Tensor, "*batch d_model"], draws: Float[Tensor, "*batch d_model"], degrees: float
) -> Float[Tensor, "*batch d_model"]:
    """States turned by an angle towards a random orthogonal direction, norm kept.

    X := cos(a) X + sin(a) w, where w is the part of v ~ N(0, I) orthogonal to X, at X's norm.
    """
    x, v = states.float(), draws.float()
    square = x.square().sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    orthogonal = rescale(v - (v * x).sum(-1, keepdim=True) / square * x, x)
    angle = math.radians(degrees)
    return (math.cos(angle) * x + math.sin(angle) * orthogonal).to(states.dtype)


@dataclass(frozen=True)
class Positions:
    """Which previous positions are manipulated.

    Attributes:
        policy: `previous`: all; `subject`: the span alone; `not_subject`: all but the span; or a
            list of absolute positions.
        span: First and one past the last position of the subject; None where there is none.
        keep_first: Leave position 0 alone.
    """

    policy: str | tuple[int, ...] = "previous"
    span: tuple[int, int] | None = None
    keep_first: bool = False

    def includes(self, position: int) -> bool:
        """Whether a previous position, of the prompt or generated, is manipulated."""
        if self.keep_first and position == 0:
            return False
        if isinstance(self.policy, tuple):
            return position in self.policy
        if self.policy == "previous":
            return True
        assert self.span is not None
        inside = self.span[0] <= position < self.span[1]
        return inside if self.policy == "subject" else not inside

    def of(self, first: int, last: int) -> list[int]:
        """The manipulated positions among `first` to `last - 1`."""
        return [position for position in range(first, last) if self.includes(position)]


@dataclass(frozen=True)
class RandomEdit:
    """Noise, shuffle or angle for the examples of a batch.

    Attributes:
        kind: `noise`, `shuffle` or `angle`.
        seed: The configuration's seed.
        examples: Example id of each row; one shared name for all makes them share the noise.
        positions: Which previous positions are replaced.
        degrees: The angle, for `angle`.
        step: Decoding step, where noise is drawn anew at each; else 0.
        number: Which of several independent draws, from 0.
    """

    kind: str
    seed: int
    examples: tuple[str, ...]
    positions: Positions
    degrees: float = 90.0
    step: int = 0
    number: int = 0

    def __call__(
        self, layer: int, states: Float[Tensor, "rows tokens d_model"], first: int
    ) -> Float[Tensor, "rows tokens d_model"]:
        """Edited states at layer k.

        Args:
            layer: k.
            states: X^k of the previous tokens at the positions `first`, `first + 1`, …
            first: Absolute position of the first of them.
        """
        where = self.positions.of(first, first + states.shape[1])
        if not where:
            return states
        index = sent(torch.tensor([position - first for position in where]), states.device)
        chosen = states[:, index]
        edited = states.clone()
        edited[:, index] = self._edit(layer, chosen, where)
        return edited

    def _edit(self, layer: int, states: Tensor, where: Sequence[int]) -> Tensor:
        d_model = states.shape[-1]
        # Rows that share an example id share the draw: one draw, seen by all of them.
        drawn: dict[str, list[np.ndarray]] = {
            example: [self._draw(layer, position, example, d_model) for position in where]
            for example in dict.fromkeys(self.examples)
        }
        array = np.stack([np.stack(drawn[example]) for example in self.examples])
        draws = sent(torch.from_numpy(array), states.device)
        if self.kind == "shuffle":
            return shuffle(states, draws)
        if self.kind == "noise":
            return noise(states, draws)
        return turn(states, draws, self.degrees)

    def _draw(self, layer: int, position: int, example: str, d_model: int) -> np.ndarray:
        key = (self.number, layer, example, self.step)
        generator = keyed_generator(self.seed, PURPOSES[self.kind], *key, position=position)
        if self.kind == "shuffle":
            return generator.permutation(d_model)
        return generator.standard_normal(d_model, dtype=np.float32)

    @property
    def shared(self) -> bool:
        """Whether all rows draw the same noise, so that equal states stay equal."""
        return len(set(self.examples)) == 1


@dataclass(frozen=True)
class SwitchEdit:
    """Another prompt's states put in place of the target's span (paper: information injection).

    Attributes:
        states: Donor states Y^k at the aligned positions, for every layer k of the model.
        start: Absolute position of the first switched token.
    """

    states: Float[Tensor, "layers rows span d_model"]
    start: int

    def __call__(
        self, layer: int, states: Float[Tensor, "rows tokens d_model"], first: int
    ) -> Float[Tensor, "rows tokens d_model"]:
        """X^k with the donor's Y^k in the span; `states` begin at the position `first`."""
        span = self.states.shape[2]
        edited = states.clone()
        edited[:, self.start - first : self.start - first + span] = self.states[layer].to(states)
        return edited
