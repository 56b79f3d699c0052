"""Tables of a large model's activations without a model: random numbers in the right shapes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from llm_anatomy.tables.core import open_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import ATTENTION_COUNTS, STATES, TRACES
from llm_anatomy.tables.toxicity import FOLDS

N_LAYERS, N_HEADS, D_MODEL, WORDS, VOCABULARY, N_FOLDS = 32, 32, 64, 60, 20_000, 5
TEXTS_A_SHARD, TOKENS_A_TEXT = 12_500, 200
# What extraction says of the model, as far as later stages ask.
PROVENANCE = {"head_dim": 128, "d_model": 4096, "extraction": {"max_length": 256}}


@dataclass(frozen=True)
class Activations:
    """Files of one data set's activations, and its texts and folds."""

    traces: list[Path]
    states: list[Path]
    attention_counts: list[Path]
    texts: Path
    folds: Path
    n_tokens: int


def write_activations(folder: Path, shards: int) -> Activations:
    """Write the tables of so many shards."""
    rng = np.random.default_rng(0)
    files: dict[str, list[Path]] = {"traces": [], "states": [], "attention_counts": []}
    tokens, names, truths = 0, [], []
    for shard in range(shards):
        place = folder / f"{shard + 1}-of-{shards}"
        names += (ids := [f"t{shard}.{row}" for row in range(TEXTS_A_SHARD)])
        truths.append(truth := rng.random(TEXTS_A_SHARD) < 0.3)
        lengths = rng.integers(TOKENS_A_TEXT // 2, 3 * TOKENS_A_TEXT // 2, TEXTS_A_SHARD)
        tokens += int(lengths.sum())
        for name in files:
            files[name].append(place / f"{name}.parquet")
        _write_traces(files["traces"][-1], ids, lengths, truth, rng)
        _write_states(files["states"][-1], ids, truth, rng)
        _write_counts(files["attention_counts"][-1], ids, lengths, rng)
    truth = np.concatenate(truths)
    words = np.array([f"w{n}" for n in range(VOCABULARY)])
    drawn = words[np.minimum(rng.zipf(1.3, (len(names), WORDS)) - 1, VOCABULARY - 1)]
    texts, folds = folder / "texts.parquet", folder / "folds.parquet"
    write_table(texts, TEXTS, {"text_id": names, "text": [" ".join(row) for row in drawn]}, {})
    assigned = rng.integers(0, N_FOLDS, len(names))
    columns = {"text_id": names, "label": ["unsafe"] * len(names), "truth": truth}
    copies = np.arange(len(names))
    write_table(folds, FOLDS, columns | {"copies": copies, "fold": assigned}, {})
    return Activations(*files.values(), texts=texts, folds=folds, n_tokens=tokens)


def _write_traces(
    path: Path, ids: list[str], lengths: np.ndarray, truth: np.ndarray, rng: np.random.Generator
) -> None:
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    columns = {"text_id": ids, "n_tokens": lengths, "truncated": [False] * len(ids)}
    columns |= {"control_tokens": [0] * len(ids), "has_bos": [True] * len(ids)}
    shift = np.repeat(0.02 * truth, lengths).astype(np.float32)
    for layer in range(N_LAYERS):
        for name in ("active", "distance"):
            values = rng.random(int(lengths.sum()), dtype=np.float32) + shift
            columns[f"l{layer}_{name}"] = pa.ListArray.from_arrays(offsets, pa.array(values))
    with open_table(path, TRACES, PROVENANCE) as table:
        table.write(columns)


def _write_states(path: Path, ids: list[str], truth: np.ndarray, rng: np.random.Generator) -> None:
    offsets = pa.array(np.arange(len(ids) + 1) * D_MODEL, pa.int32())
    columns: dict[str, object] = {"text_id": ids}
    for layer in range(N_LAYERS):
        for name in ("last", "mean"):
            values = rng.standard_normal((len(ids), D_MODEL), dtype=np.float32) + truth[:, None] / 9
            flat = pa.array(values.astype(np.float32).ravel())
            columns[f"l{layer}_{name}"] = pa.ListArray.from_arrays(offsets, flat)
    write_table(path, STATES, columns, PROVENANCE)


def _write_counts(
    path: Path, ids: list[str], lengths: np.ndarray, rng: np.random.Generator
) -> None:
    offsets = pa.array(np.arange(len(ids) + 1) * N_HEADS, pa.int32())
    columns = {"text_id": ids, "position": lengths - 1}
    for layer in range(N_LAYERS):
        for name in ("relative", "absolute"):
            values = pa.array(rng.integers(1, 50, len(ids) * N_HEADS, dtype=np.int32))
            columns[f"l{layer}_{name}"] = pa.ListArray.from_arrays(offsets, values)
    write_table(path, ATTENTION_COUNTS, columns, PROVENANCE)
