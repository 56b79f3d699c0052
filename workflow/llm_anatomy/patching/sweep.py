"""Sweep manipulations over layers, seeds and cases, the fast way or the slow one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.config.patching import (
    CONTROL,
    Angle,
    Freeze,
    Manipulation,
    RandomManipulation,
    Skip,
    Switch,
)
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.patching import reference
from llm_anatomy.patching.cases import Donor, SweepCase, batches, positions_of
from llm_anatomy.patching.clean import CleanRun, clean_run
from llm_anatomy.patching.fast import Swept, sweep_edit, sweep_freeze, sweep_skip
from llm_anatomy.patching.generation import Stream, continue_swept
from llm_anatomy.patching.manipulations import RandomEdit, SwitchEdit
from llm_anatomy.patching.scoring import ContinuationScorer, next_token
from llm_anatomy.progress import Progress

SHARED_NOISE = "all examples"

Record = dict[str, Any]
# Token ids of the prompts of a batch.
Prompts = tuple[tuple[int, ...], ...]
# [layers, span, d_model] for every donor.
DonorStates = dict[Donor, Float[Tensor, "layers span d_model"]]


@dataclass(frozen=True)
class Sweep:
    """One manipulation and what it is swept over.

    Attributes:
        manipulation: The manipulation; None for the clean run.
        cases: Its prompts.
    """

    manipulation: Manipulation | None
    cases: Sequence[SweepCase]

    @property
    def name(self) -> str:
        """The manipulation's name; `none` of the clean run."""
        return CONTROL if self.manipulation is None else self.manipulation.name


@dataclass(frozen=True)
class SweepBatch:
    """Cases of one sweep that go through the blocks together.

    Attributes:
        sweep: Number of the sweep.
        rows: The cases.
        at_once: Layers k that may be swept at once.
    """

    sweep: int
    rows: list[SweepCase]
    at_once: int


@dataclass(frozen=True)
class Variant:
    """One draw of a manipulation at one strength; layers are swept inside.

    Attributes:
        manipulation: The manipulation; None for the clean run.
        seed: Number of the draw, from 0.
        strength: Angle in degrees, for an angle.
    """

    manipulation: Manipulation | None
    seed: int = 0
    strength: float | None = None


def variants_of(manipulation: Manipulation | None) -> list[Variant]:
    """Every strength and seed of a manipulation."""
    if not isinstance(manipulation, RandomManipulation):
        return [Variant(manipulation)]
    strengths = manipulation.degrees if isinstance(manipulation, Angle) else [None]
    return [
        Variant(manipulation, seed, strength)
        for strength in strengths
        for seed in range(manipulation.seeds)
    ]


