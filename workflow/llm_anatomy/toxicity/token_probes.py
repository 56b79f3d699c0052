"""Probes on the states of a text's tokens: the logits of tokens, pooled to one of the text.

    attention   y = sum_t softmax(q · h)_t (v · h_t) + b     (McKenzie et al. 2025, one head)
    max         y = max_t (v · h_t) + b

A mean divides a local signal by the length of the text; these two find it. Query and value vectors
are separate. With q = 0 attention is the mean. Both can be read while a text grows: of every prefix
from running sums, or a running maximum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import expit

from llm_anatomy.toxicity.features import mean_and_scale

Pooling = Literal["attention", "max"]
# Adam's step and decays; steps are few, and the penalty and their number keep the probe small.
RATE, DECAYS, EPSILON = 3e-3, (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class Tokens:
    """Standardised states of some texts' tokens, one text behind the other."""

    states: Float[ndarray, "tokens d_model"]
    lengths: Int[ndarray, " texts"]

    def of(self, rows: Int[ndarray, " rows"]) -> "Tokens":
        """The tokens of some texts, in the order wanted."""
        starts, lengths = self.starts, self.lengths
        places = [np.arange(starts[row], starts[row] + lengths[row]) for row in rows]
        return Tokens(self.states[np.concatenate(places)], lengths[rows])

    def means(self) -> Float[ndarray, "texts d_model"]:
        """Mean state of every text."""
        sums = np.add.reduceat(self.states.astype(np.float64), self.starts, axis=0)
        return np.asarray(sums / self.lengths[:, None])

    @property
    def starts(self) -> Int[ndarray, " texts"]:
        """First token of every text."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.intp)


@dataclass(frozen=True)
class TokenStates:
    """States of the tokens of many texts, standardised with those of the training texts.

    Attributes:
        name: The feature set.
        tokens: The states as they were read.
    """

    name: str
    tokens: Tokens

    def variants(self) -> tuple["TokenStates", ...]:
        """The features themselves: nothing about them is chosen."""
        return (self,)

    def split(self, train: Int[ndarray, " train"], test: Int[ndarray, " test"]) -> Any:
        """Tokens of the training texts and of the test texts."""
        mean, scale = self.mean_and_scale(train)
        return tuple(
            Tokens((part.states - mean) / scale, part.lengths)
            for part in (self.tokens.of(train), self.tokens.of(test))
        )

    def mean_and_scale(
        self, train: Int[ndarray, " train"]
    ) -> tuple[Float[ndarray, " d_model"], Float[ndarray, " d_model"]]:
        """Mean and deviation over the training texts' tokens."""
        return mean_and_scale(self.tokens.of(train).states)


@dataclass(frozen=True)
class Probe:
    """A fitted probe on standardised states.

    Attributes:
        value: v.
        query: q; zeros, which max does not read.
        bias: b.
        pooling: How tokens become one number.
    """

    value: Float[ndarray, " d_model"]
    query: Float[ndarray, " d_model"]
    bias: Float[ndarray, "1"]
    pooling: Pooling

    def score(self, tokens: Tokens) -> Float[ndarray, " texts"]:
        """Probability of the label, of every text."""
        projected = tokens.states @ np.stack([self.value, self.query], axis=1)
        pooled, _ = _pooled(projected[:, :1], projected[:, 1:], tokens, self.pooling)
        scores: ndarray = expit(pooled[:, 0].astype(np.float64) + self.bias)
        return scores

    def running(self, states: Float[ndarray, "tokens d_model"]) -> Float[ndarray, " tokens"]:
        """Score of every prefix of one text, from its standardised states, token by token."""
        z, a = states @ self.value, states @ self.query
        if self.pooling == "max":
            logits = np.maximum.accumulate(z)
        else:
            # Running sums, each relative to the largest exponent so far: nothing overflows.
            logits, top, over, under = np.empty(len(z)), -np.inf, 0.0, 0.0
            for index, (value, exponent) in enumerate(zip(z, a, strict=True)):
                highest = max(top, float(exponent))
                shrink, weight = np.exp(top - highest), np.exp(float(exponent) - highest)
                over, under = over * shrink + weight * float(value), under * shrink + weight
                top, logits[index] = highest, over / under
        scores: ndarray = expit(np.asarray(logits, dtype=np.float64) + self.bias)
        return scores

    def arrays(self) -> dict[str, ndarray]:
        """The arrays to store."""
        return {"value": self.value, "query": self.query, "bias": self.bias}


