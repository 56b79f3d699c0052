"""The activations of many texts, gathered batch by batch."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy import ndarray

from llm_anatomy.config.geometry import Extraction
from llm_anatomy.config.ranges import check_layer
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.extraction import (
    BatchActivations,
    Request,
    partitions,
    read_activations,
)
from llm_anatomy.model.run.batching import Batch, encode, readable_tokens, text_batches
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.progress import Progress
from llm_anatomy.statistics.sampling import shard_slice

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextActivations:
    """What one pass over many texts gave, in the order of the texts.

    Attributes:
        traces: Rows of `TRACES`.
        states: Rows of `STATES`.
        attention_counts: Rows of `ATTENTION_COUNTS`.
        provenance: What the numbers depend on beside the model.
    """

    traces: pa.Table
    states: pa.Table
    attention_counts: pa.Table
    provenance: dict[str, Any]


def extract_activations(
    loaded: LoadedModel, texts: pd.DataFrame, settings: Extraction, batch_tokens: int, source: str
) -> TextActivations:
    """Run the model once over every text and keep what the studies need.

    Args:
        loaded: The model.
        texts: Rows of `TEXTS`.
        settings: What to read of every text.
        batch_tokens: Most tokens in one forward pass.
        source: Where the texts come from, for the messages of errors.

    Raises:
        UserError: The model lacks a layer that the settings name, or a text has no token.
    """
    decoder = loaded.decoder
    text_ids = list(texts["text_id"])
    layers = _state_layers(settings, decoder.n_layers)
    max_length = readable_tokens(decoder.config, settings.max_length)
    encoded = encode(loaded.tokenizer, list(texts["text"]), max_length)
    lengths = [len(ids) for ids in encoded.ids]
    _check_tokens(text_ids, lengths, source)
    logger.info(
        "%d texts, %d tokens, %d texts with control tokens, %d cut at %d tokens",
        len(text_ids),
        sum(lengths),
        sum(map(bool, encoded.control_tokens)),
        sum(encoded.truncated),
        max_length,
    )
    gatherer = Gatherer(
        lengths,
        decoder.n_layers,
        layers,
        decoder.d_model,
        decoder.blocks[0].n_heads,
        all_tokens=settings.attention_tokens == "all",
    )
    request = Request(
        state_layers=tuple(layers),
        attention_tokens=settings.attention_tokens,
        relative_threshold=settings.relative_threshold,
        absolute_threshold=settings.absolute_threshold,
    )
    planes = partitions(decoder)
    with Progress(sum(lengths), "tokens", "extract_activations") as progress:
        for batch in text_batches(encoded.ids, batch_tokens, decoder.device):
            gatherer.add(batch, read_activations(decoder, planes, batch, request))
            progress.advance(int(batch.lengths.sum()))
    bos = loaded.tokenizer.bos_token_id
    has_bos = [bos is not None and ids[0] == bos for ids in encoded.ids]
    return TextActivations(
        gatherer.traces(text_ids, encoded.truncated, encoded.control_tokens, has_bos),
        gatherer.states(text_ids),
        gatherer.attention_counts(text_ids),
        {
            "extraction": settings.model_dump(exclude={"shards"}) | {"max_length": max_length},
            "head_dim": decoder.blocks[0].head_dim,
            "d_model": decoder.d_model,
        },
    )


def shard_rows(texts: pd.DataFrame, shard: int, shards: int) -> pd.DataFrame:
    """The rows of one shard, counted from 1; together the shards have every row once."""
    return texts.iloc[shard_slice(len(texts), shard, shards)]


class Gatherer:
    """Puts batches, which come in order of length, back into the order of the texts."""

    def __init__(
        self,
        lengths: Sequence[int],
        n_layers: int,
        state_layers: Sequence[int],
        d_model: int,
        n_heads: int,
        all_tokens: bool,
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.state_layers = list(state_layers)
        self.all_tokens = all_tokens
        texts, tokens = len(lengths), int(self.offsets[-1])
        self.active = np.empty((n_layers, tokens), dtype=np.float32)
        self.distance = np.empty((n_layers, tokens), dtype=np.float32)
        self.last = np.empty((len(self.state_layers), texts, d_model), dtype=np.float32)
        self.mean = np.empty_like(self.last)
        queries = tokens if all_tokens else texts
        self.relative = np.empty((n_layers, queries, n_heads), dtype=np.int32)
        self.absolute = np.empty_like(self.relative)

    def add(self, batch: Batch, activations: BatchActivations) -> None:
        """Take in one batch."""
        assert activations.relative_counts is not None
        assert activations.absolute_counts is not None
        active, distance = activations.active.numpy(), activations.distance.numpy()
        relative = activations.relative_counts.numpy()
        absolute = activations.absolute_counts.numpy()
        self.last[:, batch.rows] = activations.last_states.numpy()
        self.mean[:, batch.rows] = activations.mean_states.numpy()
        for index, row in enumerate(batch.rows):
            length = int(self.lengths[row])
            tokens = slice(int(self.offsets[row]), int(self.offsets[row]) + length)
            self.active[:, tokens] = active[:, index, :length]
            self.distance[:, tokens] = distance[:, index, :length]
            queries = tokens if self.all_tokens else slice(row, row + 1)
            self.relative[:, queries] = relative[:, index, :length]
            self.absolute[:, queries] = absolute[:, index, :length]

    def traces(
        self,
        text_ids: Sequence[str],
        truncated: Sequence[bool],
        control_tokens: Sequence[int],
        has_bos: Sequence[bool],
    ) -> pa.Table:
        """Rows of `TRACES`."""
        columns: dict[str, Any] = {
            "text_id": list(text_ids),
            "n_tokens": self.lengths,
            "truncated": list(truncated),
            "control_tokens": list(control_tokens),
            "has_bos": list(has_bos),
        }
        for layer in range(len(self.active)):
            columns[f"l{layer}_active"] = _lists(self.active[layer], self.offsets)
            columns[f"l{layer}_distance"] = _lists(self.distance[layer], self.offsets)
        return pa.table(columns)

    def states(self, text_ids: Sequence[str]) -> pa.Table:
        """Rows of `STATES`."""
        columns: dict[str, Any] = {"text_id": list(text_ids)}
        for index, layer in enumerate(self.state_layers):
            columns[f"l{layer}_last"] = _rows_as_lists(self.last[index])
            columns[f"l{layer}_mean"] = _rows_as_lists(self.mean[index])
        return pa.table(columns)

    def attention_counts(self, text_ids: Sequence[str]) -> pa.Table:
        """Rows of `ATTENTION_COUNTS`."""
        ids = np.asarray(text_ids, dtype=object)
        if self.all_tokens:
            ids = np.repeat(ids, self.lengths)
            positions = np.arange(self.offsets[-1]) - np.repeat(self.offsets[:-1], self.lengths)
        else:
            positions = self.lengths - 1
        columns: dict[str, Any] = {"text_id": list(ids), "position": positions}
        for layer in range(len(self.relative)):
            columns[f"l{layer}_relative"] = _rows_as_lists(self.relative[layer])
            columns[f"l{layer}_absolute"] = _rows_as_lists(self.absolute[layer])
        return pa.table(columns)


def _state_layers(settings: Extraction, n_layers: int) -> list[int]:
    if settings.state_layers == "all":
        return list(range(n_layers))
    for layer in settings.state_layers:
        check_layer("geometry.extraction.state_layers", layer, n_layers)
    return sorted(set(settings.state_layers))


def _check_tokens(text_ids: list[str], lengths: list[int], source: str) -> None:
    if 0 in lengths:
        raise UserError(
            f"{source}: the text '{text_ids[lengths.index(0)]}' has no token in the model's "
            "vocabulary; remove it from the data, or give it a text the tokenizer can read"
        )


def _lists(values: ndarray, offsets: ndarray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))


def _rows_as_lists(matrix: ndarray) -> pa.ListArray:
    rows, width = matrix.shape
    return _lists(matrix.reshape(-1), np.arange(rows + 1) * width)
