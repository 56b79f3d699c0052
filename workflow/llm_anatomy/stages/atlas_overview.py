"""Write the atlas's part on all models together."""

from pathlib import Path

from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.atlas.chunks import write_part
from llm_anatomy.atlas.overview import overview_chunks
from llm_anatomy.config.base import Settings
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.neurons import AGREEMENT, CHANGED


class OverviewPart(Settings):
    """Which studies ran, and which models were compared."""

    studies: list[str]
    pairs: list[tuple[str, str]]


def run(settings: OverviewPart, *, tables: tuple[Path, ...], part: Path) -> None:
    """Read every study's claims and the comparisons of models; write them as chunks."""
    collection = Collection(tables, [CLAIMS, AGREEMENT, CHANGED])
    chunks = overview_chunks(collection, settings.studies, settings.pairs)
    with atomic_folder(part) as folder:
        write_part(folder, "overview", chunks)


if __name__ == "__main__":
    run_stage(run)
