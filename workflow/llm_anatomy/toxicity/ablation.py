"""Parts of the spline features, for ablations."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from numpy import ndarray

from llm_anatomy.geometry.spline import N_FEATURES
from llm_anatomy.toxicity.features import Dense

ALL_FEATURES = f"1-{N_FEATURES}"
# Statistics of the share of active units, and of the distance to the nearest boundary.
GROUPS: tuple[tuple[str, slice], ...] = (("1-4", slice(0, 4)), ("5-7", slice(4, N_FEATURES)))


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


def parts(features: Float[ndarray, "texts layers 7"]) -> list[Part]:
    """Every layer, the layers up to every layer, every feature, and the two groups of features."""
    layers = range(features.shape[1])
    return [
        *(Part("layer", i, ALL_FEATURES, _dense(features[:, i])) for i in layers),
        *(Part("first_layers", i, ALL_FEATURES, _dense(features[:, : i + 1])) for i in layers),
        *(Part("feature", None, str(n + 1), _dense(features[:, :, n])) for n in range(N_FEATURES)),
        *(Part("features", None, name, _dense(features[:, :, which])) for name, which in GROUPS),
    ]


def _dense(values: ndarray) -> Dense:
    return Dense("spline", values.reshape(len(values), -1))
