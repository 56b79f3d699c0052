"""The vocabulary map: every neuron of a layer's matrices as tokens, in table form."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.config.neurons import Matrix, VocabularyMap
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.decode import Decoded, HeadDecoder
from llm_anatomy.neurons.weights import ModelWeights, normalise_head, normalise_vectors
from llm_anatomy.progress import Progress

logger = logging.getLogger(__name__)

Columns: TypeAlias = dict[str, Any]


class Mapper:
    """Decodes the layers of one model, one matrix at a time.

    Args:
        weights: The model's files.
        settings: What to decode, and how.
        device: Where to compute.
        head_of: Another model, with whose LM head to decode; its own when left out.

    Memory: the head, one layer's matrix and one buffer of logits, whatever the number of layers.

    Raises:
        UserError: More tokens are asked for than the head has rows.
    """

    def __init__(
        self,
        weights: ModelWeights,
        settings: VocabularyMap,
        device: str,
        head_of: ModelWeights | None = None,
    ) -> None:
        self.weights, self.settings = weights, settings
        self.device = device
        decoding = head_of or weights
        self.tokens = decoding.tokens.to(device)
        head = normalise_head(decoding.head.to(device).float(), settings.normalisation)
        if settings.top_k > len(head):
            raise UserError(
                f"neurons.map.top_k is {settings.top_k}, but the model's head has only "
                f"{len(head)} tokens"
            )
        self.decoder = HeadDecoder(head, settings.top_k, screen=settings.screen == "bfloat16")

    def decode(self, layer: int, matrix: Matrix, neurons: Sequence[int] | None = None) -> Decoded:
        """Both ends of every neuron of one matrix of one layer, or of some of them."""
        vectors = self._vectors(layer, matrix)
        decoded = self.decoder.decode(vectors if neurons is None else vectors[list(neurons)])
        return replace(
            decoded,
            positive=replace(decoded.positive, ids=self.tokens[decoded.positive.ids]),
            negative=replace(decoded.negative, ids=self.tokens[decoded.negative.ids]),
        )

    def _vectors(self, layer: int, matrix: Matrix) -> Float[Tensor, "neurons d_model"]:
        vectors = self.weights.vectors(layer, matrix).to(self.device).float()
        mode = self.settings.normalisation
        return normalise_vectors(vectors, self.weights, layer, matrix, mode)


def map_neurons(
    weights: ModelWeights,
    vocabulary: Vocabulary,
    settings: VocabularyMap,
    device: str,
    part: int = 0,
) -> Iterator[tuple[Columns, Columns]]:
    """The vocabulary map of a model's layers, one matrix at a time, so that memory stays the same.

    Args:
        weights: The model's files.
        vocabulary: The model's tokens.
        settings: What to decode, and in how many parts.
        device: Where to compute.
        part: Which share of the layers, from 0.

    Yields:
        Columns of `neurons/vocabulary` and of `neurons/statistics`, for every matrix of every
        layer of the part.

    Raises:
        UserError: The model has none of the matrices, or fewer tokens than `top_k`.
    """
    matrices = weights.present(settings.matrices)
    absent = absent_matrices(weights, settings)
    if not matrices:
        raise UserError(
            f"neurons.map.matrices asks for {', '.join(absent)}, which the model "
            f"'{weights.folder.parent.name}' does not have; ask for up or down"
        )
    if absent:
        logger.warning("the model has no %s projection; it is left out of the map", absent[0])
    mapper = Mapper(weights, settings, device)
    layers = layer_range(weights.n_layers, part, settings.parts)
    logger.info(
        "%d layers, %d matrices, %d tokens", len(layers), len(matrices), mapper.decoder.vocab
    )
    with Progress(len(layers) * len(matrices), "matrices", "map_neurons") as progress:
        for layer in layers:
            for matrix in matrices:
                decoded = mapper.decode(layer, matrix)
                yield (
                    vocabulary_columns(decoded, settings.top_k, layer, matrix, vocabulary),
                    statistics_columns(decoded, layer, matrix),
                )
                progress.advance()


def map_provenance(weights: ModelWeights, settings: VocabularyMap) -> dict[str, Any]:
    """What the tables of a map record of their making."""
    return {
        "normalisation": settings.normalisation,
        "screen": settings.screen,
        "matrices_absent": absent_matrices(weights, settings),
        "head_tied": weights.architecture["head"]["tied"],
    }


def absent_matrices(weights: ModelWeights, settings: VocabularyMap) -> list[Matrix]:
    """The matrices to decode that the model does not have."""
    present = weights.present(settings.matrices)
    return [matrix for matrix in settings.matrices if matrix not in present]


def layer_range(n_layers: int, part: int, parts: int) -> range:
    """Layers of the `part`-th (from 0) of `parts` jobs; together they cover every layer once."""
    return range(n_layers * part // parts, n_layers * (part + 1) // parts)


def vocabulary_columns(
    decoded: Decoded, top_k: int, layer: int, matrix: str, vocabulary: Vocabulary
) -> Columns:
    """Columns of `neurons/vocabulary` for one matrix of one layer."""
    neurons = len(decoded.norm)
    # neuron x sign x rank, the order of the rows.
    ids = torch.stack([decoded.positive.ids, decoded.negative.ids], 1)[..., :top_k]
    logits = torch.stack([decoded.positive.logits, -decoded.negative.logits], 1)[..., :top_k]
    chances = torch.stack([decoded.positive.probabilities, decoded.negative.probabilities], 1)[
        ..., :top_k
    ]
    shape = ids.shape
    flat = ids.flatten().cpu().numpy()
    return {
        "layer": np.full(flat.size, layer, np.int16),
        "neuron": np.repeat(np.arange(neurons, dtype=np.int32), shape[1] * shape[2]),
        "matrix": pa.array([matrix] * flat.size),
        "sign": np.tile(np.repeat(np.array([1, -1], np.int8), shape[2]), neurons),
        "rank": np.tile(np.arange(1, shape[2] + 1, dtype=np.int16), neurons * 2),
        "token_id": flat.astype(np.int32),
        "token": vocabulary.column(flat),
        "logit": logits.flatten().cpu().numpy(),
        "probability": chances.flatten().cpu().numpy(),
    }


def statistics_columns(decoded: Decoded, layer: int, matrix: str) -> Columns:
    """Columns of `neurons/statistics` for one matrix of one layer."""
    neurons = len(decoded.norm)
    poles = {"positive": decoded.positive, "negative": decoded.negative}
    columns: Columns = {
        "layer": np.full(neurons, layer, np.int16),
        "neuron": np.arange(neurons, dtype=np.int32),
        "matrix": pa.array([matrix] * neurons),
    }
    for name in ("norm", "mean", "std", "skew", "kurtosis"):
        columns[name] = getattr(decoded, name).float().cpu().numpy()
    for name, cast in (("logsumexp", False), ("entropy", True), ("margin", True), ("cosine", True)):
        for sign, pole in poles.items():
            values = getattr(pole, name)
            columns[f"{name}_{sign}"] = (values.float() if cast else values).cpu().numpy()
    return columns
