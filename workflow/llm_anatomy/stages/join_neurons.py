"""Join the parts of a vocabulary map."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import TableSchema, open_table, read_arrow, read_provenance
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
    with open_table(joined, target, read_provenance(parts[0])) as table:
        for part in parts:
            table.write(read_arrow(part, schema))


if __name__ == "__main__":
    run_stage(run)
