"""Parts of the spline features, for ablations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from numpy import ndarray

from llm_anatomy.geometry.spline import N_FEATURES
from llm_anatomy.toxicity.features import N_SHARES, Dense, spline_set

ALL_FEATURES = f"1-{N_FEATURES}"
# Statistics of the share of active units, and of the distance to the nearest boundary.
GROUPS: tuple[tuple[str, slice], ...] = (
    ("1-4", slice(N_SHARES)),
    ("5-7", slice(N_SHARES, N_FEATURES)),
)


@dataclass(frozen=True)
class Part:
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


def parts(
    features: Float[ndarray, "texts layers 7"], distance_weights: Sequence[float]
) -> list[Part]:
    """Every layer, the layers up to every layer, every feature, and the two groups of features.

    Beside shares, distances have the weights that may be chosen; on their own they count in full.
    """
    layers = range(features.shape[1])

    def _layers(which: slice) -> Dense:
        return spline_set("spline", features[:, which], distance_weights)

    return [
        *(Part("layer", i, ALL_FEATURES, _layers(slice(i, i + 1))) for i in layers),
        *(Part("first_layers", i, ALL_FEATURES, _layers(slice(i + 1))) for i in layers),
        *(Part("feature", None, str(n + 1), _dense(features[:, :, n])) for n in range(N_FEATURES)),
        *(Part("features", None, name, _dense(features[:, :, which])) for name, which in GROUPS),
    ]


def _dense(values: ndarray) -> Dense:
    return Dense("spline", values.reshape(len(values), -1))
