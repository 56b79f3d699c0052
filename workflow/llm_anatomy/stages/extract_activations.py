"""Run the model once over one shard of a dataset's texts."""

from pathlib import Path

from pydantic import Field

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.geometry import Extraction
from llm_anatomy.geometry.gathering import extract_activations, shard_rows
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import ATTENTION_COUNTS, STATES, TRACES


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
    extraction, compute = settings.extraction, compute_settings()
    rows = shard_rows(read_table(texts, TEXTS), settings.shard, extraction.shards)
    loaded = load_model(model, settings.precision, compute)
    read = extract_activations(loaded, rows, extraction, loaded.batch_tokens, str(texts))
    provenance = loaded.provenance | read.provenance
    write_table(traces, TRACES, read.traces, provenance)
    write_table(states, STATES, read.states, provenance)
    write_table(attention_counts, ATTENTION_COUNTS, read.attention_counts, provenance)


if __name__ == "__main__":
    run_stage(run)
