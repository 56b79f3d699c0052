"""Activations of a dataset: gathering them batch by batch, and reading them back from shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from llm_anatomy.geometry.extraction import BatchActivations
from llm_anatomy.model.batching import Batch
from llm_anatomy.tables.core import TableSchema, read_arrow
from llm_anatomy.tables.geometry import ATTENTION_COUNTS, STATES, TRACES

Summary = Literal["last", "mean"]


@dataclass(frozen=True)
class Traces:
    """Token traces of many texts, one text behind the other.

    Attributes:
        text_ids: The texts.
        lengths: Tokens of each text.
        truncated: Whether a text lost its end.
        has_bos: Whether a text's first token marks the beginning of sequence.
        active: Share of active units.
        distance: Distance to the nearest boundary.
    """

    text_ids: list[str]
    lengths: Int[ndarray, " texts"]
    truncated: Bool[ndarray, " texts"]
    has_bos: Bool[ndarray, " texts"]
    active: Float[ndarray, "layers tokens"]
    distance: Float[ndarray, "layers tokens"]


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
        asked = tokens if all_tokens else texts
        self.relative = np.empty((n_layers, asked, n_heads), dtype=np.int32)
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
            asked = tokens if self.all_tokens else slice(row, row + 1)
            self.relative[:, asked] = relative[:, index, :length]
            self.absolute[:, asked] = absolute[:, index, :length]

    def traces(
        self, text_ids: Sequence[str], truncated: Sequence[bool], has_bos: Sequence[bool]
    ) -> dict[str, Any]:
        """Columns of `TRACES`."""
        columns: dict[str, Any] = {
            "text_id": list(text_ids),
            "n_tokens": self.lengths,
            "truncated": list(truncated),
            "has_bos": list(has_bos),
        }
        for layer in range(len(self.active)):
            columns[f"l{layer}_active"] = _lists(self.active[layer], self.offsets)
            columns[f"l{layer}_distance"] = _lists(self.distance[layer], self.offsets)
        return columns

    def states(self, text_ids: Sequence[str]) -> dict[str, Any]:
        """Columns of `STATES`."""
        columns: dict[str, Any] = {"text_id": list(text_ids)}
        for index, layer in enumerate(self.state_layers):
            columns[f"l{layer}_last"] = _rows_as_lists(self.last[index])
            columns[f"l{layer}_mean"] = _rows_as_lists(self.mean[index])
        return columns

    def attention_counts(self, text_ids: Sequence[str]) -> dict[str, Any]:
        """Columns of `ATTENTION_COUNTS`."""
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
        return columns


def read_traces(shards: Sequence[Path]) -> Traces:
    """Read the token traces of a dataset from its shards, in order."""
    table = _read_shards(shards, TRACES)
    layers = range(_count(table, "_active"))
    return Traces(
        text_ids=table.column("text_id").to_pylist(),
        lengths=_numbers(table, "n_tokens").astype(np.int64),
        truncated=_numbers(table, "truncated").astype(bool),
        has_bos=_numbers(table, "has_bos").astype(bool),
        active=np.stack([_values(table, f"l{layer}_active") for layer in layers]),
        distance=np.stack([_values(table, f"l{layer}_distance") for layer in layers]),
    )


def state_layers(shards: Sequence[Path]) -> list[int]:
    """Layers whose hidden states are stored."""
    names = read_arrow(shards[0], STATES).column_names
    return sorted(int(name[1:-5]) for name in names if name.endswith("_last"))


def read_states(
    shards: Sequence[Path],
) -> tuple[list[str], dict[tuple[Summary, int], Float[ndarray, "texts d_model"]]]:
    """Read the hidden states of a dataset from its shards.

    Returns:
        The text ids, and a matrix [texts, d_model] per summary and layer.
    """
    table = _read_shards(shards, STATES)
    text_ids: list[str] = table.column("text_id").to_pylist()
    states: dict[tuple[Summary, int], ndarray] = {}
    for name in table.column_names[1:]:
        layer, summary = name[1:].split("_")
        kind: Summary = "last" if summary == "last" else "mean"
        states[kind, int(layer)] = _values(table, name).reshape(len(text_ids), -1)
    return text_ids, states


def read_attention_counts(
    shards: Sequence[Path],
) -> tuple[pd.DataFrame, dict[str, Int[ndarray, "rows layers heads"]]]:
    """Read the attention counts of a dataset from its shards.

    Returns:
        text_id and position of every row, and the counts per threshold.
    """
    table = _read_shards(shards, ATTENTION_COUNTS)
    layers = range(_count(table, "_relative"))
    counts = {}
    for threshold in ("relative", "absolute"):
        columns = [_values(table, f"l{layer}_{threshold}") for layer in layers]
        counts[threshold] = np.stack([c.reshape(table.num_rows, -1) for c in columns], axis=1)
    return table.select(["text_id", "position"]).to_pandas(), counts


def _read_shards(shards: Sequence[Path], schema: TableSchema) -> pa.Table:
    return pa.concat_tables(
        [read_arrow(path, schema).replace_schema_metadata(None) for path in shards]
    )


def _count(table: pa.Table, suffix: str) -> int:
    return sum(name.endswith(suffix) for name in table.column_names)


def _numbers(table: pa.Table, name: str) -> ndarray:
    values: ndarray = table.column(name).to_numpy()
    return values


def _values(table: pa.Table, name: str) -> ndarray:
    """All values of a list column, one list behind the other."""
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in table.column(name).chunks]
    return np.concatenate(chunks)


def _lists(values: ndarray, offsets: ndarray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))


def _rows_as_lists(matrix: ndarray) -> pa.ListArray:
    rows, width = matrix.shape
    return _lists(matrix.reshape(-1), np.arange(rows + 1) * width)
