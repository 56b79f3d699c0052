"""Write the atlas's part on the patching tasks of one model."""

from pathlib import Path

from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.atlas.chunks import write_part
from llm_anatomy.atlas.patching import patching_chunks
from llm_anatomy.config.base import Settings
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.patching import TABLES


class PatchingPart(Settings):
    """Whose tasks, in the order shown."""

    model: str
    tasks: list[str]


def run(settings: PatchingPart, *, tables: tuple[Path, ...], part: Path) -> None:
    """Read the tables of a model's tasks; write a document for each example, and the curves."""
    collection = Collection(tables, TABLES)
    chunks = patching_chunks(collection, settings.model, settings.tasks)
    with atomic_folder(part) as folder:
        write_part(folder, f"patching/{settings.model}", chunks)


if __name__ == "__main__":
    run_stage(run)
