"""Run the model once over one shard of a dataset's texts."""

import logging
from pathlib import Path

from pydantic import Field

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.geometry import Extraction
from llm_anatomy.config.ranges import check_layer
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.gathering import Gatherer
from llm_anatomy.model.run.batching import context_length, encode, equal_length_batches
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.progress import Progress
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import ATTENTION_COUNTS, STATES, TRACES

logger = logging.getLogger(__name__)


class ExtractionStage(Settings):
    """What this stage reads of the configuration."""

    precision: Precision
    extraction: Extraction
    shard: int = Field(ge=1, description="Which of the shards, from 1.")


def run(
    settings: ExtractionStage,
    *,
    model: Path,
    texts: Path,
    traces: Path,
    states: Path,
    attention_counts: Path,
) -> None:
    """Read one shard of texts; write token traces, hidden states and attention counts."""
    asked = settings.extraction
    table = read_table(texts, TEXTS)
    first, last = shard_rows(len(table), settings.shard, asked.shards)
    table = table.iloc[first:last]
    text_ids = list(table["text_id"])
    compute = compute_settings()
    loaded = load_model(model, settings.precision, compute)
    decoder = loaded.decoder
    layers = _state_layers(asked, decoder.n_layers)
    max_length = min(asked.max_length, context_length(decoder.config) or asked.max_length)
    encoded = encode(loaded.tokenizer, list(table["text"]), max_length)
    _check_tokens(text_ids, encoded.ids, texts)
    logger.info(
        "%d texts, %d tokens, %d texts cut at %d tokens",
        len(text_ids),
        sum(map(len, encoded.ids)),
        sum(encoded.truncated),
        max_length,
    )
    gatherer = Gatherer(
        [len(ids) for ids in encoded.ids],
        decoder.n_layers,
        layers,
        decoder.d_model,
        decoder.blocks[0].n_heads,
        all_tokens=asked.attention_tokens == "all",
    )
    request = Request(
        state_layers=tuple(layers),
        attention_tokens=asked.attention_tokens,
        relative_threshold=asked.relative_threshold,
        absolute_threshold=asked.absolute_threshold,
    )
    planes = partitions(decoder)
    with Progress(sum(map(len, encoded.ids)), "tokens", "extract_activations") as progress:
        for batch in equal_length_batches(encoded.ids, compute.batch_tokens, device=decoder.device):
            gatherer.add(batch, read_activations(decoder, planes, batch, request))
            progress.advance(int(batch.lengths.sum()))
    bos = loaded.tokenizer.bos_token_id
    has_bos = [bos is not None and ids[0] == bos for ids in encoded.ids]
    provenance = loaded.provenance | {
        "extraction": asked.model_dump(exclude={"shards"}) | {"max_length": max_length},
        "head_dim": decoder.blocks[0].head_dim,
        "d_model": decoder.d_model,
    }
    write_table(traces, TRACES, gatherer.traces(text_ids, encoded.truncated, has_bos), provenance)
    write_table(states, STATES, gatherer.states(text_ids), provenance)
    write_table(attention_counts, ATTENTION_COUNTS, gatherer.attention_counts(text_ids), provenance)


def shard_rows(rows: int, shard: int, shards: int) -> tuple[int, int]:
    """First row of a shard and the row behind its last; together the shards cover every row."""
    return rows * (shard - 1) // shards, rows * shard // shards


def _state_layers(asked: Extraction, n_layers: int) -> list[int]:
    if asked.state_layers == "all":
        return list(range(n_layers))
    for layer in asked.state_layers:
        check_layer("geometry.extraction.state_layers", layer, n_layers)
    return sorted(set(asked.state_layers))


def _check_tokens(text_ids: list[str], ids: list[list[int]], source: Path) -> None:
    empty = next((name for name, row in zip(text_ids, ids, strict=True) if not row), None)
    if empty is not None:
        raise UserError(
            f"{source}: the text '{empty}' has no token in the model's vocabulary; remove it from "
            "the data, or give it a text the tokenizer can read"
        )


if __name__ == "__main__":
    run_stage(run)
