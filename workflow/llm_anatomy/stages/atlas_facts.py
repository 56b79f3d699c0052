"""Write the atlas's part on the facts of one model."""

from pathlib import Path

from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.atlas.chunks import write_part
from llm_anatomy.atlas.facts import fact_chunks
from llm_anatomy.config.base import Settings
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.facts import TABLES


class FactPart(Settings):
    """Whose facts, of which relations, in the order shown."""

    model: str
    relations: list[str]


def run(settings: FactPart, *, tables: tuple[Path, ...], part: Path) -> None:
    """Read the tables of a model's facts; write a document for each, and neurons' roles."""
    collection = Collection(tables, TABLES)
    chunks = fact_chunks(collection, settings.model, settings.relations)
    with atomic_folder(part) as folder:
        write_part(folder, f"facts/{settings.model}", chunks)


if __name__ == "__main__":
    run_stage(run)