@dataclass(frozen=True)
class PooledRecipe:
    """A probe on token states with an L2 penalty and balanced classes."""

    pooling: Pooling
    values: tuple[float, ...]
    steps: int
    hyperparameter: str = "penalty"
    scale_matters: bool = False

    @property
    def name(self) -> str:
        """The classifier's name in tables."""
        return f"{self.pooling}_probe"

    def path(self, x: Any, y: ndarray, test: Any, values: Sequence[float], seed: int) -> ndarray:
        """Scores at every value."""
        fits = probe_fits(x, y, self.pooling, values, self.steps)
        return np.stack([fit.score(test) for fit in fits])


def probe_fits(
    tokens: Tokens,
    y: Bool[ndarray, " texts"],
    pooling: Pooling,
    penalties: Sequence[float],
    steps: int,
) -> list[Probe]:
    """Probes at several penalties, all trained in the same passes over the tokens.

    Minimises mean_i s_i loss_i + penalty / 2 · (|v|² + |q|²), s_i balancing the classes, by a fixed
    number of Adam's steps from zero: the start is the mean probe, and no draw takes part.

    Args:
        tokens: Training texts.
        y: Labels; both classes occur.
        pooling: How tokens become one number.
        penalties: One probe for each.
        steps: Steps of the optimiser.
    """
    n, width = len(penalties), tokens.states.shape[1]
    balance = len(y) / (2 * np.where(y, y.sum(), (~y).sum()))
    weights = np.zeros((width, 2 * n), dtype=np.float32)
    bias = np.zeros(n)
    penalty = np.tile(np.asarray(penalties), 2)
    moments = _Moments(weights.shape), _Moments(bias.shape)
    for step in range(1, steps + 1):
        projected = tokens.states @ weights
        pooled, back = _pooled(projected[:, :n], projected[:, n:], tokens, pooling)
        residual = (expit(pooled + bias) - y[:, None]) * balance[:, None] / len(y)
        slopes = tokens.states.T @ back(residual).astype(np.float32)
        weights = weights - moments[0].step(slopes + penalty * weights, step).astype(np.float32)
        bias = bias - moments[1].step(residual.sum(axis=0), step)
    return [
        Probe(weights[:, i].copy(), weights[:, n + i].copy(), bias[i : i + 1].copy(), pooling)
        for i in range(n)
    ]


class _Moments:
    """Adam's running moments of one array of weights."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._first, self._second = np.zeros(shape), np.zeros(shape)

    def step(self, slopes: ndarray, number: int) -> ndarray:
        """What is taken off the weights."""
        one, two = DECAYS
        self._first = one * self._first + (1 - one) * slopes
        self._second = two * self._second + (1 - two) * slopes**2
        mean, square = self._first / (1 - one**number), self._second / (1 - two**number)
        change: ndarray = RATE * mean / (np.sqrt(square) + EPSILON)
        return change


def _pooled(
    z: Float[ndarray, "tokens probes"],
    a: Float[ndarray, "tokens probes"],
    tokens: Tokens,
    pooling: Pooling,
) -> tuple[Float[ndarray, "texts probes"], Any]:
    """Logits of texts without the bias, and the way back from their slopes to those of tokens.

    The way back gives the slopes of z and a side by side.
    """
    starts, lengths = tokens.starts, tokens.lengths
    if pooling == "max":
        pooled = np.maximum.reduceat(z, starts, axis=0)
        largest = z == np.repeat(pooled, lengths, axis=0)
        # Of equal largest tokens, each has its part.
        share = largest / np.repeat(
            np.add.reduceat(largest, starts, axis=0, dtype=float), lengths, 0
        )

        return pooled, lambda slopes: np.concatenate(
            [share * np.repeat(slopes, lengths, 0), np.zeros_like(share)], axis=1
        )
    exponents = np.exp(a - np.repeat(np.maximum.reduceat(a, starts, axis=0), lengths, axis=0))
    under = np.add.reduceat(exponents, starts, axis=0)
    attention = exponents / np.repeat(under, lengths, axis=0)
    pooled = np.add.reduceat(attention * z, starts, axis=0)

    def back(slopes: ndarray) -> ndarray:
        of_tokens = attention * np.repeat(slopes, lengths, axis=0)
        return np.concatenate([of_tokens, of_tokens * (z - np.repeat(pooled, lengths, axis=0))], 1)

    return pooled, back
