"""Write the atlas's part on the texts that one model read."""

from pathlib import Path

from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.atlas.chunks import write_part
from llm_anatomy.atlas.reading import read_tokens
from llm_anatomy.atlas.texts import text_chunks
from llm_anatomy.config.base import Settings
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION, SPLINE_FEATURES, TRACES
from llm_anatomy.tables.toxicity import PREDICTIONS


class TextPart(Settings):
    """Which model read which data sets, in the order shown."""

    model: str
    datasets: list[str]


def run(settings: TextPart, *, model: Path, tables: tuple[Path, ...], part: Path) -> None:
    """Read what was traced and scored of texts; write a document for each text shown."""
    schemas = [TEXTS, TRACES, SPLINE_FEATURES, INTRINSIC_DIMENSION, PREDICTIONS]
    collection = Collection(tables, schemas)
    tokens = read_tokens(collection, settings.model, settings.datasets, model)
    with atomic_folder(part) as folder:
        write_part(
            folder, f"texts/{settings.model}", text_chunks(collection, settings.model, tokens)
        )


if __name__ == "__main__":
    run_stage(run)