@dataclass(frozen=True)
class Engine:
    """Everything that sweeps need beside their cases.

    Attributes:
        replay: The decoder's blocks.
        scorer: Reads and scores answers.
        seed: The configuration's seed.
        layers: Layers k to sweep, ascending.
        budget: Most tokens in one block call.
        method: The fast paths, or full forward passes with hooks.
    """

    replay: Replay
    scorer: ContinuationScorer
    seed: int
    layers: tuple[int, ...]
    budget: int
    method: Literal["fast", "reference"] = "fast"

    def run(self, sweeps: Sequence[Sweep], task: str) -> list[Record]:
        """Records of every sweep of a task; batches of the same prompts share their clean run.

        Returns:
            Records in the order of sweeps, cases, strengths, seeds and layers.
        """
        variants = [variants_of(sweep.manipulation) for sweep in sweeps]
        total = sum(len(s.cases) * len(v) for s, v in zip(sweeps, variants, strict=True))
        records: list[list[Record]] = [[] for _ in sweeps]
        with Progress(total, "examples", task) as progress, torch.no_grad():
            donors = self._donors([case for sweep in sweeps for case in sweep.cases])
            for tokens, sharing in self._batches(sweeps).items():
                clean = clean_run(self.replay, self._tokens(tokens))
                for batch in sharing:
                    for variant in variants[batch.sweep]:
                        rows, at_once = batch.rows, batch.at_once
                        records[batch.sweep] += self._variant(variant, rows, clean, donors, at_once)
                        progress.advance(len(rows))
        return [
            {"manipulation": sweep.name} | record
            for sweep, own in zip(sweeps, records, strict=True)
            for record in _in_order(own, sweep.cases)
        ]

    def _batches(self, sweeps: Sequence[Sweep]) -> dict[Prompts, list[SweepBatch]]:
        """The batches of all sweeps by their prompts."""
        by_prompts: dict[Prompts, list[SweepBatch]] = {}
        for number, sweep in enumerate(sweeps):
            n_layers = 1 if sweep.manipulation is None else len(self.layers)
            for rows, at_once in batches(sweep.cases, sweep.manipulation, n_layers, self.budget):
                prompts = tuple(case.tokens for case in rows)
                by_prompts.setdefault(prompts, []).append(SweepBatch(number, rows, at_once))
        return by_prompts

    def _variant(
        self,
        variant: Variant,
        rows: Sequence[SweepCase],
        clean: CleanRun,
        donors: DonorStates,
        at_once: int,
    ) -> Iterator[Record]:
        if variant.manipulation is None:
            layers: tuple[int, ...] = (self.replay.decoder.n_layers,)
            final, tokens = clean.final(), self._clean_tokens(clean)
            yield from self._records(variant, layers, rows, clean, final, tokens)
            return
        # Variants with a high k cost least: groups of neighbouring layers share their blocks.
        for first in range(0, len(self.layers), at_once):
            layers = self.layers[first : first + at_once]
            run = self._reference if self.method == "reference" else self._fast
            final, tokens = run(variant, layers, rows, clean, donors)
            yield from self._records(variant, layers, rows, clean, final, tokens)

    def _records(
        self,
        variant: Variant,
        layers: Sequence[int],
        rows: Sequence[SweepCase],
        clean: CleanRun,
        final: Tensor,
        tokens: Int[Tensor, "rows steps"] | None,
    ) -> Iterator[Record]:
        scores = next_token(unembedding_of(self.replay.decoder).logits, final, clean.final(), rows)
        answers = scores.token[:, None].tolist() if tokens is None else tokens.tolist()
        offset = 1 if isinstance(variant.manipulation, Freeze) else 0
        for index in range(len(final)):
            case, layer = rows[index % len(rows)], layers[index // len(rows)]
            has_donor = case.donor is not None
            yield {
                "example_id": case.example_id,
                "donor_id": _donor_id(case),
                "layer": layer,
                "authors_layer": layer + offset,
                "seed": variant.seed,
                "strength": variant.strength,
                **self.scorer.score(case, answers[index]),
                "gold_logprob": float(scores.gold_logprob[index]),
                "gold_rank": int(scores.gold_rank[index]),
                "donor_logprob": float(scores.donor_logprob[index]) if has_donor else None,
                "donor_rank": int(scores.donor_rank[index]) if has_donor else None,
                "kl": float(scores.kl[index]),
            }

    def _fast(
        self,
        variant: Variant,
        layers: tuple[int, ...],
        rows: Sequence[SweepCase],
        clean: CleanRun,
        donors: DonorStates,
    ) -> tuple[Tensor, Tensor | None]:
        manipulation, steps = variant.manipulation, self.scorer.max_new_tokens
        keep, replay = steps > 1, self.replay
        stream = Stream(layers, len(rows))
        if isinstance(manipulation, Switch):
            swept = sweep_edit(replay, clean, layers, _switch(rows, donors), keep)
        elif isinstance(manipulation, Skip):
            width = manipulation.width
            swept = sweep_skip(replay, clean, layers, width, keep)
            stream = Stream(layers, len(rows), skip_width=width or replay.decoder.n_layers)
        elif isinstance(manipulation, Freeze):
            positions = positions_of(manipulation, rows[0])
            swept = sweep_freeze(replay, clean, layers, positions, keep)
            stream = Stream(layers, len(rows), frozen=positions.includes(clean.length - 1))
        else:
            edit = self._edit(variant, rows)
            if keep and _redraws(variant):
                return self._redrawn(variant, layers, rows, clean)
            swept = sweep_edit(replay, clean, layers, edit, keep)
            stream = Stream(layers, len(rows), edit=edit)
        if not keep:
            return swept.final, None
        finished = self.scorer.finished
        return swept.final, continue_swept(replay, clean, swept, stream, steps, finished)

    def _clean_tokens(self, clean: CleanRun) -> Tensor | None:
        if self.scorer.max_new_tokens == 1:
            return None
        swept = Swept(clean.final(), list(clean.key_values))
        stream, steps = Stream((), clean.rows), self.scorer.max_new_tokens
        return continue_swept(self.replay, clean, swept, stream, steps, self.scorer.finished)

    def _redrawn(
        self, variant: Variant, layers: Sequence[int], rows: Sequence[SweepCase], clean: CleanRun
    ) -> tuple[Tensor, Tensor]:
        """Generation with new noise at each step: nothing can be kept between steps."""
        finals, continuations = [], []
        for layer in layers:
            states: list[Tensor] = []
            logits = self._redrawn_logits(variant, layer, rows, clean, states)
            continued = reference.continued(logits, clean.tokens, self.scorer.max_new_tokens)
            finals.append(states[0])
            continuations.append(continued)
        return torch.cat(finals), torch.cat(continuations)

    def _redrawn_logits(
        self,
        variant: Variant,
        layer: int,
        rows: Sequence[SweepCase],
        clean: CleanRun,
        states: list[Tensor],
    ) -> Callable[[Tensor, int], Tensor]:
        """Logits at a decoding step; the final states go to `states`."""

        def logits(tokens: Tensor, step: int) -> Tensor:
            run = clean if step == 0 else clean_run(self.replay, tokens)
            edit = self._edit(variant, rows, step)
            states.append(sweep_edit(self.replay, run, (layer,), edit).final)
            return unembedding_of(self.replay.decoder).logits(states[-1])

        return logits

    def _reference(
        self,
        variant: Variant,
        layers: tuple[int, ...],
        rows: Sequence[SweepCase],
        clean: CleanRun,
        donors: DonorStates,
    ) -> tuple[Tensor, Tensor]:
        """Final states and greedy tokens from one full forward pass per row, layer and token."""
        finals, continuations = [], []
        for layer in layers:
            for row, case in enumerate(rows):
                logits = self._reference_logits(variant, layer, case, donors)
                tokens = clean.tokens[row : row + 1]
                finals.append(reference.final_state(self.replay.decoder, logits, tokens))
                continuations.append(
                    reference.continued(logits, tokens, self.scorer.max_new_tokens)
                )
        return torch.cat(finals), torch.cat(continuations)

    def _reference_logits(
        self, variant: Variant, layer: int, case: SweepCase, donors: DonorStates
    ) -> Callable[[Tensor, int], Tensor]:
        decoder, manipulation = self.replay.decoder, variant.manipulation
        if isinstance(manipulation, Switch):
            switch = _switch([case], donors)
            return lambda tokens, _: reference.edited_logits(decoder, tokens, layer, switch)
        if isinstance(manipulation, Skip):
            width = manipulation.width
            return lambda tokens, _: reference.skipped_logits(decoder, tokens, layer, width)
        if isinstance(manipulation, Freeze):
            positions = positions_of(manipulation, case)
            return lambda tokens, _: reference.frozen_logits(decoder, tokens, layer, positions)
        return lambda tokens, step: reference.edited_logits(
            decoder, tokens, layer, self._edit(variant, [case], step if _redraws(variant) else 0)
        )

    def _edit(self, variant: Variant, rows: Sequence[SweepCase], step: int = 0) -> RandomEdit:
        manipulation = variant.manipulation
        assert isinstance(manipulation, RandomManipulation)
        examples = tuple(SHARED_NOISE if manipulation.shared else c.example_id for c in rows)
        return RandomEdit(
            kind=manipulation.kind,
            seed=self.seed,
            number=variant.seed,
            examples=examples,
            positions=positions_of(manipulation, rows[0]),
            degrees=90.0 if variant.strength is None else variant.strength,
            step=step,
        )

    def _donors(self, cases: Sequence[SweepCase]) -> DonorStates:
        """States of every layer at the aligned positions of each donor's clean run."""
        donors = list(dict.fromkeys(case.donor for case in cases if case.donor is not None))
        by_length: dict[int, list[Donor]] = {}
        for donor in donors:
            by_length.setdefault(len(donor.tokens), []).append(donor)
        states: DonorStates = {}
        for length, group in by_length.items():
            size = max(1, self.budget // length)
            for first in range(0, len(group), size):
                part = group[first : first + size]
                tokens = torch.tensor([d.tokens for d in part], device=self.replay.decoder.device)
                layers = clean_run(self.replay, tokens).states[:-1]
                for row, donor in enumerate(part):
                    where = list(donor.positions)
                    states[donor] = torch.stack([layer[row, where] for layer in layers])
        return states

    def _tokens(self, prompts: Prompts) -> Int[Tensor, "rows tokens"]:
        return torch.tensor(prompts, device=self.replay.decoder.device)


def _in_order(records: Sequence[Record], cases: Sequence[SweepCase]) -> list[Record]:
    """Records of one sweep in the order of cases, strengths, seeds and layers."""
    place = {(case.example_id, _donor_id(case)): index for index, case in enumerate(cases)}
    return sorted(
        records,
        key=lambda record: (
            place[record["example_id"], record["donor_id"]],
            record["strength"] or 0.0,
            record["seed"],
            record["layer"],
        ),
    )


def _switch(rows: Sequence[SweepCase], donors: DonorStates) -> SwitchEdit:
    parts, start = [], 0
    for case in rows:
        assert case.donor is not None
        parts.append(donors[case.donor])
        start = case.donor.start
    return SwitchEdit(torch.stack(parts, dim=1), start)


def _redraws(variant: Variant) -> bool:
    return isinstance(variant.manipulation, RandomManipulation) and variant.manipulation.redraw


def _donor_id(case: SweepCase) -> str | None:
    return None if case.donor is None else case.donor.example_id
