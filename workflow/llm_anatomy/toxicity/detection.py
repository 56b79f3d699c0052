"""Detection: classifiers on spline features beside the baselines, and the detector that is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from llm_anatomy.config.toxicity import (
    Baselines,
    Classifiers,
    DetectorSettings,
    EarlyExit,
)
from llm_anatomy.geometry.activations import Summary
from llm_anatomy.geometry.spline import feature_columns
from llm_anatomy.statistics.folds import inner_splits
from llm_anatomy.tables.toxicity import METRICS
from llm_anatomy.toxicity.classifiers import (
    Recipe,
    baseline_recipe,
    choose,
    classifier_recipe,
    logistic_fits,
    random_forest,
)
from llm_anatomy.toxicity.detector import Detector, LabelDetector, TrainingRange, from_forest
from llm_anatomy.toxicity.evaluate import (
    Call,
    Evaluation,
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
    dimension_set,
    first_layers,
    length_features,
    spline_set,
    state_sets,
    tfidf,
    wanted_states,
)
from llm_anatomy.toxicity.inputs import SplineTable, aligned_texts, count_layers, spline_table


class DetectionSettings(Evaluation):
    """What is detected from: beside all layers, the first ones and the baselines."""

    baselines: Baselines
    early_exit: EarlyExit


@dataclass(frozen=True)
class OtherFeatures:
    """What the baselines see.

    Attributes:
        texts: The dataset's table.
        intrinsic_dimension: The table of intrinsic dimensions.
        state_ids: The texts whose hidden states are stored.
        states: Their states, by summary and layer: those that a baseline asks for.
    """

    texts: pd.DataFrame
    intrinsic_dimension: pd.DataFrame
    state_ids: Sequence[str]
    states: Mapping[tuple[Summary, int], Float[ndarray, "texts d_model"]]


@dataclass(frozen=True)
class Detection:
    """Out-of-fold scores, their metrics, and what was chosen, as in the tables of these names."""

    predictions: pd.DataFrame
    metrics: pd.DataFrame
    choices: pd.DataFrame


def detect(
    spline_features: pd.DataFrame,
    folds: pd.DataFrame,
    others: OtherFeatures,
    settings: DetectionSettings,
    threads: int = 1,
) -> Detection:
    """Classify texts from their spline features, beside the baselines, on the same folds.

    Args:
        spline_features: The table of spline features.
        folds: The table of folds, labels and copies.
        others: What the baselines see.
        settings: Feature sets, classifiers and metrics.
        threads: Fits that run at once; they change no number.

    Raises:
        UserError: A wanted layer, state or text is not there.
    """
    spline = spline_table(spline_features)
    ours = spline_sets(spline, settings.early_exit, settings.classifiers.distance_weights)
    baselines = baseline_sets(settings.baselines, spline, others)
    labels = labelled_texts(folds, spline.text_ids)
    calls: list[Call[OutOfFold]] = [
        (out_of_fold, (label, features, recipe, settings.folds.n_inner_folds, settings.seed))
        for label, features, recipe in plan(settings.classifiers, labels, ours, baselines)
    ]
    results = in_parallel(calls, threads, "detect_toxicity")
    measured = in_parallel(
        [(measured_rows, (result, settings.scoring, settings.seed)) for result in results],
        threads,
        "measure",
    )
    return Detection(
        pd.concat([_predictions(result) for result in results]),
        METRICS.frame(row for rows in measured for row in rows),
        pd.concat([_choices(result) for result in results]),
    )


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
            planned += [(label, features, classifier_recipe(name, settings)) for features in sets]
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


def needed_states(
    settings: Baselines, spline_features: pd.DataFrame, stored: Sequence[int]
) -> list[tuple[Summary, int]]:
    """Of which layers the baselines use which summary of the hidden states; often none.

    Args:
        settings: The baselines.
        spline_features: The table of spline features, which has every layer of the model.
        stored: Layers whose states are stored.

    Raises:
        UserError: A baseline asks for states and none are stored.
    """
    summaries: tuple[Summary, ...] = ("mean", "last")
    kinds = [kind for kind in summaries if f"{kind}_state" in settings.names]
    n_layers = count_layers(spline_features)
    return wanted_states(kinds, settings.state_depths, stored, n_layers) if kinds else []


def baseline_sets(
    settings: Baselines, spline: SplineTable, others: OtherFeatures
) -> list[FeatureSet]:
    """What the spline features are compared with."""
    texts = list(aligned_texts(others.texts, spline.text_ids)["text"])
    sets: list[FeatureSet] = []
    if "length" in settings.names:
        sets.append(Dense("length", length_features(texts, spline.n_tokens)))
    if "tfidf" in settings.names:
        sets.append(tfidf(texts))
    sets += state_sets(others.state_ids, others.states, spline.text_ids)
    if "intrinsic_dimension" in settings.names:
        sets.append(dimension_set(others.intrinsic_dimension, spline.text_ids))
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


def train_detector(
    spline_features: pd.DataFrame,
    folds: pd.DataFrame,
    settings: DetectorSettings,
    evaluation: Evaluation,
    description: Mapping[str, Any],
) -> Detector:
    """Train one classifier per label on all its texts, its hyperparameter chosen by folds.

    Args:
        spline_features: The table of spline features.
        folds: The table of folds, labels and copies.
        settings: Which classifier, on how many layers.
        evaluation: Hyperparameters, folds and seed.
        description: What the features belong to.

    Raises:
        UserError: The model has fewer layers than asked for.
    """
    spline = spline_table(spline_features)
    classifiers, seed = evaluation.classifiers, evaluation.seed
    n_layers = settings.n_layers or spline.features.shape[1]
    values = first_layers(spline.features, n_layers, "toxicity.detector.n_layers")
    features = spline_set("spline", values, classifiers.distance_weights)
    recipe = classifier_recipe(settings.classifier, classifiers)
    detectors, training = {}, {}
    for label in labelled_texts(folds, spline.text_ids):
        splits = inner_splits(label.truth, label.copies, evaluation.folds.n_folds, seed)
        choice = choose(features, label.truth, label.rows, splits, recipe, seed)
        assert isinstance(choice.features, Dense)
        mean, scale = choice.features.mean_and_scale(label.rows)
        x = (features.values[label.rows] - mean) / scale
        covered = TrainingRange.of(features.values[label.rows], spline.n_tokens[label.rows])
        if settings.classifier == "logistic_regression":
            fits = logistic_fits(x, label.truth, [choice.value], classifiers.max_iter)
            detectors[label.label] = LabelDetector(mean, scale, fits[0], covered)
        else:
            forest = random_forest(int(choice.value), classifiers.n_trees, seed)
            fitted = from_forest(forest.fit(x.astype("float32"), label.truth))
            detectors[label.label] = LabelDetector(mean, scale, fitted, covered)
        training[label.label] = {
            "n_texts": len(label.truth),
            "n_positive": int(label.truth.sum()),
            recipe.hyperparameter: choice.value,
            "distance_weight": choice.distance_weight,
            "roc_auc_of_choice": choice.inner_roc_auc,
        }
    return Detector(
        detectors,
        {
            **description,
            "classifier": settings.classifier,
            "n_layers": n_layers,
            "columns": feature_columns(n_layers),
            "training": training,
        },
    )
