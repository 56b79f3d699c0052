"""Reverse the weight vectors closest to a concept and see what is left of it."""

from pathlib import Path
from typing import Any

import pandas as pd

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import Concept, Edit
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.neurons.choice import named
from llm_anatomy.neurons.clamping import kl_from
from llm_anatomy.neurons.editing import (
    closest,
    concept_direction,
    median_kl,
    reversed_rows,
)
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.tokens import Vocabulary
from llm_anatomy.progress import Progress
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.neurons import EDITS


class EditStage(Settings):
    """What this stage reads of the configuration."""

    precision: Precision
    named: list[Concept]
    edit: Edit
    held_text: str


def run(settings: EditStage, *, model: Path, edits: Path) -> None:
    """Read a model; write a concept's probability before and after its rows are reversed."""
    asked = settings.edit
    vocabulary = Vocabulary(model.parent / "weights")
    loaded = load_model(model, settings.precision, compute_settings())
    decoder, tokenizer = loaded.decoder, loaded.tokenizer
    prompts = {prompt: tokenizer(prompt)["input_ids"] for prompt in asked.prompts}
    held = tokenizer(settings.held_text)["input_ids"]
    # Weights change between runs, so no state of an earlier run may be reused.
    runner = PromptRunner(decoder, restart=False)
    before = {prompt: runner.next_logprobs(ids)[0] for prompt, ids in prompts.items()}
    held_before = runner.all_logprobs(held)
    rows: list[dict[str, Any]] = []

    def measure(concept: str, tokens: list[int], places: list[Any]) -> None:
        held_kl = median_kl(held_before, runner.all_logprobs(held))
        for prompt, ids in prompts.items():
            after = runner.next_logprobs(ids)
            rows.append(
                {
                    "concept": concept,
                    "rows": len(places),
                    "prompt": prompt,
                    "probability": float(after[0, tokens].exp().sum()),
                    "kl": float(kl_from(before[prompt], after)[0]),
                    "held_kl": held_kl,
                    "smallest_cosine": places[-1].cosine if places else None,
                    "edited": [str(place) for place in places],
                }
            )

    with Progress(len(asked.concepts) * len(asked.rows), "edits", "edit_neurons") as progress:
        for name in asked.concepts:
            tokens = vocabulary.concept_ids(named(settings.named, name))
            direction = concept_direction(decoder.head.weight(), tokens)
            nearest = closest(decoder, direction, asked.matrices, max(asked.rows))
            measure(name, tokens, [])
            for count in asked.rows:
                with reversed_rows(decoder, nearest[:count], direction):
                    measure(name, tokens, nearest[:count])
                progress.advance()
    frame = pd.DataFrame(rows, columns=[column.name for column in EDITS.columns])
    write_table(edits, EDITS, frame.astype({"smallest_cosine": "float64"}), loaded.provenance)


if __name__ == "__main__":
    run_stage(run)
