"""Generate answers under clamps: greedy and sampled rows of one prompt side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.config.neurons import Positions, Site
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.neurons.clamping import Clamp, clamped, positions_mask


@dataclass(frozen=True)
class Row:
    """One answer to generate.

    Attributes:
        neuron: Neuron to clamp.
        value: Value to set it to; None leaves the row clean.
        seed: Seed of its sampling; None for greedy decoding.
    """

    neuron: int
    value: float | None
    seed: int | None


@dataclass(frozen=True)
class Answering:
    """How answers are made: the clamped tensor, and where the answer ends."""

    layer: int
    site: Site
    positions: Positions
    new_tokens: int
    temperature: float
    stops: frozenset[int]


def row_clamp(rows: Sequence[Row], tokens: int, how: Answering, first: bool) -> Clamp:
    """The clamp of the prompt (`first`) or of one later position of every row.

    Later positions are generated ones, and each in turn is the last: every choice of positions
    includes them.
    """
    mask = positions_mask(len(rows), tokens, how.positions if first else "all")
    active = torch.tensor([row.value is not None for row in rows])
    return Clamp(
        layer=how.layer,
        site=how.site,
        operation="set",
        neurons=torch.tensor([row.neuron for row in rows]),
        values=torch.tensor([row.value or 0.0 for row in rows], dtype=torch.float64),
        mask=mask & active[:, None],
    )


@torch.no_grad()
def generate(
    decoder: Decoder, prompt: Sequence[int], rows: Sequence[Row], how: Answering
) -> list[list[int]]:
    """Answers to one prompt, one per row, each without its stop token."""
    generators = [
        None if row.seed is None else torch.Generator().manual_seed(row.seed) for row in rows
    ]
    answers: list[list[int]] = [[] for _ in rows]
    finished = [False] * len(rows)
    ids = torch.tensor([list(prompt)] * len(rows), device=decoder.device)
    cache: Any = None
    for step in range(how.new_tokens):
        with clamped(decoder, row_clamp(rows, ids.shape[1], how, step == 0)):
            output = decoder.body(input_ids=ids, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        logits = unembedding_of(decoder).unembed(output.last_hidden_state[:, -1]).double().cpu()
        chosen = [
            _choose(row, generator, how.temperature)
            for row, generator in zip(logits, generators, strict=True)
        ]
        for index, token in enumerate(chosen):
            finished[index] = finished[index] or token in how.stops
            if not finished[index]:
                answers[index].append(token)
        if all(finished):
            break
        ids = torch.tensor(chosen, device=decoder.device)[:, None]
    return answers


def _choose(
    logits: Float[Tensor, " vocab"], generator: torch.Generator | None, temperature: float
) -> int:
    if generator is None:
        return int(logits.argmax())
    chances = (logits / temperature).softmax(-1)
    return int(torch.multinomial(chances, 1, generator=generator))


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
