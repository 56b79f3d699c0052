"""Activations of a dataset, read back from its shards. Imports no torch: the tables are enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from numpy import ndarray

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
        control_tokens: How many control tokens a text's characters would make.
        has_bos: Whether a text's first token marks the beginning of sequence.
        active: Share of active units.
        distance: Distance to the nearest boundary.
    """

    text_ids: list[str]
    lengths: Int[ndarray, " texts"]
    truncated: Bool[ndarray, " texts"]
    control_tokens: Int[ndarray, " texts"]
    has_bos: Bool[ndarray, " texts"]
    active: Float[ndarray, "layers tokens"]
    distance: Float[ndarray, "layers tokens"]


def read_traces(shards: Sequence[Path]) -> Traces:
    """Read the token traces of a dataset from its shards, in order."""
    table = _read_shards(shards, TRACES)
    layers = range(_count(table, "_active"))
    return Traces(
        text_ids=table.column("text_id").to_pylist(),
        lengths=_numbers(table, "n_tokens").astype(np.int64),
        truncated=_numbers(table, "truncated").astype(bool),
        control_tokens=_numbers(table, "control_tokens").astype(np.int64),
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
