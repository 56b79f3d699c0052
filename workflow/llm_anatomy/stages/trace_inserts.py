"""Features of every prefix of documents with an inserted passage, from one pass each."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.geometry import Inserts
from llm_anatomy.errors import UserError
from llm_anatomy.geometry import spline
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.inserts import insert_passage, inserted_span, inserts_of, jump_at
from llm_anatomy.model.run.batching import context_length, encode, equal_length_batches
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.progress import Progress
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import INSERTS
from llm_anatomy.tables.geometry import INSERT_STARTS, PREFIX_FEATURES


class InsertStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    inserts: Inserts


def run(
    settings: InsertStage,
    *,
    model: Path,
    insert_texts: tuple[Path, ...],
    prefix_features: Path,
    insert_starts: Path,
) -> None:
    """Insert the passages; write the features of every prefix and how they jump at the insert."""
    texts = inserts_of(settings.inserts, *(read_table(path, INSERTS) for path in insert_texts))
    compute = compute_settings()
    loaded = load_model(model, settings.precision, compute)
    rng = np.random.default_rng(settings.seed)
    limit = context_length(loaded.decoder.config)
    changed = []
    for text in texts:
        try:
            changed.append(insert_passage(text.document, text.insert, rng))
        except ValueError as error:
            raise UserError(f"the insert document '{text.name}' cannot be used: {error}") from error
    original = encode(loaded.tokenizer, [text.document for text in texts], limit)
    encoded = encode(loaded.tokenizer, changed, limit)
    planes = partitions(loaded.decoder)
    prefix_tables: list[pd.DataFrame] = []
    starts: list[dict[str, Any]] = []
    by_text: dict[int, np.ndarray] = {}
    with Progress(len(texts), "documents", "trace_inserts") as progress:
        for batch in equal_length_batches(
            encoded.ids, compute.batch_tokens, device=loaded.decoder.device
        ):
            read = read_activations(loaded.decoder, planes, batch, Request())
            for index, row in enumerate(batch.rows):
                length = len(encoded.ids[row])
                by_text[row] = spline.prefix_features(
                    read.active[:, index, :length].numpy(), read.distance[:, index, :length].numpy()
                )
            progress.advance(len(batch.rows))
    for row, text in enumerate(texts):
        start, end = inserted_span(original.ids[row], encoded.ids[row])
        tokens = [loaded.tokenizer.decode([token]) for token in encoded.ids[row]]
        prefix_tables.append(_prefix_table(text.name, tokens, (start, end), by_text[row]))
        try:
            jumps = jump_at(by_text[row], start)
        except ValueError as error:
            raise UserError(
                f"the insert document '{text.name}' cannot be used: its passage begins too close "
                f"to an end or behind the model's context ({error}); use a longer document"
            ) from error
        starts.extend(
            {
                "document": text.name,
                "feature": feature + 1,
                "start": start,
                "end": end,
                "n_tokens": len(tokens),
                "start_score": jump.score,
                "rank": jump.rank,
                "windows": jump.windows,
            }
            for feature, jump in enumerate(jumps)
        )
    provenance = loaded.provenance | settings.model_dump(mode="json", exclude={"precision"})
    write_table(prefix_features, PREFIX_FEATURES, pd.concat(prefix_tables), provenance)
    write_table(insert_starts, INSERT_STARTS, pd.DataFrame(starts), provenance)


def _prefix_table(
    name: str, tokens: list[str], span: tuple[int, int], features: np.ndarray
) -> pd.DataFrame:
    n_tokens, n_layers, _ = features.shape
    positions = np.repeat(np.arange(n_tokens), n_layers)
    columns: dict[str, Any] = {
        "document": name,
        "position": positions,
        "token": np.repeat(np.array(tokens, dtype=object), n_layers),
        "inserted": (positions >= span[0]) & (positions < span[1]),
        "layer": np.tile(np.arange(n_layers), n_tokens),
    }
    for feature in range(spline.N_FEATURES):
        columns[f"f{feature + 1}"] = features[:, :, feature].ravel()
    return pd.DataFrame(columns)


if __name__ == "__main__":
    run_stage(run)
