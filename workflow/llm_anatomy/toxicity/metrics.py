"""Ranking metrics of scores inside their folds, with bootstrap intervals over texts.

All metrics follow from the numbers of true and false positives at every threshold, counted with a
weight per text, so one pass serves the plain value (weights 1) and all bootstrap resamples
(weights: how often a text was drawn).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from llm_anatomy.statistics.folds import average_over_folds
from llm_anatomy.statistics.intervals import bootstrap_weights, percentile_interval
from llm_anatomy.statistics.random import Purpose, keyed_generator


@dataclass(frozen=True)
class Measured:
    """A metric of scored texts, each ranked among those of its own test fold.

    Attributes:
        metric: Its name.
        value: Mean over test folds, weighted by their pairs of a positive and a negative text; of
            ROC-AUC the share of pairs inside a fold that are in the right order.
        low: Lower end of the bootstrap interval of `value`; NaN where no resample had a pair.
        high: Upper end.
        fold_mean: Plain mean over test folds; NaN where a fold lacks a class.
        fold_sd: Standard deviation over test folds, with n - 1.
    """

    metric: str
    value: float
    low: float
    high: float
    fold_mean: float
    fold_sd: float


def metric_names(false_positive_rates: Sequence[float]) -> list[str]:
    """Names of the metrics, in the order in which they are computed."""
    return ["roc_auc", "average_precision", *(f"tpr_at_fpr_{x:g}" for x in false_positive_rates)]


def ranking_metrics(
    scores: Float[ndarray, " texts"],
    truth: Bool[ndarray, " texts"],
    weights: Float[ndarray, "resamples texts"],
    false_positive_rates: Sequence[float],
) -> Float[ndarray, "resamples metrics"]:
    """Metrics of weighted texts.

    With TP(s) and FP(s) the weight of positives and negatives with a score of at least s, P and N
    their totals, and thresholds s_1 > s_2 > … (equal scores share one):

    roc_auc            sum_i (FP_i - FP_{i-1}) (TP_i + TP_{i-1}) / 2PN
    average_precision  sum_i (TP_i - TP_{i-1}) / P · TP_i / (TP_i + FP_i)
    tpr_at_fpr_x       max { TP_i / P : FP_i <= x N }

    Args:
        scores: Higher means more likely positive.
        truth: The labels.
        weights: How often each text counts, per resample.
        false_positive_rates: The rates x.

    Returns:
        One row per resample, columns as `metric_names`; NaN where a class has no weight.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, positive = scores[order], truth[order]
    starts = np.concatenate([[0], 1 + np.flatnonzero(ordered[1:] != ordered[:-1])])
    drawn = weights[:, order]
    tp = np.add.reduceat(drawn * positive, starts, axis=1).cumsum(axis=1)
    fp = np.add.reduceat(drawn * ~positive, starts, axis=1).cumsum(axis=1)
    return _from_counts(tp, fp, false_positive_rates)


def _from_counts(
    tp: Float[ndarray, "resamples thresholds"],
    fp: Float[ndarray, "resamples thresholds"],
    false_positive_rates: Sequence[float],
) -> Float[ndarray, "resamples metrics"]:
    positives, negatives = tp[:, -1], fp[:, -1]
    tp_before = np.pad(tp, ((0, 0), (1, 0)))[:, :-1]
    fp_before = np.pad(fp, ((0, 0), (1, 0)))[:, :-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        area = ((fp - fp_before) * (tp + tp_before)).sum(1) / (2 * positives * negatives)
        precision = np.where(tp > 0, tp / (tp + fp), 0.0)
        average = ((tp - tp_before) * precision).sum(1) / positives
        columns = [area, average]
        for rate in false_positive_rates:
            # A hair of slack: 0.05 * 20 is below 1 in floating point.
            allowed = fp <= (rate * negatives * (1 + 1e-12))[:, None]
            columns.append(np.where(allowed, tp, 0.0).max(1) / positives)
    values = np.stack(columns, axis=1)
    values[(positives == 0) | (negatives == 0)] = np.nan
    return values


def measure(
    scores: Float[ndarray, " texts"],
    truth: Bool[ndarray, " texts"],
    folds: Int[ndarray, " texts"],
    copies: Int[ndarray, " texts"],
    false_positive_rates: Sequence[float],
    resamples: int,
    level: float,
    seed: int,
) -> list[Measured]:
    """Metrics inside folds, with percentile bootstrap intervals and the spread over folds.

    The classifiers of two folds share no scale, so no score is compared with one of another fold.
    The interval says how much the value would move with other test texts; it holds the trained
    classifiers fixed. Texts are drawn anew within each fold, sets of near-duplicates together;
    resamples without a pair of both classes in any fold are left out.
    """
    generator = keyed_generator(seed, Purpose.METRICS)
    parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    rates = false_positive_rates
    by_fold, pairs, drawn, drawn_pairs = [], [], [], []
    for rows in parts:
        own, positive = scores[rows], truth[rows]
        once = np.ones((1, len(rows)))
        by_fold.append(ranking_metrics(own, positive, once, rates)[0])
        pairs.append(_pairs(positive, once)[0])
        blocks = [
            (ranking_metrics(own, positive, weights, rates), _pairs(positive, weights))
            for weights in bootstrap_weights(copies[rows], resamples, generator)
        ]
        drawn.append(np.concatenate([block for block, _ in blocks]))
        drawn_pairs.append(np.concatenate([block for _, block in blocks]))
    values = average_over_folds(np.stack(by_fold), np.stack(pairs))
    resampled = average_over_folds(np.stack(drawn), np.stack(drawn_pairs))
    bounds = percentile_interval(resampled[~np.isnan(resampled[:, 0])], level)
    of_folds = np.stack(by_fold)
    spread = of_folds.std(axis=0, ddof=1) if len(of_folds) > 1 else np.full(len(values), np.nan)
    return [
        Measured(name, *map(float, numbers))
        for name, *numbers in zip(
            metric_names(false_positive_rates),
            values,
            bounds[0],
            bounds[1],
            of_folds.mean(axis=0),
            spread,
            strict=True,
        )
    ]


def _pairs(
    truth: Bool[ndarray, " texts"], weights: Float[ndarray, "resamples texts"]
) -> Float[ndarray, "resamples 1"]:
    """Pairs of a positive and a negative text, counted with the weights of both."""
    counted: ndarray = (weights @ truth) * (weights @ ~truth)
    return counted[:, None]
