"""The tables of a comparison of detectors, from its contenders."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray

from llm_anatomy.config.toxicity import Scoring
from llm_anatomy.statistics.folds import average_over_folds
from llm_anatomy.statistics.intervals import (
    bootstrap_weights,
    exact_interval_of_sets,
    percentile_interval,
)
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables.core import TableSchema
from llm_anatomy.tables.detectors import (
    ANSWER_TOKENS,
    DETECTORS,
    OPERATING_POINTS,
    RELIABILITY,
    SUBGROUPS,
)
from llm_anatomy.toxicity.comparison import (
    BOTH,
    FIRST_TOKEN,
    MEAN_STATE,
    ComparisonSettings,
    Contender,
    Inputs,
    contenders,
    preferred_state,
)
from llm_anatomy.toxicity.detector import Detector, Logistic
from llm_anatomy.toxicity.evaluate import LabelledTexts, TableRow, measured_rows
from llm_anatomy.toxicity.inputs import aligned_texts
from llm_anatomy.toxicity.keeping import card, kept_detectors
from llm_anatomy.toxicity.metrics import ranking_metrics
from llm_anatomy.toxicity.operating import (
    brier,
    calibration_error,
    error_if_calibrated,
    mean_interval,
    negatives_needed,
    reliability,
    rows_of_bins,
)
from llm_anatomy.toxicity.subgroups import Members, column_groups, length_groups, subgroup_rows

SHOWN_TOKENS = 20


@dataclass(frozen=True)
class Compared:
    """The comparison, as in the tables of these names, and the detectors that are kept."""

    detectors: pd.DataFrame
    operating_points: pd.DataFrame
    reliability: pd.DataFrame
    subgroups: pd.DataFrame
    answer_tokens: pd.DataFrame
    kept: dict[str, Detector]

    @property
    def tables(self) -> list[tuple[TableSchema, pd.DataFrame]]:
        """Every table with its schema."""
        schemas = DETECTORS, OPERATING_POINTS, RELIABILITY, SUBGROUPS, ANSWER_TOKENS
        return [(schema, getattr(self, schema.name.split("/")[1])) for schema in schemas]

    def cards(self) -> dict[str, str]:
        """The card of every kept detector, by its file's name."""
        tables = self.detectors, self.operating_points, self.subgroups
        return {name: card(detector, *tables) for name, detector in self.kept.items()}


def compare_detectors(
    inputs: Inputs,
    settings: ComparisonSettings,
    description: Mapping[str, Any],
    threads: int = 1,
) -> Compared:
    """Train, calibrate and measure every detector on the same folds.

    Args:
        inputs: The tables that detectors are made from.
        settings: Detectors, classifiers and metrics.
        description: What kept detectors belong to: model, data set, chat.
        threads: Fits that run at once; they change no number.

    Raises:
        UserError: A text is not in a table; the tables belong to different data.
    """
    found = contenders(inputs, settings, threads)
    state = f"{MEAN_STATE}{preferred_state(inputs)}"
    bins, asked = settings.comparison.bins, inputs.asked
    kept = {} if asked is None else kept_detectors(found, asked, settings, description)
    members = text_groups(inputs.others.texts, inputs.spline_features)
    return Compared(
        DETECTORS.frame(row for one in found for row in _metrics(one, found, state, settings)),
        OPERATING_POINTS.frame(row for one in found for row in _points(one, settings)),
        RELIABILITY.frame(row for one in found for row in _bins(one, bins, settings.scoring.level)),
        SUBGROUPS.frame(row for one in found for row in subgroup_rows(one, members, settings)),
        ANSWER_TOKENS.frame(
            row
            for label in (kept[FIRST_TOKEN].labels if FIRST_TOKEN in kept else ())
            for row in _tokens(kept[FIRST_TOKEN], label, asked.words if asked else [])
        ),
        kept,
    )


def text_groups(texts: pd.DataFrame, spline_features: pd.DataFrame) -> Members:
    """Thirds of the lengths, and the data set's own subgroups, by rows of the spline features."""
    aligned = aligned_texts(texts, list(spline_features["text_id"]))
    lengths = spline_features["n_tokens"].to_numpy(dtype=np.int64)
    return [*length_groups(lengths), *column_groups(aligned)]


def _named(one: Contender) -> TableRow:
    result = one.result
    return {
        "feature_set": result.features,
        "classifier": result.classifier,
        "label": result.texts.label,
    }


def _metrics(
    one: Contender, others: Sequence[Contender], state: str, settings: ComparisonSettings
) -> Iterator[TableRow]:
    texts, scoring = one.result.texts, settings.scoring
    common = _named(one) | {
        "pass_share": one.pass_share,
        "n_test": len(texts.truth),
        "n_positive": int(texts.truth.sum()),
        "n_sets": len(np.unique(texts.copies)),
        "n_cut": one.n_cut,
    }

    def row(metric: str, value: float, low: float = np.nan, high: float = np.nan) -> TableRow:
        return common | {"metric": metric, "value": value, "low": low, "high": high}

    for measured in measured_rows(one.result, scoring, settings.seed):
        if measured["metric"] in ("roc_auc", "average_precision"):
            yield row(*(measured[name] for name in ("metric", "value", "low", "high")))
    if one.result.features == BOTH:
        alone = (o.result for o in others if o.result.features == state)
        for result in (result for result in alone if result.texts.label == texts.label):
            gain = area_gain(one.result.scores, result.scores, texts, settings)
            yield row("gain_over_state", *gain) | {"beyond": state}
    yield from (row(*values) for values in _calibration(one, settings))


