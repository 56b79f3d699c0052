"""Gathering the activations of a dataset batch by batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy import ndarray

from llm_anatomy.geometry.extraction import BatchActivations
from llm_anatomy.model.run.batching import Batch


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


def _lists(values: ndarray, offsets: ndarray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))


def _rows_as_lists(matrix: ndarray) -> pa.ListArray:
    rows, width = matrix.shape
    return _lists(matrix.reshape(-1), np.arange(rows + 1) * width)
