"""Detectors beside each other on the same folds, each with what decides whether it can be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from llm_anatomy.config.detectors import DetectorComparison
from llm_anatomy.config.toxicity import Baselines
from llm_anatomy.toxicity.asking import Asked
from llm_anatomy.toxicity.classifiers import Choice, Features, LogisticRecipe, Recipe
from llm_anatomy.toxicity.detection import OtherFeatures, baseline_sets
from llm_anatomy.toxicity.evaluate import (
    Call,
    Evaluation,
    LabelledTexts,
    OutOfFold,
    in_parallel,
    labelled_texts,
    most_common,
    out_of_fold,
)
from llm_anatomy.toxicity.extended import NAME as EXTENDED
from llm_anatomy.toxicity.features import Dense, FeatureSet, spline_set
from llm_anatomy.toxicity.first_token import FirstToken, SparseRecipe
from llm_anatomy.toxicity.inputs import SplineTable, rows_of, spline_table
from llm_anatomy.toxicity.operating import Operated, operate
from llm_anatomy.toxicity.token_probes import PooledRecipe, TokenStates

LOGISTIC = "logistic_regression"
MEAN_STATE = "mean_state_layer_"
FIRST_TOKEN, TOKEN_STATES, BOTH = "first_token", "token_states", "spline_and_state"


class ComparisonSettings(Evaluation):
    """Which detectors are compared, and what the earlier ones were made of."""

    baselines: Baselines
    comparison: DetectorComparison


@dataclass(frozen=True)
class Inputs:
    """The tables that detectors are made from.

    Attributes:
        spline_features: The table of spline features.
        folds: The table of folds.
        others: What the baselines see.
        further: Texts and their features beyond the seven (`extended.further_features`).
        predictions: Out-of-fold scores of the detectors that were measured before.
        choices: What their inner folds chose.
        asked: The model's answers and states; None where no detector reads them.
    """

    spline_features: pd.DataFrame
    folds: pd.DataFrame
    others: OtherFeatures
    further: tuple[Sequence[str], Float[ndarray, "texts layers n"]]
    predictions: pd.DataFrame
    choices: pd.DataFrame
    asked: Asked | None


@dataclass(frozen=True)
class Contender:
    """A detector of one label with its out-of-fold scores and its work with thresholds."""

    recipe: Recipe
    result: OutOfFold
    operated: Operated
    pass_share: float
    n_cut: int


def contenders(inputs: Inputs, settings: ComparisonSettings, threads: int = 1) -> list[Contender]:
    """Train and calibrate every detector, label by label.

    Detectors of `detect_toxicity` keep its scores and choices; the others choose on inner folds.

    Raises:
        UserError: A text is not in a table; the tables belong to different data.
    """
    spline = spline_table(inputs.spline_features)
    labels = labelled_texts(inputs.folds, spline.text_ids)
    chosen = most_common(labels, settings.comparison.max_labels)
    known = _known_sets(spline, inputs, settings)
    new = _new_sets(spline, inputs, settings)
    calls: list[Call[tuple[Recipe, OutOfFold, Operated]]] = []
    for label in chosen:
        for features in known:
            result = measured_before(label, features, inputs, settings)
            if result is not None:
                calls.append((_with_work, (*result, settings)))
        calls += [(_trained, (label, features, recipe, settings)) for features, recipe in new]
    found = in_parallel(calls, threads, "compare_detectors")
    n_layers = spline.features.shape[1]
    shares = pass_shares(spline, inputs.asked, n_layers)
    return [
        Contender(
            recipe,
            result,
            operated,
            _share_of(result.features, shares, n_layers),
            _cut(result, inputs),
        )
        for recipe, result, operated in found
    ]


def measured_before(
    label: LabelledTexts, features: FeatureSet, inputs: Inputs, settings: ComparisonSettings
) -> tuple[Recipe, OutOfFold] | None:
    """Logistic regression as `detect_toxicity` scored a feature set; None where it did not."""

    def own(table: pd.DataFrame) -> pd.DataFrame:
        return table[
            (table["label"] == label.label)
            & (table["feature_set"] == features.name)
            & (table["classifier"] == LOGISTIC)
        ]

    choices, scored = own(inputs.choices), own(inputs.predictions)
    if scored.empty:
        return None
    scores = scored.set_index("text_id")["score"].loc[label.text_ids].to_numpy(dtype=float)
    taken = []
    by_fold = {row["fold"]: row for row in choices.to_dict("records")}
    for row in (by_fold[fold] for fold in label.fold_numbers):
        weight, inner = (_number(row[name]) for name in ("distance_weight", "inner_roc_auc"))
        variant = features.variants()[0]
        if weight is not None and isinstance(features, Dense):
            variant = replace(features, distance_weights=(weight,))
        taken.append(Choice(variant, row["chosen"], weight, inner, row["n_inner_folds"]))
    recipe = LogisticRecipe((taken[0].value,), settings.classifiers.max_iter)
    return recipe, OutOfFold(features.name, LOGISTIC, "C", label, scores, taken)


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _trained(
    label: LabelledTexts, features: Features, recipe: Recipe, settings: ComparisonSettings
) -> tuple[Recipe, OutOfFold, Operated]:
    n_inner = settings.folds.n_inner_folds
    return _with_work(
        recipe, out_of_fold(label, features, recipe, n_inner, settings.seed), settings
    )


def _with_work(
    recipe: Recipe, result: OutOfFold, settings: ComparisonSettings
) -> tuple[Recipe, OutOfFold, Operated]:
    rates, n_inner = settings.comparison.false_positive_rates, settings.folds.n_inner_folds
    work = operate(result.texts, recipe, result.choices, rates, n_inner, settings.seed)
    return recipe, result, work


def _known_sets(
    spline: SplineTable, inputs: Inputs, settings: ComparisonSettings
) -> list[FeatureSet]:
    weights = settings.classifiers.distance_weights
    ours: list[FeatureSet] = [spline_set("spline", spline.features, weights)]
    return ours + baseline_sets(settings.baselines, spline, inputs.others)


def _new_sets(
    spline: SplineTable, inputs: Inputs, settings: ComparisonSettings
) -> list[tuple[Features, Recipe]]:
    """Feature sets of this comparison alone, with their classifiers."""
    asked, comparison = inputs.asked, settings.comparison
    logistic = LogisticRecipe(tuple(settings.classifiers.c), settings.classifiers.max_iter)
    flat = spline.features.reshape(len(spline.text_ids), -1)
    sets: list[tuple[Features, Recipe]] = []
    layer = preferred_state(inputs)
    if BOTH in comparison.methods and layer is not None:
        order = rows_of(spline.text_ids, inputs.others.state_ids, "geometry/states")
        both = np.concatenate([flat, inputs.others.states["mean", layer][order]], axis=1)
        sets.append((Dense(BOTH, both), logistic))
    if EXTENDED in comparison.methods:
        order = rows_of(spline.text_ids, inputs.further[0], "geometry/traces")
        further = inputs.further[1][order].reshape(len(flat), -1)
        sets.append((Dense(EXTENDED, np.concatenate([flat, further], axis=1)), logistic))
    if asked is None:
        return sets
    order = rows_of(spline.text_ids, asked.text_ids, "data/texts")
    if FIRST_TOKEN in comparison.methods:
        sparse = SparseRecipe(tuple(comparison.penalties), settings.classifiers.max_iter)
        likely = comparison.answer_tokens
        sets.append((FirstToken(FIRST_TOKEN, asked.features[order], likely), sparse))
    states = TokenStates(TOKEN_STATES, asked.tokens.of(order))
    for pooling in ("attention", "max"):
        if f"{pooling}_probe" in comparison.methods:
            penalties = tuple(comparison.probe_penalties)
            sets.append((states, PooledRecipe(pooling, penalties, comparison.steps)))
    return sets


def preferred_state(inputs: Inputs) -> int | None:
    """The layer whose mean state the inner folds rank best with; None where none is stored.

    What spline features add is asked of the best state, as the training texts know it: beside a
    weaker layer they would seem to add more. Layers are compared by the mean of `inner_roc_auc`
    over labels and folds; of equal ones, and where no inner fold chose, the first is taken.
    """
    layers = [layer for summary, layer in inputs.others.states if summary == "mean"]
    inner = inputs.choices[inputs.choices["classifier"] == LOGISTIC].groupby("feature_set")
    means = inner["inner_roc_auc"].mean().fillna(-np.inf)
    return max(layers, key=lambda layer: means.get(MEAN_STATE + str(layer), -np.inf), default=None)


def pass_shares(spline: SplineTable, asked: Asked | None, n_layers: int) -> dict[str, float]:
    """Counted work of what this comparison reads, as a share of a plain pass over each text.

    The beginning of the template is read once for all texts, and not counted.
    """
    if asked is None:
        return {}
    rows = rows_of(spline.text_ids, asked.text_ids, "data/texts")
    own, plain = asked.tokens.lengths[rows], spline.n_tokens
    first = float(np.mean((own + asked.behind[rows]) / plain))
    states = float(np.mean(own / plain)) * (asked.layer + 1) / n_layers
    return {FIRST_TOKEN: first, TOKEN_STATES: states}


def _cut(result: OutOfFold, inputs: Inputs) -> int:
    """Texts of a label of which a detector does not read the end."""
    if result.features == "tfidf":
        return 0
    ids, asked = result.texts.text_ids, inputs.asked
    if result.features in (FIRST_TOKEN, TOKEN_STATES) and asked is not None:
        return int(asked.cut[rows_of(ids, asked.text_ids, "data/texts")].sum())
    stored = inputs.spline_features
    rows = rows_of(ids, list(stored["text_id"]), "geometry/spline_features")
    return int(stored["truncated"].to_numpy(dtype=bool)[rows].sum())


def _share_of(features: str, shares: Mapping[str, float], n_layers: int) -> float:
    if features in shares:
        return shares[features]
    if features in ("length", "tfidf"):
        return 0.0
    kind, _, layer = features.partition("_state_layer_")
    return (int(layer) + 1) / n_layers if layer and kind else 1.0