def _calibration(one: Contender, settings: ComparisonSettings) -> Iterator[tuple[Any, ...]]:
    """Metrics of the calibrated probability, of the folds that could be calibrated."""
    texts, known = one.result.texts, one.operated.known
    if not known.any():
        return
    probability, truth = one.operated.probability[known], texts.truth[known]
    errors = brier(one.operated.probability, texts.truth)
    scoring, bins, seed = settings.scoring, settings.comparison.bins, settings.seed
    mean, base = float(errors[known].mean()), float(truth.mean())
    yield "brier", mean, *mean_interval(errors, texts, scoring.resamples, scoring.level, seed)
    yield "brier_skill", 1 - mean / (base * (1 - base))
    yield "calibration_error", calibration_error(reliability(probability, truth, bins))
    yield "calibration_error_by_chance", error_if_calibrated(probability, bins, seed)


def area_gain(
    scores: ndarray, baseline: ndarray, texts: LabelledTexts, settings: ComparisonSettings
) -> tuple[float, float, float]:
    """ROC-AUC of one detector minus that of another, with the interval of the difference.

    Both rank the same resamples, sets of texts drawn anew within each fold, so that what the texts
    do to both cancels out.
    """
    scoring: Scoring = settings.scoring
    seed = settings.seed
    generator = keyed_generator(seed, Purpose.ADDED)
    values, pairs, drawn, drawn_pairs = [], [], [], []
    for fold in texts.fold_numbers:
        rows = np.flatnonzero(texts.folds == fold)
        truth = texts.truth[rows]
        weights = np.concatenate(
            [
                np.ones((1, len(rows))),
                *bootstrap_weights(texts.copies[rows], scoring.resamples, generator),
            ]
        )
        areas = [ranking_metrics(s[rows], truth, weights, [])[:, :1] for s in (scores, baseline)]
        counted = ((weights @ truth) * (weights @ ~truth))[:, None]
        difference = areas[0] - areas[1]
        values.append(difference[0])
        pairs.append(counted[0])
        drawn.append(difference[1:])
        drawn_pairs.append(counted[1:])
    value = average_over_folds(np.stack(values), np.stack(pairs))
    resampled = average_over_folds(np.stack(drawn), np.stack(drawn_pairs))
    low, high = percentile_interval(resampled[~np.isnan(resampled[:, 0])], scoring.level)[:, 0]
    return float(value[0]), float(low), float(high)


def _points(one: Contender, settings: ComparisonSettings) -> Iterator[TableRow]:
    known, truth, copies = one.operated.known, one.result.texts.truth, one.result.texts.copies
    level = settings.scoring.level
    for rate, flagged in zip(
        settings.comparison.false_positive_rates, one.operated.flagged, strict=True
    ):
        positive, negative = known & truth, known & ~truth
        if not (positive.any() and negative.any()):
            continue
        found, false = int((flagged & positive).sum()), int((flagged & negative).sum())
        share, false_share = (float(flagged[part].mean()) for part in (positive, negative))
        sets, false_sets = (len(np.unique(copies[part])) for part in (positive, negative))
        low, high = exact_interval_of_sets(share, sets, level)
        false_low, false_high = exact_interval_of_sets(false_share, false_sets, level)
        yield _named(one) | {
            "wanted_rate": rate,
            "n_positive": int(positive.sum()),
            "n_positive_sets": sets,
            "n_found": found,
            "true_positive_rate": share,
            "true_positive_low": low,
            "true_positive_high": high,
            "n_negative": int(negative.sum()),
            "n_negative_sets": false_sets,
            "n_false": false,
            "false_positive_rate": false_share,
            "false_positive_low": false_low,
            "false_positive_high": false_high,
            "negatives_needed": negatives_needed(rate),
        }


def _bins(one: Contender, bins: int, level: float) -> Iterator[TableRow]:
    known, texts = one.operated.known, one.result.texts
    if not known.any():
        return
    probability, copies = one.operated.probability[known], texts.copies[known]
    rows = rows_of_bins(probability, bins)
    found = reliability(probability, texts.truth[known], bins)
    for number, (part, own) in enumerate(zip(found, rows, strict=True)):
        sets = len(np.unique(copies[own]))
        low, high = exact_interval_of_sets(part.positive / part.count, sets, level)
        yield _named(one) | {
            "bin": number,
            "probability": part.probability,
            "positive_share": part.positive / part.count,
            "low": low,
            "high": high,
            "n_texts": part.count,
            "n_sets": sets,
        }


def _tokens(detector: Detector, label: str, words: Sequence[str | None]) -> Iterator[TableRow]:
    """The readable part of the sparse model: the largest weights of either sign."""
    trained = detector.labels[label].classifier
    assert isinstance(trained, Logistic)
    tokens = detector.description["training"][label]["tokens"]
    order = np.argsort(-trained.weights, kind="stable")
    shown = [i for i in order[:SHOWN_TOKENS] if trained.weights[i] > 0]
    shown += [i for i in order[::-1][:SHOWN_TOKENS][::-1] if trained.weights[i] < 0]
    for place in shown:
        yield {
            "label": label,
            "token": words[tokens[place]] or "",
            "token_id": tokens[place],
            "weight": float(trained.weights[place]),
            "n_used": len(tokens),
        }
