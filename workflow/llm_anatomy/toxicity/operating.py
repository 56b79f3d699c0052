"""A detector at work: thresholds for a rate of false alarms, and calibrated probabilities.

Of every test fold's training texts, one part trains the classifier, and another, which it has not
seen, sets its thresholds and Platt's two numbers; the test fold then shows what they are worth. So
no threshold is read off the texts that it is measured on, and counts of folds add up although
their scores share no scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import logit
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from llm_anatomy.statistics.folds import inner_splits
from llm_anatomy.statistics.intervals import bootstrap_weights, percentile_interval
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.toxicity.classifiers import Choice, Features, Recipe
from llm_anatomy.toxicity.evaluate import LabelledTexts

EDGE = 1e-12
RESAMPLED_ECE = 200


@dataclass(frozen=True)
class Platt:
    """Probability from a score: the sigmoid of `slope` · logit(score) + `offset`."""

    slope: float
    offset: float

    def probability(self, scores: Float[ndarray, " texts"]) -> Float[ndarray, " texts"]:
        """Calibrated probabilities."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * _logit(scores) + self.offset))))


@dataclass(frozen=True)
class Operated:
    """What a detector says of texts that neither trained nor calibrated it.

    Attributes:
        probability: Calibrated probability; NaN in a fold that could not be calibrated.
        flagged: Whether a text is above the threshold of each rate.
    """

    probability: Float[ndarray, " texts"]
    flagged: Bool[ndarray, "rates texts"]

    @property
    def known(self) -> Bool[ndarray, " texts"]:
        """Texts of folds that could be calibrated."""
        return np.asarray(~np.isnan(self.probability))


def threshold(negatives: Float[ndarray, " negatives"], rate: float) -> float:
    """The smallest value that at most a share of these negatives exceeds.

    Scores above it are flagged. With fewer than 1 / rate negatives it is the largest of them.
    """
    allowed = int(np.floor(rate * len(negatives) * (1 + EDGE)))
    return float(np.sort(negatives)[::-1][min(allowed, len(negatives) - 1)])


def negatives_needed(rate: float, confidence: float = 0.95) -> int:
    """Fewest negatives without any false alarm that show a rate, one-sided: 299 for 1 %.

    Copies and texts of one group count once: it is a number of sets.
    """
    return int(np.ceil(np.log(1 - confidence) / np.log1p(-rate)))


