"""Two models of the same shapes: how many neurons still decode to the same tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest
from torch import Tensor

from llm_anatomy.errors import UserError
from llm_anatomy.neurons.weights import ModelWeights


def check_comparable(a: ModelWeights, b: ModelWeights, names: tuple[str, str]) -> None:
    """Check that neuron (l, n) means the same place in both models.

    Raises:
        UserError: The models differ in layers, width, vocabulary or neurons.
    """
    for key in ("n_layers", "d_model", "vocab_size"):
        values = [weights.architecture[key] for weights in (a, b)]
        if values[0] != values[1]:
            raise UserError(
                f"the models '{names[0]}' and '{names[1]}' cannot be compared: {key} is "
                f"{values[0]} and {values[1]}; compare a model with a fine-tuned copy of itself"
            )


def same_top(a: Int[Tensor, "neurons k"], b: Int[Tensor, "neurons k"]) -> Bool[Tensor, " neurons"]:
    """Whether argmax_t p_a[t] == argmax_t p_b[t], per neuron."""
    return a[:, 0] == b[:, 0]


def jaccard(a: Int[Tensor, "neurons k"], b: Int[Tensor, "neurons k"]) -> Float[Tensor, " neurons"]:
    """|A n B| / |A u B| of the top-k token sets, per neuron."""
    shared = (a[:, :, None] == b[:, None, :]).any(2).sum(1)
    return shared.double() / (2 * a.shape[1] - shared)


def agreement_row(
    matrix: str,
    head: str,
    layer: int | None,
    same: np.ndarray,
    overlap: np.ndarray,
    cosine: np.ndarray,
) -> dict[str, Any]:
    """One row of `neurons/agreement` from per-neuron values."""
    test = binomtest(int(same.sum()), len(same)).proportion_ci(method="wilson")
    return {
        "matrix": matrix,
        "head": head,
        "layer": layer,
        "neurons": len(same),
        "same_top": float(same.mean()),
        "low": float(test.low),
        "high": float(test.high),
        "jaccard": float(overlap.mean()),
        "weight_cosine": float(cosine.mean()),
    }


def most_changed(cosines: Sequence[np.ndarray], count: int) -> list[tuple[int, int]]:
    """(layer, neuron) with the lowest weight cosine, lowest first; ties by place."""
    lengths = [len(values) for values in cosines]
    order = np.argsort(np.concatenate(cosines), kind="stable")[:count]
    starts = np.cumsum([0, *lengths])
    layers = np.searchsorted(starts, order, side="right") - 1
    return [(int(layer), int(i - starts[layer])) for layer, i in zip(layers, order, strict=True)]


def weight_cosines(
    a: Float[Tensor, "neurons d_model"], b: Float[Tensor, "neurons d_model"]
) -> Float[Tensor, " neurons"]:
    """Cosine between the two models' vectors of every neuron, float64."""
    return torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=1)
