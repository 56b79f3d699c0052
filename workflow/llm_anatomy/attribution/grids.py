"""Layers by positions of a relation's prompts: facts in, tables of logit lens and tracing out."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.attribution.lens import logit_lens
from llm_anatomy.attribution.pairs import FactPair, pair_facts
from llm_anatomy.attribution.tracing import TracedRun, restored_ends, run_from, scores_of
from llm_anatomy.config.attribution import Corruption, Grids, Restored
from llm_anatomy.model.run.answers import place_in, tokenise
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.progress import Progress
from llm_anatomy.statistics.intervals import percentile_interval
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables import grids as tables
from llm_anatomy.tables.core import TableSchema

logger = logging.getLogger(__name__)

NO_SUBJECT = "noise: its prompt does not name its subject"
Rows = list[dict[str, Any]]


class GridStudy(NamedTuple):
    """What came of one relation.

    Attributes:
        frames: The tables of grids.
        counts: Facts given, and facts used of them.
        reasons: Why used facts are not traced under a corruption, counted.
    """

    frames: dict[TableSchema, pd.DataFrame]
    counts: dict[str, int]
    reasons: dict[str, int]


@dataclass(frozen=True)
class TracedFact:
    """A fact and its corrupted runs.

    Attributes:
        example_id: The fact.
        corruption: What corrupts it.
        tokens: Its prompt.
        names: Texts of the tokens.
        answer: First token of its answer.
        rival: First token of its counterfactual's answer, if it has one.
        first: First corrupted position.
        end: One past the last.
        starts: Corrupted inputs of the first block, one for every draw.
    """

    example_id: str
    corruption: Corruption
    tokens: tuple[int, ...]
    names: tuple[str, ...]
    answer: int
    rival: int | None
    first: int
    end: int
    starts: Float[Tensor, "samples tokens d_model"]

    def role(self, position: int) -> str:
        """What a position from the first corrupted one on is (ROME's buckets)."""
        if position == len(self.tokens) - 1:
            return "last"
        if position < self.end:
            if position == self.end - 1:
                return "last subject"
            return "first subject" if position == self.first else "middle subject"
        return "first after" if position == self.end else "further"


@torch.no_grad()
def trace_states(
    loaded: LoadedModel, facts: pd.DataFrame, settings: Grids, seed: int, batch_tokens: int
) -> GridStudy:
    """Read every state of a relation's prompts, and restore each in corrupted runs.

    Args:
        loaded: The model.
        facts: The relation's facts, a table `facts/facts`.
        settings: Which grids.
        seed: Seed of counterfactuals, noise and intervals.
        batch_tokens: Most tokens in one call of a block.
    """
    replay = Replay(loaded.decoder)
    used = facts.head(len(facts) if settings.max_facts is None else settings.max_facts)
    rows: dict[TableSchema, Rows] = {schema: [] for schema in tables.TABLES}
    for fact in used.to_dict("records"):
        rows[tables.LENS_GRID] += _lens_rows(replay, loaded.tokenizer, fact)
    traced, reasons = corrupted_facts(replay, loaded.tokenizer, facts, used, settings, seed)
    with Progress(len(traced), "corrupted facts", "trace_states") as progress:
        for batch in _batches(traced, batch_tokens):
            totals, grid = _trace(replay, batch, settings)
            rows[tables.TRACED_FACTS] += totals
            rows[tables.TRACING_GRID] += grid
            progress.advance(len(batch))
    order = {(f.corruption, f.example_id): number for number, f in enumerate(traced)}
    for schema in (tables.TRACED_FACTS, tables.TRACING_GRID):
        rows[schema].sort(key=lambda row: order[row["corruption"], row["example_id"]])
    frames = {schema: schema.frame(added) for schema, added in rows.items()}
    frames[tables.TRACING_EFFECTS] = average_effects(
        frames[tables.TRACING_GRID], settings.resamples, seed
    )
    return GridStudy(
        frames, {"facts": len(facts), "used": len(used)}, dict(sorted(reasons.items()))
    )


def corrupted_facts(
    replay: Replay,
    tokenizer: Any,
    facts: pd.DataFrame,
    used: pd.DataFrame,
    settings: Grids,
    seed: int,
) -> tuple[list[TracedFact], Counter[str]]:
    """The facts under every corruption that they can be given, and why not under the others."""
    pairs, alone = pair_facts(facts, seed)
    by_fact = {pair.example_id: pair for pair in pairs}
    device = replay.decoder.device
    starts = [replay.embed(torch.tensor([list(t)], device=device)) for t in used["tokens"]]
    found: list[TracedFact] = []
    reasons: Counter[str] = Counter()
    # One number over all coordinates, in float64: a sum over many small entries.
    spread = float(torch.cat([s.double().flatten() for s in starts]).std()) if starts else 0.0
    for corruption in settings.corruptions:
        for fact, start in zip(used.to_dict("records"), starts, strict=True):
            pair = by_fact.get(str(fact["example_id"]))
            span, why = _corrupted_span(corruption, tokenizer, fact, pair, alone)
            if span is None:
                reasons[why] += 1
                continue
            if corruption == "swap":
                assert pair is not None
                corrupted = replay.embed(torch.tensor([pair.other_tokens], device=device))
            else:
                generator = keyed_generator(seed, Purpose.TRACING_NOISE, str(fact["example_id"]))
                size = settings.noise * spread
                corrupted = _noisy(start, span, size, settings.samples, generator)
            tokens = tuple(int(token) for token in fact["tokens"])
            found.append(
                TracedFact(
                    str(fact["example_id"]),
                    corruption,
                    tokens,
                    tuple(tokenizer.decode([token]) for token in tokens),
                    int(fact["gold_token"]),
                    None if pair is None else pair.rival,
                    *span,
                    corrupted,
                )
            )
    return found, reasons


def average_effects(grid: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Average indirect effects by layer and role, with bootstrap intervals over facts.

    A fact counts once, however many positions of a role it has.

    Args:
        grid: A table `grids/tracing`.
        resamples: How often facts are drawn.
        seed: Seed of the draws.
    """
    rows: Rows = []
    keys = ["corruption", "restored", "window", "role"]
    for key, own in grid.groupby(keys, sort=False):
        of_facts = own.pivot_table("effect", "example_id", "layer", sort=True)
        contrasts = own.groupby(["layer", "example_id"])["contrast_effect"].mean()
        values = of_facts.to_numpy()
        generator = keyed_generator(seed, Purpose.TRACING_EFFECTS, *map(str, key))
        drawn = generator.integers(len(values), size=(resamples, len(values)))
        low, high = percentile_interval(values[drawn].mean(1))
        rows += [
            dict(zip(keys, key, strict=True))
            | {
                "layer": layer,
                "effect": float(values[:, place].mean()),
                "low": float(low[place]),
                "high": float(high[place]),
                "contrast_effect": float(contrasts[layer].mean()),
                "contrast_facts": int(contrasts[layer].count()),
                "facts": len(values),
            }
            for place, layer in enumerate(of_facts.columns)
        ]
    return tables.TRACING_EFFECTS.frame(rows)


def _lens_rows(replay: Replay, tokenizer: Any, fact: dict[Any, Any]) -> Rows:
    tokens = [int(token) for token in fact["tokens"]]
    answer = int(fact["gold_token"])
    lens = logit_lens(replay, torch.tensor(tokens, device=replay.decoder.device), answer)
    names = [tokenizer.decode([token]) for token in tokens]
    return [
        {
            "example_id": fact["example_id"],
            "layer": step - 1,
            "position": position,
            "position_token": name,
            "top_token": tokenizer.decode([int(lens.top_token[step, position])]),
            "top_probability": float(lens.top_probability[step, position]),
            "rank": int(lens.rank[step, position]),
            "probability": float(lens.probability[step, position]),
        }
        for step in range(len(lens.rank))
        for position, name in enumerate(names)
    ]


def _corrupted_span(
    corruption: Corruption,
    tokenizer: Any,
    fact: dict[Any, Any],
    pair: FactPair | None,
    alone: dict[str, str],
) -> tuple[tuple[int, int] | None, str]:
    """The corrupted positions of a fact, or why it has none."""
    if corruption == "swap":
        if pair is None:
            return None, f"swap: {alone[str(fact['example_id'])]}"
        differ = [
            n
            for n, (own, other) in enumerate(zip(pair.tokens, pair.other_tokens, strict=True))
            if own != other
        ]
        return ((differ[0], differ[-1] + 1), "") if differ else (None, "swap: the same prompt")
    prompt, subject = fact["prompt"], fact["subject"]
    _, span = tokenise(tokenizer, prompt, place_in(prompt, subject), len(subject))
    return span, "" if span else NO_SUBJECT


def _noisy(
    start: Float[Tensor, "1 tokens d_model"],
    span: tuple[int, int],
    size: float,
    samples: int,
    generator: np.random.Generator,
) -> Float[Tensor, "samples tokens d_model"]:
    """Inputs with noise on the subject: the same draws for the corrupted and every restored run."""
    shape = (samples, span[1] - span[0], start.shape[-1])
    noise = torch.from_numpy(size * generator.standard_normal(shape)).to(start)
    noisy = start.repeat(samples, 1, 1)
    noisy[:, span[0] : span[1]] += noise
    return noisy


def _batches(traced: Sequence[TracedFact], budget: int) -> Iterator[list[TracedFact]]:
    """Facts of one length whose corruption begins at one position, within a budget of tokens."""
    groups: dict[tuple[Corruption, int, int], list[TracedFact]] = {}
    for fact in traced:
        groups.setdefault((fact.corruption, len(fact.tokens), fact.first), []).append(fact)
    for (_, length, first), group in groups.items():
        tokens = len(group[0].starts) * max((length - first) ** 2, length)
        size = max(1, budget // tokens)
        for begin in range(0, len(group), size):
            yield group[begin : begin + size]


def _trace(replay: Replay, batch: Sequence[TracedFact], settings: Grids) -> tuple[Rows, Rows]:
    """Rows of the tables `grids/facts` and `grids/tracing` of facts with one geometry."""
    samples, first = len(batch[0].starts), batch[0].first
    device = replay.decoder.device
    owners = [fact for fact in batch for _ in range(samples)]
    answers, rivals = [f.answer for f in owners], [f.rival for f in owners]
    clean = run_from(replay, replay.embed(torch.tensor([f.tokens for f in owners], device=device)))
    corrupted = run_from(replay, torch.cat([fact.starts for fact in batch]))

    def of_facts(ends: Tensor) -> list[Tensor]:
        """Both measures, means over the draws of each fact."""
        return [
            values.unflatten(0, (-1, samples)).mean(1).cpu()
            for values in scores_of(replay, ends, answers, rivals)
        ]

    (chance, contrast), base = of_facts(clean.end), of_facts(corrupted.end)
    totals = [
        {
            "example_id": fact.example_id,
            "corruption": fact.corruption,
            "first": fact.first,
            "end": fact.end,
            "samples": samples,
            "clean": float(chance[row]),
            "corrupted": float(base[0][row]),
            "clean_contrast": float(contrast[row]),
            "corrupted_contrast": float(base[1][row]),
        }
        for row, fact in enumerate(batch)
    ]
    grid: Rows = []
    for restored in settings.restored:
        window = 1 if restored == "state" else settings.window
        effects = [
            [values - before[:, None] for values, before in zip(of_facts(ends), base, strict=True)]
            for ends in _ends(replay, clean, corrupted, first, restored, window)
        ]
        grid += _grid_rows(batch, restored, window, effects)
    return totals, grid


def _ends(
    replay: Replay,
    clean: TracedRun,
    corrupted: TracedRun,
    first: int,
    restored: Restored,
    window: int,
) -> Iterator[Tensor]:
    for layer in range(replay.decoder.n_layers):
        yield restored_ends(replay, clean, corrupted, first, restored, layer, window)


def _grid_rows(
    batch: Sequence[TracedFact], restored: Restored, window: int, effects: list[list[Tensor]]
) -> Rows:
    return [
        {
            "example_id": fact.example_id,
            "corruption": fact.corruption,
            "restored": restored,
            "window": window,
            "layer": layer,
            "position": position,
            "position_token": fact.names[position],
            "role": fact.role(position),
            "effect": float(chance[row, position - fact.first]),
            "contrast_effect": float(contrast[row, position - fact.first]),
        }
        for row, fact in enumerate(batch)
        for layer, (chance, contrast) in enumerate(effects)
        for position in range(fact.first, len(fact.tokens))
    ]
