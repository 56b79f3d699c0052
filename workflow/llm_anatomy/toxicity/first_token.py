"""The first token of a model's own answer as a detector (MULI; Hu et al., arXiv 2405.18822).

What the model would answer with is read off before it answers: with p the probabilities of the
first token, the features are f*_w = log p_w - log(1 - p_w) of every token w of the vocabulary, and
a sparse logistic model weighs them. The original minimises the balanced loss plus an L1 penalty, on
weights and bias alike, by subgradient steps; here liblinear solves the same problem exactly, with a
penalty that inner folds choose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from llm_anatomy.statistics.random import Purpose, library_seed
from llm_anatomy.toxicity.detector import Logistic
from llm_anatomy.toxicity.features import mean_and_scale

# A token outside the solution may break its condition by this share: the solver's own tolerance.
SLACK = 1e-2
TOLERANCE = 1e-4
CHUNK = 256


def answer_features(logits: Float[ndarray, "texts vocab"]) -> Float[ndarray, "texts vocab"]:
    """Log p - log(1 - p) of every token; a constant on all logits of a text changes nothing.

    1 - p is summed over the other tokens where p is the largest, so that nothing overflows where a
    model is sure: the published form gives infinity there.
    """
    features = np.empty_like(logits, dtype=np.float32)
    for start in range(0, len(logits), CHUNK):
        x = logits[start : start + CHUNK].astype(np.float64)
        rows = np.arange(len(x))
        log_p = x - logsumexp(x, axis=1, keepdims=True)
        most = x.argmax(axis=1)
        top = x[rows, most]
        x[rows, most] = -np.inf
        largest = top - logsumexp(x, axis=1)
        log_p[rows, most] = -np.inf
        found = log_p - np.log1p(-np.exp(log_p))
        found[rows, most] = largest
        features[start : start + CHUNK] = found
    return features


@dataclass(frozen=True)
class FirstToken:
    """f* of the tokens that the training texts make likeliest, standardised with these texts.

    Attributes:
        name: The feature set.
        values: f* of every token.
        most: How many tokens are looked at, those of largest mean f* over the training texts; None
            for all. The labels have no part in the choice.
    """

    name: str
    values: Float[ndarray, "texts vocab"]
    most: int | None

    def variants(self) -> tuple["FirstToken", ...]:
        """The features themselves: nothing about them is chosen by labels."""
        return (self,)

    def split(
        self, train: Int[ndarray, " train"], test: Int[ndarray, " test"]
    ) -> tuple[Float[ndarray, "train tokens"], Float[ndarray, "test tokens"]]:
        """Matrices of training and test rows."""
        tokens = self.tokens(train)
        known = self.values[np.ix_(train, tokens)]
        mean, scale = mean_and_scale(known)
        return (known - mean) / scale, (self.values[np.ix_(test, tokens)] - mean) / scale

    def tokens(self, train: Int[ndarray, " train"]) -> Int[ndarray, " tokens"]:
        """The tokens that are looked at, in the order of their ids."""
        width = self.values.shape[1]
        if self.most is None or self.most >= width:
            return np.arange(width)
        means = self.values[train].mean(axis=0)
        return np.sort(np.argsort(-means, kind="stable")[: self.most])


@dataclass(frozen=True)
class SparseRecipe:
    """Logistic regression with an L1 penalty on weights and bias, and balanced classes.

    The hyperparameter is the penalty's share of the least one that leaves every weight at zero.
    """

    values: tuple[float, ...]
    max_iter: int
    name: str = "sparse_logistic"
    hyperparameter: str = "penalty_share"
    scale_matters: bool = False

    def path(self, x: Any, y: ndarray, test: Any, values: Sequence[float], seed: int) -> ndarray:
        """Scores at every value."""
        scores = np.empty((len(values), test.shape[0]))
        order = np.argsort(values)[::-1]
        fits = sparse_fits(x, y, [values[i] for i in order], self.max_iter, seed)
        for index, fit in zip(order, fits, strict=True):
            used = np.flatnonzero(fit.weights)
            scores[index] = Logistic(fit.weights[used], fit.intercept).score(test[:, used])
        return scores


def sparse_fits(
    x: Float[ndarray, "texts features"],
    y: Bool[ndarray, " texts"],
    shares: Sequence[float],
    max_iter: int,
    seed: int,
) -> list[Logistic]:
    """Sparse logistic models along a path of falling penalties.

    Minimises penalty · (|w|_1 + |b|) + sum_i s_i loss_i, s_i balancing the classes. Few features
    can be in the solution, and only those that may are handed to the solver: the sequential strong
    rule (Tibshirani et al. 2012) picks them, and any other whose condition the solution breaks is
    added until none does, so that the solution is that of all features.

    Args:
        x: Standardised features.
        y: Labels; both classes occur.
        shares: Penalties, as shares of the least penalty at which all weights are zero; falling.
        max_iter: Most iterations of the solver.
        seed: Seed of the solver's order of coordinates.
    """
    balance = len(y) / (2 * np.where(y, y.sum(), (~y).sum()))
    slopes = np.abs(((0.5 - y) * balance).astype(x.dtype) @ x)
    largest = float(slopes.max())
    before, fits = largest, []
    for share in shares:
        penalty = share * largest
        chosen = slopes >= 2 * penalty - before
        while True:
            fit = _solved(x, y, balance, chosen, penalty, max_iter, seed)
            residual = (fit.score(x[:, chosen].astype(np.float64)) - y) * balance
            slopes = np.abs(residual.astype(x.dtype) @ x)
            broken = (slopes > penalty * (1 + SLACK)) & ~chosen
            if not broken.any():
                break
            chosen |= broken
        weights = np.zeros(x.shape[1])
        weights[chosen] = fit.weights
        fits.append(Logistic(weights, fit.intercept))
        before = penalty
    return fits


def _solved(
    x: ndarray,
    y: ndarray,
    balance: ndarray,
    chosen: Bool[ndarray, " features"],
    penalty: float,
    max_iter: int,
    seed: int,
) -> Logistic:
    """The solution on some features; without any the score is one half."""
    if not chosen.any():
        return Logistic(np.zeros(0), np.zeros(1))
    # liblinear counts the bias as one more weight, as the original does.
    model = LogisticRegression(
        C=1 / penalty,
        l1_ratio=1.0,
        solver="liblinear",
        tol=TOLERANCE,
        max_iter=max_iter,
        random_state=library_seed(seed, Purpose.SPARSE_ORDER),
    )
    model.fit(x[:, chosen].astype(np.float64), y, sample_weight=balance)
    return Logistic(model.coef_[0].astype(np.float64), model.intercept_.astype(np.float64))
