"""Sweep one manipulation over layers, seeds and cases, the fast way or the slow one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.config.patching import (
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
from llm_anatomy.patching.cases import Case, Donor, batches, positions_of
from llm_anatomy.patching.clean import CleanRun, clean_run
from llm_anatomy.patching.fast import Swept, sweep_edit, sweep_freeze, sweep_skip
from llm_anatomy.patching.generation import Stream, generate
from llm_anatomy.patching.manipulations import RandomEdit, SwitchEdit
from llm_anatomy.patching.scoring import Judge, next_token
from llm_anatomy.progress import Progress

SHARED_NOISE = "all examples"

Record = dict[str, Any]
# [layers, span, d_model] for every donor.
DonorStates = dict[Donor, Float[Tensor, "layers span d_model"]]


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
    """Everything a sweep needs beside its cases.

    Attributes:
        replay: The decoder's blocks.
        judge: Scores answers.
        seed: The configuration's seed.
        layers: Layers k to sweep, ascending.
        budget: Most tokens in one block call.
        method: The fast paths, or full forward passes with hooks.
    """

    replay: Replay
    judge: Judge
    seed: int
    layers: tuple[int, ...]
    budget: int
    method: Literal["fast", "reference"] = "fast"

    def sweep(
        self, manipulation: Manipulation | None, cases: Sequence[Case], task: str
    ) -> list[Record]:
        """Records of one manipulation; the clean run for None.

        Returns:
            Records in the order of cases, strengths, seeds and layers.
        """
        variants = variants_of(manipulation)
        records: list[Record] = []
        with Progress(len(cases) * len(variants), "examples", task) as progress, torch.no_grad():
            donors = self._donors(cases)
            n_layers = 1 if manipulation is None else len(self.layers)
            for rows, at_once in batches(cases, manipulation, n_layers, self.budget):
                clean = clean_run(self.replay, self._tokens(rows))
                for variant in variants:
                    records.extend(self._variant(variant, rows, clean, donors, at_once))
                    progress.advance(len(rows))
        place = {(case.example_id, _donor_id(case)): index for index, case in enumerate(cases)}
        records.sort(
            key=lambda record: (
                place[record["example_id"], record["donor_id"]],
                record["strength"] or 0.0,
                record["seed"],
                record["layer"],
            )
        )
        return records

    def _variant(
        self,
        variant: Variant,
        rows: Sequence[Case],
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
        rows: Sequence[Case],
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
                "code_layer": layer + offset,
                "seed": variant.seed,
                "strength": variant.strength,
                **self.judge.score(case, answers[index]),
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
        rows: Sequence[Case],
        clean: CleanRun,
        donors: DonorStates,
    ) -> tuple[Tensor, Tensor | None]:
        manipulation, steps = variant.manipulation, self.judge.max_new_tokens
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
        return swept.final, generate(replay, clean, swept, stream, steps, self.judge.finished)

    def _clean_tokens(self, clean: CleanRun) -> Tensor | None:
        if self.judge.max_new_tokens == 1:
            return None
        swept = Swept(clean.final(), list(clean.key_values))
        stream, steps = Stream((), clean.rows), self.judge.max_new_tokens
        return generate(self.replay, clean, swept, stream, steps, self.judge.finished)

    def _redrawn(
        self, variant: Variant, layers: Sequence[int], rows: Sequence[Case], clean: CleanRun
    ) -> tuple[Tensor, Tensor]:
        """Generation with new noise at each step: nothing can be kept between steps."""
        finals, continuations = [], []
        for layer in layers:
            tokens, first = clean.tokens, None
            for step in range(self.judge.max_new_tokens):
                run = clean if step == 0 else clean_run(self.replay, tokens)
                edit = self._edit(variant, rows, step)
                final = sweep_edit(self.replay, run, (layer,), edit).final
                first = final if first is None else first
                following = (
                    unembedding_of(self.replay.decoder).logits(final).argmax(-1, keepdim=True)
                )
                tokens = torch.cat([tokens, following], dim=1)
            assert first is not None
            finals.append(first)
            continuations.append(tokens[:, clean.length :])
        return torch.cat(finals), torch.cat(continuations)

    def _reference(
        self,
        variant: Variant,
        layers: tuple[int, ...],
        rows: Sequence[Case],
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
                continuations.append(reference.continued(logits, tokens, self.judge.max_new_tokens))
        return torch.cat(finals), torch.cat(continuations)

    def _reference_logits(
        self, variant: Variant, layer: int, case: Case, donors: DonorStates
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

    def _edit(self, variant: Variant, rows: Sequence[Case], step: int = 0) -> RandomEdit:
        manipulation = variant.manipulation
        assert isinstance(manipulation, RandomManipulation)
        examples = tuple(SHARED_NOISE if manipulation.shared else c.example_id for c in rows)
        return RandomEdit(
            kind=manipulation.kind,
            seed=f"{self.seed}/{variant.seed}",
            examples=examples,
            positions=positions_of(manipulation, rows[0]),
            degrees=90.0 if variant.strength is None else variant.strength,
            step=step,
        )

    def _donors(self, cases: Sequence[Case]) -> DonorStates:
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

    def _tokens(self, rows: Sequence[Case]) -> Int[Tensor, "rows tokens"]:
        return torch.tensor([case.tokens for case in rows], device=self.replay.decoder.device)


def _switch(rows: Sequence[Case], donors: DonorStates) -> SwitchEdit:
    parts, start = [], 0
    for case in rows:
        assert case.donor is not None
        parts.append(donors[case.donor])
        start = case.donor.start
    return SwitchEdit(torch.stack(parts, dim=1), start)


def _redraws(variant: Variant) -> bool:
    return isinstance(variant.manipulation, RandomManipulation) and variant.manipulation.redraw


def _donor_id(case: Case) -> str | None:
    return None if case.donor is None else case.donor.example_id
