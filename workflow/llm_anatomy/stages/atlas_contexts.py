"""Write the atlas's part on the texts on which one model's neurons fire."""

from pathlib import Path

from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.atlas.chunks import write_part
from llm_anatomy.atlas.contexts import context_chunks
from llm_anatomy.config.base import Settings
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.contexts import ACTIVITY, CONTEXT_WORDS, CONTEXTS, NEIGHBOURS


class ContextPart(Settings):
    """Whose neurons."""

    model: str


def run(settings: ContextPart, *, model: Path, tables: tuple[Path, ...], part: Path) -> None:
    """Read contexts, activity and neighbours; write them as chunks by layer."""
    collection = Collection(tables, [CONTEXTS, ACTIVITY, CONTEXT_WORDS, NEIGHBOURS])
    vocabulary = Vocabulary(model.parent / "weights")
    chunks = context_chunks(collection, settings.model, vocabulary.text)
    with atomic_folder(part) as folder:
        write_part(folder, f"contexts/{settings.model}", chunks)


if __name__ == "__main__":
    run_stage(run)
