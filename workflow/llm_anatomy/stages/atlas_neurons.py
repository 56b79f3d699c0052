"""Write the atlas's part on the neurons of one model."""

from pathlib import Path

from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.atlas.chunks import write_part
from llm_anatomy.atlas.neurons import neuron_chunks
from llm_anatomy.config.base import Settings
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.neurons import TABLES


class NeuronPart(Settings):
    """Whose neurons."""

    model: str


def run(settings: NeuronPart, *, tables: tuple[Path, ...], part: Path) -> None:
    """Read the map and what was measured of neurons; write chunks by layer and by word."""
    collection = Collection(tables, TABLES)
    with atomic_folder(part) as folder:
        write_part(folder, f"neurons/{settings.model}", neuron_chunks(collection, settings.model))


if __name__ == "__main__":
    run_stage(run)
