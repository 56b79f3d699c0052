"""Ask the model for its favourite with a concept's neuron clamped, and with controls."""

import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import Concept, FavouriteTest
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.neurons.choice import concept_neuron, control_neurons, named
from llm_anatomy.neurons.clamping import Clamp, check_neuron, sites_of
from llm_anatomy.neurons.favourite import chat_prompt, distinct_share, mentions
from llm_anatomy.neurons.generation import Answering, Row, answer_logprobs, generate, row_clamp
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.tokens import Vocabulary
from llm_anatomy.progress import track
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.neurons import CONCEPTS, FAVOURITE

logger = logging.getLogger(__name__)


class FavouriteStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    named: list[Concept]
    favourite: FavouriteTest


def run(settings: FavouriteStage, *, model: Path, concepts: Path, favourite: Path) -> None:
    """Read the concept's neuron; write every answer and the prefilled probabilities."""
    asked = settings.favourite
    concept = named(settings.named, asked.concept)
    found = read_table(concepts, CONCEPTS)
    ids = Vocabulary(model.parent / "weights").concept_ids(concept)
    loaded = load_model(model, settings.precision, compute_settings())
    decoder, tokenizer = loaded.decoder, loaded.tokenizer
    layer, neuron = concept_neuron(found, asked.concept, asked.neuron)
    check_neuron(decoder, "neurons.favourite.neuron", layer, neuron)
    if asked.site not in sites_of(decoder, [asked.site]):
        raise UserError(
            "neurons.favourite.site is 'gate', but the model's MLPs have no gate; use up or "
            "activation"
        )
    if not tokenizer.chat_template:
        logger.warning("the model has no chat template; questions are asked as plain text")
    how = Answering(
        layer, asked.site, asked.positions, asked.new_tokens, asked.temperature, _stops(loaded)
    )
    runner = PromptRunner(decoder)
    prefill = tokenizer(asked.prefill, add_special_tokens=False)["input_ids"]
    prompts = {question: chat_prompt(tokenizer, question) for question in asked.questions}
    first = next(iter(prompts.values()))

    def chance(prompt: list[int], rows: list[Row]) -> list[float]:
        clamp: Clamp = row_clamp(rows, len(prompt) + len(prefill), how, True)
        if how.positions == "generated":
            # The prefilled beginning counts as generated.
            clamp.mask[:, len(prompt) :] = torch.tensor([[r.value is not None] for r in rows])
        logprobs = runner.next_logprobs([*prompt, *prefill], clamp)
        return logprobs[:, ids].exp().sum(1).tolist()

    # The sign of the effect is set by the down column, so both directions are tried.
    largest = max(map(abs, asked.values))
    rising, falling = chance(first, [Row(neuron, largest, None), Row(neuron, -largest, None)])
    sign = 1 if rising >= falling else -1
    controls = control_neurons(
        layer, neuron, decoder.blocks[layer].n_neurons, asked.controls, settings.seed
    )
    conditions: list[tuple[str, int, float | None]] = [("clean", neuron, None)]
    conditions += [("concept", neuron, sign * abs(value)) for value in asked.values]
    conditions += [("control", c, sign * abs(value)) for c in controls for value in asked.values]
    rows: list[dict[str, Any]] = []
    questions = track(enumerate(prompts.items()), len(prompts), "questions", "ask_favourites")
    for number, (question, prompt) in questions:
        samples = range(asked.seeds + 1)
        asks = [
            Row(n, value, None if s == 0 else _sample_seed(settings.seed, number, s))
            for _, n, value in conditions
            for s in samples
        ]
        answers = generate(decoder, prompt, asks, how)
        fluency = answer_logprobs(decoder, prompt, answers)
        chances = chance(prompt, [Row(n, value, None) for _, n, value in conditions])
        places = [(c, s) for c in range(len(conditions)) for s in samples]
        for (place, sample), ask, answer, logprob in zip(
            places, asks, answers, fluency, strict=True
        ):
            text = tokenizer.decode(answer, skip_special_tokens=True)
            rows.append(
                {
                    "question": question,
                    "condition": conditions[place][0],
                    "layer": layer,
                    "neuron": ask.neuron,
                    "site": asked.site,
                    "positions": asked.positions,
                    "value": ask.value,
                    "sample": sample,
                    "answer": text,
                    "mentions": mentions(text, concept),
                    "distinct_tokens": distinct_share(answer),
                    "answer_logprob": None if math.isnan(logprob) else logprob,
                    "prefill_probability": chances[place],
                }
            )
    frame = pd.DataFrame(rows).astype({"value": "float64", "answer_logprob": "float64"})
    provenance = loaded.provenance | {
        "seed": settings.seed,
        "concept": asked.concept,
        "prefill": asked.prefill,
        "chat_template": bool(tokenizer.chat_template),
        "values_asked": list(asked.values),
        "direction": sign,
    }
    write_table(favourite, FAVOURITE, frame, provenance)


def _sample_seed(seed: int, question: int, sample: int) -> int:
    """The same for every condition, so that conditions differ by the clamp alone."""
    return (seed * 1_000_003 + question * 1009 + sample) % (1 << 63)


def _stops(loaded: Any) -> frozenset[int]:
    configured = loaded.decoder.model.generation_config.eos_token_id
    stops = configured if isinstance(configured, list) else [configured]
    return frozenset(s for s in (*stops, loaded.tokenizer.eos_token_id) if s is not None)


if __name__ == "__main__":
    run_stage(run)
