"""Activations of a dataset, read back from its shards. Imports no torch: the tables are enough."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from llm_anatomy.tables.core import read_arrow, read_pieces, stored_columns
from llm_anatomy.tables.geometry import ATTENTION_COUNTS, STATES, TRACES

Summary = Literal["last", "mean"]
# Rows of attention counts that are worked on at once: with 32 layers of 32 heads 34 MB.
ROWS_AT_ONCE = 1 << 13


@dataclass(frozen=True)
class Traces:
    """Token traces of one shard's texts, of which one layer at a time is in memory.

    Attributes:
        file: The table.
        text_ids: The texts.
        lengths: Tokens of each text.
        truncated: Whether a text lost its end.
        control_tokens: How many control tokens a text's characters would make.
        has_bos: Whether a text's first token marks the beginning of sequence.
        n_layers: Layers that were read.
    """

    file: Path
    text_ids: list[str]
    lengths: Int[ndarray, " texts"]
    truncated: Bool[ndarray, " texts"]
    control_tokens: Int[ndarray, " texts"]
    has_bos: Bool[ndarray, " texts"]
    n_layers: int

    def layer(self, index: int) -> tuple[Float[ndarray, " tokens"], Float[ndarray, " tokens"]]:
        """Of every token of a layer, one text behind the other: a_t and d_t (see `spline`)."""
        names = [f"l{index}_active", f"l{index}_distance"]
        table = read_arrow(self.file, TRACES, names)
        return _values(table, names[0]), _values(table, names[1])


def read_traces(shards: Sequence[Path]) -> list[Traces]:
    """The token traces of every shard of a dataset, in order."""
    return [_traces(path) for path in shards]


def _traces(path: Path) -> Traces:
    of_texts = ["text_id", "n_tokens", "truncated", "control_tokens", "has_bos"]
    table = read_arrow(path, TRACES, of_texts)
    return Traces(
        path,
        text_ids=table.column("text_id").to_pylist(),
        lengths=_numbers(table, "n_tokens").astype(np.int64),
        truncated=_numbers(table, "truncated").astype(bool),
        control_tokens=_numbers(table, "control_tokens").astype(np.int64),
        has_bos=_numbers(table, "has_bos").astype(bool),
        n_layers=sum(name.endswith("_active") for name in stored_columns(path, TRACES)),
    )


def stored_state_layers(shards: Sequence[Path]) -> list[int]:
    """Layers whose hidden states are stored."""
    names = stored_columns(shards[0], STATES)
    return sorted(int(name[1:-5]) for name in names if name.endswith("_last"))


def read_states(
    shards: Sequence[Path], wanted: Sequence[tuple[Summary, int]]
) -> tuple[list[str], dict[tuple[Summary, int], Float[ndarray, "texts d_model"]]]:
    """Read hidden states of a dataset from its shards, and no others.

    Args:
        shards: Tables of states.
        wanted: Which summaries of which layers.

    Returns:
        The text ids, and a matrix [texts, d_model] per summary and layer.
    """
    names = {key: f"l{key[1]}_{key[0]}" for key in wanted}
    table = pa.concat_tables(
        read_arrow(path, STATES, ["text_id", *names.values()]).replace_schema_metadata(None)
        for path in shards
    )
    text_ids: list[str] = table.column("text_id").to_pylist()
    return text_ids, {
        key: _values(table, name).reshape(len(text_ids), -1) for key, name in names.items()
    }


def read_attention_counts(
    shards: Sequence[Path], threshold: str
) -> Iterator[tuple[pd.DataFrame, Int[ndarray, "rows layers heads"]]]:
    """Read the attention counts of a dataset from its shards, some rows at a time.

    Args:
        shards: Tables of attention counts.
        threshold: `relative` or `absolute`.

    Yields:
        text_id and position of some rows, and their counts.
    """
    for path in shards:
        columns = stored_columns(path, ATTENTION_COUNTS)
        names = [name for name in columns if name.endswith(f"_{threshold}")]
        for piece in read_pieces(path, ATTENTION_COUNTS, ["text_id", "position", *names]):
            for start in range(0, len(piece), ROWS_AT_ONCE):
                part = piece.slice(start, ROWS_AT_ONCE)
                counts = [_values(part, name).reshape(len(part), -1) for name in names]
                yield part.select(["text_id", "position"]).to_pandas(), np.stack(counts, axis=1)


def _numbers(table: pa.Table, name: str) -> ndarray:
    values: ndarray = table.column(name).to_numpy()
    return values


def _values(table: pa.Table, name: str) -> ndarray:
    """All values of a list column, one list behind the other."""
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in table.column(name).chunks]
    return np.concatenate(chunks)
