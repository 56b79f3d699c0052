"""Classify texts from their spline features, beside the baselines, on the same folds."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import Baselines, Classifiers, EarlyExit, Folds, Scoring
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import CHOICES, FOLDS, METRICS, PREDICTIONS
from llm_anatomy.toxicity.classifiers import Recipe, baseline_recipe, recipe
from llm_anatomy.toxicity.evaluate import (
    LabelledTexts,
    OutOfFold,
    in_parallel,
    labelled_texts,
    measured_rows,
    most_common,
    out_of_fold,
)
from llm_anatomy.toxicity.features import (
    Dense,
    FeatureSet,
    first_layers,
    length_features,
    spline_set,
    tfidf,
)
from llm_anatomy.toxicity.inputs import (
    SplineTable,
    read_dimension_profile,
    read_spline_features,
    read_state_baselines,
    rows_of,
)


class DetectStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    folds: Folds
    classifiers: Classifiers
    baselines: Baselines
    scoring: Scoring
    early_exit: EarlyExit


def run(
    settings: DetectStage,
    *,
    texts: Path,
    folds: Path,
    spline_features: Path,
    intrinsic_dimension: Path,
    states: tuple[Path, ...],
    predictions: Path,
    metrics: Path,
    choices: Path,
) -> None:
    """Read features and folds; write out-of-fold scores, their metrics and what was chosen."""
    spline = read_spline_features(spline_features)
    ours = spline_sets(spline, settings.early_exit, settings.classifiers.distance_weights)
    baselines = baseline_sets(settings.baselines, spline, texts, intrinsic_dimension, states)
    labels = labelled_texts(read_table(folds, FOLDS), spline.text_ids)
    calls = [
        (out_of_fold, (label, features, made, settings.folds.n_inner_folds, settings.seed))
        for label, features, made in plan(settings.classifiers, labels, ours, baselines)
    ]
    threads = compute_settings().threads
    results = in_parallel(calls, threads, "detect_toxicity")
    measured = in_parallel(
        [(measured_rows, (result, settings.scoring, settings.seed)) for result in results],
        threads,
        "measure",
    )
    provenance = read_provenance(spline_features) | {"toxicity": settings.model_dump()}
    write_table(predictions, PREDICTIONS, pd.concat([_predictions(r) for r in results]), provenance)
    order = [column.name for column in METRICS.columns]
    rows = [row for part in measured for row in part]
    write_table(metrics, METRICS, pd.DataFrame(rows)[order], provenance)
    write_table(choices, CHOICES, pd.concat([_choices(r) for r in results]), provenance)


def plan(
    settings: Classifiers,
    labels: Sequence[LabelledTexts],
    ours: Sequence[Dense],
    baselines: Sequence[FeatureSet],
) -> list[tuple[LabelledTexts, FeatureSet, Recipe]]:
    """Which classifier is tried on which features and label.

    Logistic regression on everything; forests on the spline features of the most common labels, of
    all and of the first layers; boosting, the slowest, on the features of all layers.
    """
    with_trees = most_common(labels, settings.max_tree_labels)
    planned: list[tuple[LabelledTexts, FeatureSet, Recipe]] = []
    for label in labels:
        for name in settings.names:
            if name != "logistic_regression" and label not in with_trees:
                continue
            sets = ours[:1] if name == "gradient_boosting" else ours
            planned += [(label, features, recipe(name, settings)) for features in sets]
        planned += [
            (label, features, baseline_recipe(features, settings)) for features in baselines
        ]
    return planned


def spline_sets(
    spline: SplineTable, early_exit: EarlyExit, weights: Sequence[float]
) -> list[Dense]:
    """The spline features of all layers, and of the first layers for an early exit."""
    sets = [spline_set("spline", spline.features, weights)]
    for n_layers in early_exit.n_layers:
        values = first_layers(spline.features, n_layers, "toxicity.early_exit.n_layers")
        sets.append(spline_set(f"spline_first_{n_layers}_layers", values, weights))
    return sets


def baseline_sets(
    asked: Baselines,
    spline: SplineTable,
    texts: Path,
    intrinsic_dimension: Path,
    states: tuple[Path, ...],
) -> list[FeatureSet]:
    """What the spline features are compared with."""
    table = read_table(texts, TEXTS)
    table = table.iloc[rows_of(spline.text_ids, list(table["text_id"]), texts)]
    strings = list(table["text"])
    sets: list[FeatureSet] = []
    if "length" in asked.names:
        sets.append(Dense("length", length_features(strings, spline.n_tokens)))
    if "tfidf" in asked.names:
        sets.append(tfidf(strings))
    kinds = [kind for kind in ("mean", "last") if f"{kind}_state" in asked.names]
    sets += read_state_baselines(
        states, kinds, asked.state_depths, spline.features.shape[1], spline.text_ids
    )
    if "intrinsic_dimension" in asked.names:
        sets.append(read_dimension_profile(intrinsic_dimension, spline.text_ids))
    return sets


def _predictions(result: OutOfFold) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text_id": result.texts.text_ids,
            "label": result.texts.label,
            "feature_set": result.features,
            "classifier": result.classifier,
            "fold": result.texts.folds,
            "truth": result.texts.truth,
            "score": result.scores,
        }
    )


def _choices(result: OutOfFold) -> pd.DataFrame:
    folds = result.texts.fold_numbers
    return pd.DataFrame(
        {
            "feature_set": result.features,
            "classifier": result.classifier,
            "label": result.texts.label,
            "fold": folds,
            "hyperparameter": result.hyperparameter,
            "chosen": [choice.value for choice in result.choices],
            "distance_weight": pd.array([c.distance_weight for c in result.choices], "Float64"),
            "inner_roc_auc": [choice.inner_roc_auc for choice in result.choices],
            "n_inner_folds": [choice.n_inner_folds for choice in result.choices],
            "n_train": [len(result.texts.fold_split(fold)[0]) for fold in folds],
        }
    )


if __name__ == "__main__":
    run_stage(run)
