"""Two models of the same shapes: how many neurons still decode to the same tokens."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llm_anatomy.config.neurons import Comparison, Matrix, VocabularyMap
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.mapping import Mapper
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.progress import Progress
from llm_anatomy.statistics.intervals import wilson_interval
from llm_anatomy.tables.neurons import AGREEMENT, CHANGED

logger = logging.getLogger(__name__)

# What top tokens are read from.
TOP_COLUMNS = ("layer", "matrix", "sign", "token_id")


@dataclass(frozen=True)
class ModelComparison:
    """How far the decoded neurons of two models agree.

    Attributes:
        agreement: The table `neurons/agreement`.
        changed: The table `neurons/changed`.
        same_head: Whether both models have the same LM head.
    """

    agreement: pd.DataFrame
    changed: pd.DataFrame
    same_head: bool


@dataclass(frozen=True)
class MatrixComparison:
    """One matrix of all layers in two models.

    Attributes:
        cosines: Per layer, cosine between the two weight vectors of every neuron.
        overlaps: Per head that the second model is decoded with and per layer: whether the top
            token is the same, and the Jaccard index of the top k, of every neuron.
        tops: Per layer, top k tokens of both models, each with its own head.
    """

    cosines: list[np.ndarray]
    overlaps: dict[str, list[tuple[np.ndarray, np.ndarray]]]
    tops: list[tuple[Int[Tensor, "neurons k"], Int[Tensor, "neurons k"]]]


def compare_models(
    a: ModelWeights,
    b: ModelWeights,
    vocabulary_a: pa.Table,
    decoding: VocabularyMap,
    settings: Comparison,
    device: str,
) -> ModelComparison:
    """Compare the decoded neurons of two models with the same shapes.

    Args:
        a: The first model's files.
        b: The second model's files.
        vocabulary_a: `TOP_COLUMNS` of the first model's table `neurons/vocabulary`.
        decoding: How it was decoded.
        settings: Matrices and heads to compare.
        device: Where to compute.

    Raises:
        UserError: The models differ in shape, or have none of the matrices.
    """
    names = (a.folder.parent.name, b.folder.parent.name)
    check_comparable(a, b, names)
    mappers = {"own": Mapper(b, decoding, device)}
    same_head = torch.equal(a.tokens, b.tokens) and torch.equal(a.head, b.head)
    logger.info("heads are %s", "equal" if same_head else "different")
    if "first" in settings.heads and not same_head:
        mappers["first"] = Mapper(b, decoding, device, head_of=a)
    vocabulary = Vocabulary(a.folder)
    tokens_a = top_tokens(vocabulary_a, decoding.top_k)
    matrices = a.present(settings.matrices)
    if not matrices:
        raise UserError(
            f"neurons.comparison.matrices names {', '.join(settings.matrices)}, which "
            f"the model '{names[0]}' does not have"
        )
    agreement: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    with Progress(len(matrices) * a.n_layers, "matrices", "compare_models") as progress:
        for matrix in matrices:
            compared = compare_matrix(a, b, matrix, tokens_a, mappers, names, progress)
            for head in settings.heads:
                # With equal heads both choices are the same computation.
                agreement += agreement_rows(
                    matrix, head, compared, head if head in mappers else "own"
                )
            changed += changed_rows(matrix, compared, settings.changed, vocabulary)
    return ModelComparison(
        AGREEMENT.frame(agreement).astype({"layer": "Int16"}), CHANGED.frame(changed), same_head
    )


def compare_matrix(
    a: ModelWeights,
    b: ModelWeights,
    matrix: Matrix,
    tokens_a: Mapping[tuple[int, str], Int[Tensor, "neurons k"]],
    mappers: Mapping[str, Mapper],
    names: tuple[str, str],
    progress: Progress,
) -> MatrixComparison:
    """Compare one matrix of all layers.

    Args:
        a: The first model's files.
        b: The second model's files.
        matrix: The matrix.
        tokens_a: Top tokens of the first model (`top_tokens`).
        mappers: Decoders of the second model, by the head that they use.
        names: What the message calls the models.
        progress: Advanced by one for every layer.

    Raises:
        UserError: A layer has other numbers of neurons in the two models.
    """
    compared = MatrixComparison([], {head: [] for head in mappers}, [])
    for layer in range(a.n_layers):
        vectors = a.vectors(layer, matrix), b.vectors(layer, matrix)
        if vectors[0].shape != vectors[1].shape:
            raise UserError(
                f"layer {layer} of '{names[0]}' has {len(vectors[0])} neurons and of "
                f"'{names[1]}' {len(vectors[1])}; only equal shapes can be compared"
            )
        compared.cosines.append(weight_cosines(*vectors).numpy())
        first = tokens_a[layer, matrix]
        for head, mapper in mappers.items():
            second = mapper.decode(layer, matrix).positive.ids[:, : first.shape[1]].cpu()
            measures = same_top(first, second).numpy(), jaccard(first, second).numpy()
            compared.overlaps[head].append(measures)
            if head == "own":
                compared.tops.append((first, second))
        progress.advance()
    return compared


def top_tokens(vocabulary: pa.Table, top_k: int) -> dict[tuple[int, str], Int[Tensor, "neurons k"]]:
    """Top tokens of every weight vector by layer and matrix, from `neurons/vocabulary`."""
    frame = vocabulary.filter(pc.equal(vocabulary["sign"], 1)).to_pandas()
    # Rows are in the order of neurons and ranks.
    groups = frame.groupby(["layer", "matrix"], sort=False)["token_id"]
    return {
        (int(layer), str(matrix)): torch.tensor(ids.to_numpy().astype("int64")).view(-1, top_k)
        for (layer, matrix), ids in groups
    }


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
    low, high = wilson_interval(int(same.sum()), len(same))
    return {
        "matrix": matrix,
        "head": head,
        "layer": layer,
        "neurons": len(same),
        "same_top": float(same.mean()),
        "low": low,
        "high": high,
        "jaccard": float(overlap.mean()),
        "weight_cosine": float(cosine.mean()),
    }


def agreement_rows(
    matrix: str, head: str, compared: MatrixComparison, decoded_with: str
) -> list[dict[str, Any]]:
    """Rows of `neurons/agreement` of one matrix: every layer, then all together.

    Args:
        matrix: The matrix.
        head: What the rows call the head.
        compared: What was measured.
        decoded_with: Which of its heads the rows are about.
    """
    overlaps = compared.overlaps[decoded_with]
    rows = [
        agreement_row(matrix, head, layer, same, overlap, compared.cosines[layer])
        for layer, (same, overlap) in enumerate(overlaps)
    ]
    same, overlap = (np.concatenate(column) for column in zip(*overlaps, strict=True))
    together = agreement_row(matrix, head, None, same, overlap, np.concatenate(compared.cosines))
    return [*rows, together]


def changed_rows(
    matrix: str, compared: MatrixComparison, count: int, vocabulary: Vocabulary
) -> list[dict[str, Any]]:
    """Rows of `neurons/changed`: the neurons of one matrix whose weights differ most."""
    rows = []
    for rank, (layer, neuron) in enumerate(most_changed(compared.cosines, count), 1):
        first, second = (tokens[neuron] for tokens in compared.tops[layer])
        rows.append(
            {
                "matrix": matrix,
                "rank": rank,
                "layer": layer,
                "neuron": neuron,
                "weight_cosine": float(compared.cosines[layer][neuron]),
                "jaccard": float(jaccard(first[None], second[None])[0]),
                "token_a": vocabulary.text(int(first[0])),
                "token_b": vocabulary.text(int(second[0])),
            }
        )
    return rows


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
