"""Training the detector that is kept: on all labelled texts, hyperparameter chosen by folds."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from numpy import ndarray

from llm_anatomy.config.toxicity import Classifiers
from llm_anatomy.config.toxicity import Detector as DetectorSettings
from llm_anatomy.geometry.spline import feature_columns
from llm_anatomy.toxicity.classifiers import (
    choose,
    fit_logistic,
    logistic_regression,
    random_forest,
    recipe,
)
from llm_anatomy.toxicity.detector import Detector, LabelDetector, from_forest, from_logistic
from llm_anatomy.toxicity.evaluate import LabelledTexts
from llm_anatomy.toxicity.features import Dense, first_layers, spline_set
from llm_anatomy.toxicity.folds import inner_splits


def train_detector(
    features: Float[ndarray, "texts layers 7"],
    labels: Sequence[LabelledTexts],
    settings: DetectorSettings,
    classifiers: Classifiers,
    n_folds: int,
    seed: int,
    description: Mapping[str, Any],
) -> Detector:
    """Train one classifier per label on all its texts.

    Args:
        features: Spline features of all texts.
        labels: The labels with their texts.
        settings: Which classifier, on how many layers.
        classifiers: Hyperparameter values.
        n_folds: Folds that choose the hyperparameter.
        seed: Seed of folds and forest.
        description: What the features belong to.

    Raises:
        UserError: The model has fewer layers than asked for.
    """
    n_layers = settings.n_layers or features.shape[1]
    values = first_layers(features, n_layers, "toxicity.detector.n_layers")
    spline = spline_set("spline", values, classifiers.distance_weights)
    made = recipe(settings.classifier, classifiers)
    trained, training = {}, {}
    for label in labels:
        splits = inner_splits(label.truth, label.copies, n_folds, seed)
        choice = choose(spline, label.truth, label.rows, splits, made, seed)
        assert isinstance(choice.features, Dense)
        mean, scale = choice.features.mean_and_scale(label.rows)
        x = (spline.values[label.rows] - mean) / scale
        if settings.classifier == "logistic_regression":
            logistic = logistic_regression(choice.value, classifiers.max_iter)
            fit_logistic(logistic, x, label.truth)
            classifier: Any = from_logistic(logistic)
        else:
            forest = random_forest(int(choice.value), classifiers.n_trees, seed)
            classifier = from_forest(forest.fit(x.astype("float32"), label.truth))
        trained[label.label] = LabelDetector(mean, scale, classifier)
        training[label.label] = {
            "n_texts": len(label.truth),
            "n_positive": int(label.truth.sum()),
            made.hyperparameter: choice.value,
            "distance_weight": choice.distance_weight,
            "roc_auc_of_choice": choice.inner_roc_auc,
        }
    return Detector(
        trained,
        {
            **description,
            "classifier": settings.classifier,
            "n_layers": n_layers,
            "columns": feature_columns(n_layers),
            "training": training,
        },
    )
