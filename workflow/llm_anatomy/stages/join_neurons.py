"""Join the parts of a vocabulary map."""

from pathlib import Path

import pyarrow as pa

from llm_anatomy.config.base import Settings
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import TableSchema, read_arrow, read_provenance, write_table
from llm_anatomy.tables.neurons import (
    STATISTICS,
    STATISTICS_PART,
    VOCABULARY,
    VOCABULARY_PART,
)


class JoinStage(Settings):
    """This stage reads nothing of the configuration."""


def run(
    settings: JoinStage,
    *,
    vocabulary_parts: tuple[Path, ...],
    statistics_parts: tuple[Path, ...],
    vocabulary: Path,
    statistics: Path,
) -> None:
    """Read the map's parts in the order given; write one table of tokens and one of statistics."""
    _join(vocabulary_parts, VOCABULARY_PART, vocabulary, VOCABULARY)
    _join(statistics_parts, STATISTICS_PART, statistics, STATISTICS)


def _join(parts: tuple[Path, ...], schema: TableSchema, joined: Path, target: TableSchema) -> None:
    tables = [read_arrow(part, schema).replace_schema_metadata(None) for part in parts]
    write_table(joined, target, pa.concat_tables(tables), read_provenance(parts[0]))


if __name__ == "__main__":
    run_stage(run)
