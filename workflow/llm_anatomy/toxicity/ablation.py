"""Ablations: how much single layers, the first layers and single features carry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from numpy import ndarray

from llm_anatomy.config.toxicity import Ablations
from llm_anatomy.geometry.spline import N_FEATURES
from llm_anatomy.toxicity.classifiers import Recipe, classifier_recipe
from llm_anatomy.toxicity.evaluate import (
    Call,
    Evaluation,
    LabelledTexts,
    TableRow,
    measured_rows,
    most_common,
    out_of_fold,
)
from llm_anatomy.toxicity.features import N_SHARES, Dense, spline_set

ALL_FEATURES = f"1-{N_FEATURES}"
# Statistics of the share of active units, and of the distance to the nearest boundary.
GROUPS: tuple[tuple[str, slice], ...] = (
    ("1-4", slice(N_SHARES)),
    ("5-7", slice(N_SHARES, N_FEATURES)),
)


@dataclass(frozen=True)
class FeaturePart:
    """A part of the spline features.

    Attributes:
        kind: What it is a part of, as in the table of ablations.
        layer: The layer, or the last of the first layers; None for all layers.
        features: Feature numbers.
        values: The part itself.
    """

    kind: Literal["layer", "first_layers", "feature", "features"]
    layer: int | None
    features: str
    values: Dense


def ablations(
    features: Float[ndarray, "texts layers 7"],
    labels: Sequence[LabelledTexts],
    settings: Ablations,
    evaluation: Evaluation,
) -> list[Call[list[TableRow]]]:
    """Calls that measure every part of the features; each gives rows of the table of ablations."""
    weights = evaluation.classifiers.distance_weights
    return [
        (ablate, (label, part, classifier_recipe(name, evaluation.classifiers), evaluation))
        for label in most_common(labels, settings.max_labels)
        for name in settings.classifiers
        for part in parts(features, weights)
    ]


def ablate(
    label: LabelledTexts, part: FeaturePart, recipe: Recipe, evaluation: Evaluation
) -> list[TableRow]:
    """Metrics of a classifier that sees one part of the features."""
    n_inner, seed = evaluation.folds.n_inner_folds, evaluation.seed
    result = out_of_fold(label, part.values, recipe, n_inner, seed)
    names = {"kind": part.kind, "layer": part.layer, "features": part.features}
    return measured_rows(result, evaluation.scoring, seed, **names)


def parts(
    features: Float[ndarray, "texts layers 7"], distance_weights: Sequence[float]
) -> list[FeaturePart]:
    """Every layer, the layers up to every layer, every feature, and the two groups of features.

    Beside shares, distances have the weights that may be chosen; on their own they count in full.
    """
    layers = range(features.shape[1])

    def _layers(which: slice) -> Dense:
        return spline_set("spline", features[:, which], distance_weights)

    return [
        *(FeaturePart("layer", i, ALL_FEATURES, _layers(slice(i, i + 1))) for i in layers),
        *(FeaturePart("first_layers", i, ALL_FEATURES, _layers(slice(i + 1))) for i in layers),
        *(
            FeaturePart("feature", None, str(n + 1), _dense(features[:, :, n]))
            for n in range(N_FEATURES)
        ),
        *(
            FeaturePart("features", None, name, _dense(features[:, :, which]))
            for name, which in GROUPS
        ),
    ]


def _dense(values: ndarray) -> Dense:
    return Dense("spline", values.reshape(len(values), -1))
