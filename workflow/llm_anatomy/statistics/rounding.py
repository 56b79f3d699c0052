"""How far rounding may move what is equal in theory: one limit per identity and data type.

Half-precision models add their residual stream up in half precision, while its parts are compared
in float32; the limits leave room for what real models of each type were seen to do.
"""

from collections.abc import Mapping
from typing import Any, Literal

Identity = Literal["parts", "proof", "rebuilt", "replay", "telescoping"]

ACCEPTED: Mapping[Identity, Mapping[str, float]] = {
    # |h^L - sum of the recorded parts| / size of the parts. Norms of float64 models still compute
    # in float32.
    "parts": {"float64": 1e-5, "float32": 1e-4, "bfloat16": 0.1, "float16": 0.1},
    # The proof at load: largest difference / largest value.
    "proof": {"float64": 1e-3, "float32": 1e-3, "bfloat16": 0.1, "float16": 0.03},
    # An output rebuilt from attention and values, or by the map of a region: relative distance.
    "rebuilt": {"float64": 1e-4, "float32": 1e-4, "bfloat16": 2e-2, "float16": 2e-2},
    # Blocks called one by one against the whole model: largest difference / largest value.
    "replay": {"float64": 1e-6, "float32": 1e-3, "bfloat16": 5e-2, "float16": 5e-2},
    # Summed layer importance against what the model itself says, in nats. The default model misses
    # by 0.06 in bfloat16 and 0.005 in float16, other tokens than the answer by up to 0.35 and 0.03.
    "telescoping": {"float64": 1e-4, "float32": 1e-4, "bfloat16": 0.5, "float16": 0.05},
}


def accepted(identity: Identity, dtype: str, quantised: bool = False) -> float:
    """The largest error that is still rounding.

    Args:
        identity: What should be equal.
        dtype: Data type of the model's activations, such as `float32`.
        quantised: Whether its weights are: 8-bit layers round activations too, and how depends on
            what else is in the batch.
    """
    limits = ACCEPTED[identity]
    return max(limits[dtype], limits["bfloat16"]) if quantised else limits[dtype]


def accepted_by(identity: Identity, provenance: Mapping[str, Any]) -> float:
    """The same for the model that a table's provenance names."""
    quantised = provenance.get("quantisation", "none") != "none"
    return accepted(identity, provenance["dtype"], quantised)


def precision_name(provenance: Mapping[str, Any]) -> str:
    """What a model ran in, for a sentence: `bfloat16`, or `4bit weights in bfloat16`."""
    quantisation, dtype = provenance.get("quantisation", "none"), provenance["dtype"]
    return dtype if quantisation == "none" else f"{quantisation} weights in {dtype}"
