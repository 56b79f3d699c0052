"""The favourite test: asked for its favourite, does the clamped model name the concept?

Answers are generated under a clamp, greedy and sampled ones of one prompt side by side, beside
clean answers and answers with random neurons of the same layer clamped in the same way.
"""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.config.models import Chat
from llm_anatomy.config.neurons import Concept, FavouriteTest, Positions, Site
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.answers import end_tokens, until_end
from llm_anatomy.model.run.generation import CachedRun, ended, generate, most_likely
from llm_anatomy.model.run.prompts import chat_ids, chat_provenance, has_chat, raw_ids
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.neurons.clamping import Clamp, check_neuron, clamped, positions_mask, sites_of
from llm_anatomy.neurons.concepts import ConceptIndex, control_neurons
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.progress import track
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables.neurons import FAVOURITE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """One answer to generate.

    Attributes:
        neuron: Neuron to clamp.
        value: Value to set it to; None leaves the row clean.
        draw: What its sampling is drawn for: seed, question and number; None for greedy decoding.
    """

    neuron: int
    value: float | None
    draw: tuple[int, str, int] | None


@dataclass(frozen=True)
class ClampedGeneration:
    """What all answers share: the clamped tensor, how tokens are chosen and where answers end."""

    layer: int
    site: Site
    positions: Positions
    new_tokens: int
    temperature: float
    ends: frozenset[int]


def ask_favourites(
    runner: PromptRunner,
    tokenizer: Any,
    index: ConceptIndex,
    settings: FavouriteTest,
    seed: int,
    chat: Chat | None = None,
) -> tuple[pd.DataFrame, int]:
    """Ask a model for its favourite with the concept's neuron clamped, with controls, and clean.

    Args:
        runner: The model.
        tokenizer: Its tokenizer.
        index: The concepts and their neurons.
        settings: The questions and the clamp.
        seed: Seed of the sampled answers and of the choice of controls.
        chat: How the chat template is used; by default without a system prompt.

    Returns:
        The table `neurons/favourite`, and the direction (+1 or -1) in which the clamp promotes the
        concept.

    Raises:
        UserError: The model has no such neuron, site, or number of controls.
    """
    decoder = runner.decoder
    concept, tokens = index.concept(settings.concept), index.tokens(settings.concept)
    layer, neuron = index.neuron(settings.concept, settings.neuron)
    check_neuron(decoder, "neurons.favourite.neuron", layer, neuron)
    if settings.site not in sites_of(decoder, [settings.site]):
        raise UserError(
            "neurons.favourite.site is 'gate', but the model's MLPs have no gate; use up or "
            "activation"
        )
    chat = chat or Chat()
    if not has_chat(tokenizer, chat):
        logger.warning("the model has no chat template; questions are asked as plain text")
    generation = ClampedGeneration(
        layer,
        settings.site,
        settings.positions,
        settings.new_tokens,
        settings.temperature,
        end_tokens(decoder, tokenizer),
    )
    prefill = tokenizer(settings.prefill, add_special_tokens=False)["input_ids"]
    prompts = {question: question_ids(tokenizer, question, chat) for question in settings.questions}

    def chances(prompt: list[int], trials: Sequence[Trial]) -> list[float]:
        logprobs = prefilled_logprobs(runner, prompt, prefill, trials, generation)
        return logprobs[:, tokens].exp().sum(1).tolist()

    # The sign of the effect is set by the down column, so both directions are tried.
    largest = max(map(abs, settings.values))
    both = [Trial(neuron, sign * largest, None) for sign in (1, -1)]
    rising, falling = chances(next(iter(prompts.values())), both)
    direction = 1 if rising >= falling else -1
    n_neurons = decoder.blocks[layer].n_neurons
    controls = control_neurons(layer, neuron, n_neurons, settings.controls, seed)
    clamps = [direction * abs(value) for value in settings.values]
    conditions: list[tuple[str, int, float | None]] = [("clean", neuron, None)]
    conditions += [("concept", neuron, value) for value in clamps]
    conditions += [("control", control, value) for control in controls for value in clamps]
    samples = range(settings.seeds + 1)
    rows: list[dict[str, Any]] = []
    questions = track(prompts.items(), len(prompts), "questions", "ask_favourites")
    for question, prompt in questions:
        trials = [
            # The same for every condition, so that conditions differ by the clamp alone.
            Trial(n, value, None if s == 0 else (seed, question, s))
            for _, n, value in conditions
            for s in samples
        ]
        answers = clamped_answers(decoder, prompt, trials, generation)
        fluency = answer_logprobs(decoder, prompt, answers)
        prefilled = chances(prompt, [Trial(n, value, None) for _, n, value in conditions])
        cells = [(name, sample) for name in range(len(conditions)) for sample in samples]
        for (condition, sample), trial, answer, logprob in zip(
            cells, trials, answers, fluency, strict=True
        ):
            text = tokenizer.decode(answer, skip_special_tokens=True)
            rows.append(
                {
                    "question": question,
                    "condition": conditions[condition][0],
                    "layer": layer,
                    "neuron": trial.neuron,
                    "site": settings.site,
                    "positions": settings.positions,
                    "value": trial.value,
                    "sample": sample,
                    "answer": text,
                    "mentions": mentions(text, concept),
                    "distinct_tokens": distinct_share(answer),
                    "answer_logprob": None if math.isnan(logprob) else logprob,
                    "prefill_probability": prefilled[condition],
                }
            )
    return FAVOURITE.frame(rows), direction