def platt(scores: Float[ndarray, " texts"], truth: Bool[ndarray, " texts"]) -> Platt:
    """Fit Platt's two numbers, with his targets, which keep a perfect ranking from infinity."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    x = _logit(scores)[:, None]
    model = LogisticRegression(C=1e6).fit(
        np.concatenate([x, x]),
        np.repeat([True, False], len(x)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    return Platt(float(model.coef_[0, 0]), float(model.intercept_[0]))


def operate(
    texts: LabelledTexts,
    recipe: Recipe,
    choices: Sequence[Choice],
    rates: Sequence[float],
    n_inner: int,
    seed: int,
) -> Operated:
    """Train, calibrate and test on three parts that share no set of texts, fold by fold.

    Args:
        texts: The label with its folds.
        recipe: The classifier.
        choices: Features and hyperparameter of every fold, as its training texts chose them.
        rates: Wanted rates of false positives.
        n_inner: Parts of the training texts, of which the first calibrates.
        seed: Seed of the parts.
    """
    probability = np.full(len(texts.truth), np.nan)
    flagged = np.zeros((len(rates), len(texts.truth)), dtype=bool)
    for fold, choice in zip(texts.fold_numbers, choices, strict=True):
        train, test = texts.fold_split(fold)
        splits = inner_splits(texts.truth[train], texts.copies[train], n_inner, seed)
        if not splits:
            continue
        known, held_out = (train[part] for part in splits[0])
        both = np.concatenate([test, held_out])
        x, others = choice.features.split(texts.rows[known], texts.rows[both])
        found = recipe.path(x, texts.truth[known], others, [choice.value], seed)[0]
        scores, calibration = found[: len(test)], found[len(test) :]
        truth = texts.truth[held_out]
        probability[test] = platt(calibration, truth).probability(scores)
        for index, rate in enumerate(rates):
            flagged[index, test] = scores > threshold(calibration[~truth], rate)
    return Operated(probability, flagged)


def held_out_settings(
    texts: LabelledTexts,
    features: Features,
    recipe: Recipe,
    value: float,
    rates: Sequence[float],
    seed: int,
) -> dict[str, Any]:
    """Thresholds and Platt's two numbers for a detector that is trained on all texts.

    Every fold is scored by the others, all with the hyperparameter of the detector that is kept, so
    that their scores share a scale nearly enough for one threshold.

    Args:
        texts: The label with its folds.
        features: The features, with their chosen weights.
        recipe: The classifier.
        value: Its hyperparameter.
        rates: Wanted rates of false positives.
        seed: Seed of the classifier.

    Returns:
        `thresholds` by rate, and `platt`.
    """
    scores = np.empty(len(texts.truth))
    for fold in texts.fold_numbers:
        train, test = texts.fold_split(fold)
        x, held_out = features.split(texts.rows[train], texts.rows[test])
        scores[test] = recipe.path(x, texts.truth[train], held_out, [value], seed)[0]
    fitted = platt(scores, texts.truth)
    negatives = scores[~texts.truth]
    thresholds = {f"{rate:g}": threshold(negatives, rate) for rate in rates}
    return {"thresholds": thresholds, "platt": [fitted.slope, fitted.offset]}


def brier(
    probability: Float[ndarray, " texts"], truth: Bool[ndarray, " texts"]
) -> Float[ndarray, " texts"]:
    """(p - y)² of every text."""
    return np.asarray((probability - truth) ** 2)


def mean_interval(
    values: Float[ndarray, " texts"], texts: LabelledTexts, resamples: int, level: float, seed: int
) -> tuple[float, float]:
    """Bootstrap interval of a mean; sets of texts are drawn anew within each fold."""
    generator = keyed_generator(seed, Purpose.CALIBRATION)
    totals, counts = np.zeros(resamples), np.zeros(resamples)
    for fold in texts.fold_numbers:
        rows = np.flatnonzero((texts.folds == fold) & ~np.isnan(values))
        if len(rows):
            drawn = np.concatenate(
                list(bootstrap_weights(texts.copies[rows], resamples, generator))
            )
            totals += drawn @ values[rows]
            counts += drawn.sum(axis=1)
    low, high = percentile_interval(totals / np.where(counts > 0, counts, np.nan), level)
    return float(low), float(high)


@dataclass(frozen=True)
class Bin:
    """Texts of similar probability."""

    probability: float
    positive: int
    count: int


def reliability(
    probability: Float[ndarray, " texts"], truth: Bool[ndarray, " texts"], bins: int
) -> list[Bin]:
    """Texts in bins (`rows_of_bins`): mean probability and positives of each."""
    return [
        Bin(float(probability[part].mean()), int(truth[part].sum()), len(part))
        for part in rows_of_bins(probability, bins)
    ]


def rows_of_bins(probability: Float[ndarray, " texts"], bins: int) -> list[Int[ndarray, " some"]]:
    """Rows of the texts of each bin: bins of equal count, in order of probability.

    Texts of one probability are in one bin, whatever their order in the data; a bin that they leave
    without a text is left out.
    """
    place = np.ceil(rankdata(probability) * bins / len(probability)).astype(int)
    return [np.flatnonzero(place == number) for number in np.unique(place)]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Mean distance of probability and share of positives over bins, weighted by their texts."""
    total = sum(part.count for part in bins)
    return sum(abs(part.count * part.probability - part.positive) for part in bins) / total


def error_if_calibrated(probability: Float[ndarray, " texts"], bins: int, seed: int) -> float:
    """The same error where every probability is right: what chance alone makes of it."""
    generator = keyed_generator(seed, Purpose.RIGHT_PROBABILITIES)
    draws = [
        calibration_error(
            reliability(probability, generator.random(len(probability)) < probability, bins)
        )
        for _ in range(RESAMPLED_ECE)
    ]
    return float(np.mean(draws))


def _logit(scores: Float[ndarray, " texts"]) -> Float[ndarray, " texts"]:
    return np.asarray(logit(np.clip(scores, EDGE, 1 - EDGE)))
