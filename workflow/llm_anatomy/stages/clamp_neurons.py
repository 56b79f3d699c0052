"""Clamp concept neurons and reverse concept weights, and watch what the model then says."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.models import Chat
from llm_anatomy.config.neurons import Clamping, Concept, Edit, FavouriteTest
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.concepts import ConceptIndex
from llm_anatomy.neurons.editing import edit_concepts
from llm_anatomy.neurons.favourite import ask_favourites, favourite_provenance
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.sweep import sweep_clamps
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.neurons import CLAMPING, CONCEPTS, EDITS, FAVOURITE


class ClampStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    named: list[Concept]
    clamping: Clamping
    favourite: FavouriteTest
    edit: Edit
    chat: Chat = Chat()


def run(
    settings: ClampStage,
    *,
    model: Path,
    concepts: Path,
    clamping: Path,
    favourite: Path,
    edits: Path,
) -> None:
    """Read the concepts' neurons; write what clamps and edits make of the model's words."""
    vocabulary = Vocabulary(model.parent / "weights")
    index = ConceptIndex(settings.named, vocabulary, read_table(concepts, CONCEPTS))
    loaded = load_model(model, settings.precision, compute_settings())
    decoder, tokenizer, seed = loaded.decoder, loaded.tokenizer, settings.seed
    # First, because it refuses quantised weights; it leaves the model as it was.
    edited = edit_concepts(decoder, tokenizer, index, settings.edit, settings.clamping.held_text)
    runner = PromptRunner(decoder)
    swept = sweep_clamps(runner, tokenizer, index, settings.clamping, seed)
    asked, chat = settings.favourite, settings.chat
    answers, direction = ask_favourites(runner, tokenizer, index, asked, seed, chat)
    provenance = loaded.provenance | {"seed": seed}
    write_table(edits, EDITS, edited, loaded.provenance)
    write_table(clamping, CLAMPING, swept, provenance)
    provenance |= favourite_provenance(asked, tokenizer, direction, chat)
    write_table(favourite, FAVOURITE, answers, provenance)


if __name__ == "__main__":
    run_stage(run)
