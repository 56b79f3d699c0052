"""What a detector does to groups of texts: those that mention somebody, of a language, of a length.

A detector that only learned length or dialect ranks well over all texts and fails inside a group,
or raises false alarms on all of it. Metrics of Borkan et al. 2019 (Nuanced Metrics for Measuring
Unintended Bias): with D the texts outside a group and Dg those of it,

    subgroup AUC   Dg- and Dg+    whether the label can be told within the group
    BPSN AUC       D+  and Dg-    low: false alarms on the group
    BNSP AUC       D-  and Dg+    low: misses in the group

all inside test folds, as scores of two folds share no scale; and the rates of false and true
positives at the threshold that all texts have in common.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from numpy import ndarray

from llm_anatomy.config.toxicity import Scoring
from llm_anatomy.statistics.folds import average_over_folds
from llm_anatomy.statistics.intervals import (
    bootstrap_weights,
    exact_interval_of_sets,
    percentile_interval,
)
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.toxicity.comparison import ComparisonSettings, Contender
from llm_anatomy.toxicity.evaluate import LabelledTexts, TableRow
from llm_anatomy.toxicity.metrics import ranking_metrics

# With fewer texts of a class in a group there is no number.
LEAST = 20
LENGTH = "length"
SUBGROUP_PREFIX = "subgroup_"
# Column, group, which texts are in it, and of which texts that is known.
Members = Sequence[tuple[str, str, Bool[ndarray, " texts"], Bool[ndarray, " texts"]]]


def length_groups(n_tokens: Int[ndarray, " texts"]) -> Members:
    """Thirds of the texts by their tokens; texts of one length are in one third."""
    ends = np.quantile(n_tokens, [1 / 3, 2 / 3], method="lower")
    third = np.searchsorted(ends, n_tokens, side="left")
    return [
        (LENGTH, f"{n_tokens[own].min()} to {n_tokens[own].max()} tokens", own, own | True)
        for own in (third == number for number in range(3))
        if own.any()
    ]


def column_groups(texts: pd.DataFrame) -> Members:
    """Groups that the data set names: members of each of its columns of subgroups."""
    found = []
    for name in texts.columns:
        if not name.startswith(SUBGROUP_PREFIX):
            continue
        # A text of which nothing is said may be of any group: it is no background either.
        told = np.array([cell is not None for cell in texts[name]])
        members = [() if cell is None else tuple(cell) for cell in texts[name]]
        for value in sorted({value for cell in members for value in cell}):
            own = np.array([value in cell for cell in members])
            found.append((name.removeprefix(SUBGROUP_PREFIX), value, own, told))
    return found


def subgroup_rows(
    one: Contender, members: Members, settings: ComparisonSettings
) -> Iterator[TableRow]:
    """Rows of the table of subgroups, of one detector.

    Args:
        one: The detector with its scores.
        members: Groups, by rows of the feature sets.
        settings: Rates of false positives, of which the largest is looked at, and intervals.
    """
    rates, seed = settings.comparison.false_positive_rates, settings.seed
    rate = max(rates)
    texts, scores = one.result.texts, one.result.scores
    flagged = one.operated.flagged[rates.index(rate)] & one.operated.known
    for column, group, of_all, told in members:
        own = of_all[texts.rows]
        others = told[texts.rows] & ~own
        truth, known = texts.truth, one.operated.known
        counts = {
            name: int(chosen.sum()) for name, chosen in (("p", own & truth), ("n", own & ~truth))
        }
        areas: dict[str, float] = {}
        for name, chosen in (
            ("subgroup_auc", own),
            ("bpsn_auc", (truth & others) | (~truth & own)),
            ("bnsp_auc", (~truth & others) | (truth & own)),
        ):
            measurable = min(int((chosen & truth).sum()), int((chosen & ~truth).sum())) >= LEAST
            found = (np.nan,) * 3
            if measurable:
                found = area_of(scores, texts, chosen, settings.scoring, seed)
            kind = name.removesuffix("_auc")
            areas |= zip((name, f"{kind}_low", f"{kind}_high"), found, strict=True)
        rows: dict[str, Any] = {}
        for name, chosen in (
            ("false_positive", own & ~truth & known),
            ("true_positive", own & truth & known),
        ):
            share = low = high = np.nan
            if chosen.sum() >= LEAST:
                share, sets = float(flagged[chosen].mean()), len(np.unique(texts.copies[chosen]))
                low, high = exact_interval_of_sets(share, sets, settings.scoring.level)
            rows[f"{name}_rate"] = share
            rows |= {f"{name}_low": low, f"{name}_high": high}
        yield {
            "feature_set": one.result.features,
            "classifier": one.result.classifier,
            "label": texts.label,
            "column": column,
            "group": group,
            "n_texts": int(own.sum()),
            "n_positive": counts["p"],
            "n_unknown": int((~told[texts.rows]).sum()),
            **areas,
            "wanted_rate": rate,
            **rows,
        }


def area_of(
    scores: ndarray,
    texts: LabelledTexts,
    chosen: Bool[ndarray, " texts"],
    scoring: Scoring,
    seed: int,
) -> tuple[float, float, float]:
    """ROC-AUC of some texts, each ranked among those of its own fold, with a bootstrap interval.

    Sets of texts are drawn anew within each fold; NaN without a pair of both classes.
    """
    generator = keyed_generator(seed, Purpose.SUBGROUPS)
    values, pairs = [], []
    for fold in texts.fold_numbers:
        rows = np.flatnonzero((texts.folds == fold) & chosen)
        if not len(rows):
            continue
        positive = texts.truth[rows]
        drawn = bootstrap_weights(texts.copies[rows], scoring.resamples, generator)
        weights = np.concatenate([np.ones((1, len(rows))), *drawn])
        values.append(ranking_metrics(scores[rows], positive, weights, [])[:, 0])
        pairs.append((weights @ positive) * (weights @ ~positive))
    areas = average_over_folds(np.stack(values), np.stack(pairs))
    low, high = percentile_interval(areas[1:][~np.isnan(areas[1:])], scoring.level)
    return float(areas[0]), float(low), float(high)