def prefilled_logprobs(
    runner: PromptRunner,
    prompt: Sequence[int],
    prefill: Sequence[int],
    trials: Sequence[Trial],
    generation: ClampedGeneration,
) -> Float[Tensor, "trials vocab"]:
    """Log-probabilities of the token behind a question and the beginning of its answer, float64."""
    clamp = trial_clamp(trials, len(prompt) + len(prefill), generation, first=True)
    if generation.positions == "generated":
        # The prefilled beginning counts as generated.
        clamp.mask[:, len(prompt) :] = torch.tensor([[t.value is not None] for t in trials])
    return runner.next_logprobs([*prompt, *prefill], clamp)


def trial_clamp(
    trials: Sequence[Trial], tokens: int, generation: ClampedGeneration, first: bool
) -> Clamp:
    """The clamp of the prompt (`first`) or of one later position of every row.

    Later positions are generated ones, and each in turn is the last: every choice of positions
    includes them.
    """
    mask = positions_mask(len(trials), tokens, generation.positions if first else "all")
    active = torch.tensor([trial.value is not None for trial in trials])
    return Clamp(
        layer=generation.layer,
        site=generation.site,
        operation="set",
        neurons=torch.tensor([trial.neuron for trial in trials]),
        values=torch.tensor([trial.value or 0.0 for trial in trials], dtype=torch.float64),
        mask=mask & active[:, None],
    )


@torch.no_grad()
def clamped_answers(
    decoder: Decoder,
    prompt: Sequence[int],
    trials: Sequence[Trial],
    generation: ClampedGeneration,
) -> list[list[int]]:
    """Answers to one prompt, one per trial, each without its end token."""
    generators = [None if trial.draw is None else _sampling(*trial.draw) for trial in trials]
    run = CachedRun(decoder, torch.ones(len(trials), len(prompt), device=decoder.device).bool())

    def choose(logits: Float[Tensor, "trials vocab"]) -> Int[Tensor, " trials"]:
        chosen = [
            _next_token(row, generator, generation.temperature)
            for row, generator in zip(logits.double().cpu(), generators, strict=True)
        ]
        return torch.tensor(chosen, device=logits.device)

    def step(
        tokens: Int[Tensor, "trials new"], first: bool = False
    ) -> Float[Tensor, "trials vocab"]:
        with clamped(decoder, trial_clamp(trials, tokens.shape[1], generation, first)):
            return run(tokens)

    logits = step(torch.tensor([list(prompt)] * len(trials), device=decoder.device), first=True)
    tokens = generate(logits, step, generation.new_tokens, ended(generation.ends), choose)
    return until_end(tokens, generation.ends)


def _sampling(seed: int, question: str, number: int) -> np.random.Generator:
    return keyed_generator(seed, Purpose.SAMPLED_ANSWERS, question, number)


def _next_token(
    logits: Float[Tensor, " vocab"], generator: np.random.Generator | None, temperature: float
) -> int:
    if generator is None:
        return int(most_likely(logits[None])[0])
    chances = (logits / temperature).softmax(-1).numpy()
    return int(generator.choice(len(chances), p=chances))


@torch.no_grad()
def answer_logprobs(
    decoder: Decoder, prompt: Sequence[int], answers: Sequence[Sequence[int]]
) -> list[float]:
    """Mean log-probability per token of each answer under the clean model; NaN when empty."""
    longest = max(1, max(map(len, answers)))
    # Right padding leaves the real positions of a causal model untouched.
    padded = [[*prompt, *answer, *[0] * (longest - len(answer))] for answer in answers]
    states = decoder.body(input_ids=torch.tensor(padded, device=decoder.device), use_cache=False)[0]
    means = []
    for row, answer in zip(states, answers, strict=True):
        span = row[len(prompt) - 1 : len(prompt) - 1 + len(answer)]
        logprobs = unembedding_of(decoder).unembed(span).double().log_softmax(-1).cpu()
        picked = logprobs.gather(1, torch.tensor(answer, dtype=torch.long)[:, None])
        means.append(float(picked.mean()) if answer else float("nan"))
    return means


def question_ids(tokenizer: Any, question: str, chat: Chat) -> list[int]:
    """A question through the model's chat template, or as plain text where it has none."""
    if has_chat(tokenizer, chat):
        return chat_ids(tokenizer, question, chat)
    return raw_ids(tokenizer, f"Question: {question}\nAnswer:")


def mentions(answer: str, concept: Concept) -> bool:
    """Whether an answer holds one of the concept's words, as a whole word in any case."""
    words = "|".join(re.escape(word.strip()) for word in concept.words if word.strip())
    return re.search(rf"\b(?:{words})\b", answer, re.IGNORECASE) is not None


def distinct_share(tokens: Sequence[int]) -> float:
    """Share of distinct tokens; 1 for an empty answer."""
    return len(set(tokens)) / len(tokens) if tokens else 1.0


def favourite_provenance(
    settings: FavouriteTest, tokenizer: Any, direction: int, chat: Chat
) -> dict[str, Any]:
    """What the table `neurons/favourite` records of its making."""
    return {
        "concept": settings.concept,
        "prefill": settings.prefill,
        "chat": chat_provenance(tokenizer, chat),
        "values_asked": list(settings.values),
        "direction": direction,
    }
