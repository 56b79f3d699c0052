"""Clamp concept neurons over a range of values and watch the next token."""

from pathlib import Path
from typing import Any

import pandas as pd

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import Clamping, Concept
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.neurons.choice import concept_neuron, control_neurons, named
from llm_anatomy.neurons.clamping import check_neuron, sites_of
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.sweep import Sweeper, Target
from llm_anatomy.neurons.tokens import Vocabulary
from llm_anatomy.progress import Progress
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.neurons import CLAMPING, CONCEPTS


class ClampStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    named: list[Concept]
    clamping: Clamping


def run(settings: ClampStage, *, model: Path, concepts: Path, clamping: Path) -> None:
    """Read the concepts' neurons; write next-token probabilities under every clamp."""
    asked = settings.clamping
    found = read_table(concepts, CONCEPTS)
    vocabulary = Vocabulary(model.parent / "weights")
    loaded = load_model(model, settings.precision, compute_settings())
    decoder, tokenizer = loaded.decoder, loaded.tokenizer
    for number, target in enumerate(asked.targets):
        if target.neuron is not None:
            key = f"neurons.clamping.targets[{number}].neuron"
            check_neuron(decoder, key, target.neuron.layer, target.neuron.neuron)
    held = tokenizer(asked.held_text)["input_ids"]
    if len(held) < 2:
        raise UserError("neurons.clamping.held_text has fewer than two tokens; give a longer text")
    sweeper = Sweeper(PromptRunner(decoder), asked, held)
    sites = sites_of(decoder, asked.sites)
    rows: list[dict[str, Any]] = []
    steps = len(asked.targets) * 2 * len(sites)
    with Progress(steps, "sweeps", "clamp_neurons") as progress:
        for target in asked.targets:
            ids = vocabulary.concept_ids(named(settings.named, target.concept))
            layer, neuron = concept_neuron(found, target.concept, target.neuron)
            count = decoder.blocks[layer].n_neurons
            (control,) = control_neurons(layer, neuron, count, 1, settings.seed)
            prompt = tokenizer(target.prompt)["input_ids"]
            for role, one in (("concept", neuron), ("control", control)):
                aim = Target(prompt, ids, layer, one)
                made = [sweeper.clean_row(aim)]
                for site in sites:
                    for operation in asked.operations:
                        made += sweeper.sweep(aim, site, operation)
                    # A control has no concept whose dose would have to be calibrated.
                    for positions in asked.positions if role == "concept" else ():
                        made += sweeper.calibrate(aim, site, positions)
                    progress.advance()
                rows += [
                    {
                        "concept": target.concept,
                        "prompt": target.prompt,
                        "layer": layer,
                        "neuron": one,
                        "role": role,
                        "token": vocabulary.text(ids[0]),
                        "top_tokens": [vocabulary.text(t) or "" for t in row.pop("top_ids")],
                        **row,
                    }
                    for row in made
                ]
    frame = pd.DataFrame(rows, columns=[column.name for column in CLAMPING.columns])
    write_table(clamping, CLAMPING, frame, loaded.provenance | {"seed": settings.seed})


if __name__ == "__main__":
    run_stage(run)
