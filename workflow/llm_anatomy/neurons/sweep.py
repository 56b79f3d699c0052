"""Clamp sweeps: the next token and the fluency of a model under many values of one clamp."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.config.neurons import Clamping, Operation, Site
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.prompts import raw_ids
from llm_anatomy.neurons.clamping import (
    Clamp,
    check_neuron,
    kl_from,
    positions_mask,
    sites_of,
    summarise,
)
from llm_anatomy.neurons.concepts import ConceptIndex, control_neurons
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.progress import Progress
from llm_anatomy.tables.neurons import CLAMPING

BISECTIONS = 14
SMALLEST = 1e-3


@dataclass(frozen=True)
class SweepTarget:
    """One neuron, one prompt and the concept whose probability is watched.

    Attributes:
        prompt: Token ids of the prompt.
        concept: Token ids of the concept, the main one first.
        layer: The neuron's layer.
        neuron: The neuron.
    """

    prompt: list[int]
    concept: list[int]
    layer: int
    neuron: int


def sweep_clamps(
    runner: PromptRunner, tokenizer: Any, index: ConceptIndex, settings: Clamping, seed: int
) -> pd.DataFrame:
    """The next token under every clamp of every target's neuron, and of a control of its layer.

    Args:
        runner: The model.
        tokenizer: Its tokenizer.
        index: The concepts and their neurons.
        settings: The targets and what to sweep.
        seed: Seed of the choice of controls.

    Returns:
        The table `neurons/clamping`.

    Raises:
        UserError: A configured neuron does not exist, or the held text is too short.
    """
    decoder = runner.decoder
    for number, target in enumerate(settings.targets):
        if target.neuron is not None:
            key = f"neurons.clamping.targets[{number}].neuron"
            check_neuron(decoder, key, target.neuron.layer, target.neuron.neuron)
    held = raw_ids(tokenizer, settings.held_text)
    if len(held) < 2:
        raise UserError("neurons.clamping.held_text has fewer than two tokens; give a longer text")
    sweeper, sites = Sweeper(runner, settings, held), sites_of(decoder, settings.sites)
    rows: list[dict[str, Any]] = []
    steps = len(settings.targets) * 2 * len(sites)
    with Progress(steps, "sweeps", "clamp_neurons") as progress:
        for target in settings.targets:
            tokens = index.tokens(target.concept)
            layer, neuron = index.neuron(target.concept, target.neuron)
            count = decoder.blocks[layer].n_neurons
            (control,) = control_neurons(layer, neuron, count, 1, seed)
            prompt = raw_ids(tokenizer, target.prompt)
            for role, clamped_neuron in (("concept", neuron), ("control", control)):
                aim = SweepTarget(prompt, tokens, layer, clamped_neuron)
                swept = [sweeper.clean_row(aim)]
                for site in sites:
                    for operation in settings.operations:
                        swept += sweeper.sweep(aim, site, operation)
                    # A control has no concept whose dose would have to be calibrated.
                    for positions in settings.positions if role == "concept" else ():
                        swept += sweeper.calibrate(aim, site, positions)
                    progress.advance()
                labels = {
                    "concept": target.concept,
                    "prompt": target.prompt,
                    "layer": layer,
                    "neuron": clamped_neuron,
                    "role": role,
                    "token": index.vocabulary.text(tokens[0]),
                }
                for row in swept:
                    tops = [index.vocabulary.text(token) or "" for token in row.pop("top_ids")]
                    rows.append(labels | row | {"top_tokens": tops})
    return CLAMPING.frame(rows)


@dataclass
class Sweeper:
    """Runs clamps on one model.

    Attributes:
        runner: The model.
        settings: What to sweep.
        held: Token ids of the held text.
    """

    runner: PromptRunner
    settings: Clamping
    held: list[int]

    def clean_row(self, target: SweepTarget) -> dict[str, Any]:
        """The unclamped model on the target's prompt."""
        clean = self._clean_logprobs(target.prompt)
        row = summarise(clean, clean, target.concept, self.settings.top_tokens)
        return {
            "site": self.settings.sites[0],
            "operation": "none",
            "positions": "all",
            "value": None,
            "kl_target": None,
            **row,
            "perplexity": float(self._perplexities(target, "up", "add", [0.0])[0]),
        }

    def sweep(self, target: SweepTarget, site: Site, operation: Operation) -> list[dict[str, Any]]:
        """Every value at every choice of positions."""
        values = list(self.settings.values)
        perplexities = self._perplexities(target, site, operation, values)
        rows = []
        for positions in self.settings.positions:
            swept = self._rows(target, site, operation, positions, values)
            for value, row, perplexity in zip(values, swept, perplexities, strict=True):
                rows.append(
                    {
                        "site": site,
                        "operation": operation,
                        "positions": positions,
                        "value": value,
                        "kl_target": None,
                        **row,
                        "perplexity": float(perplexity),
                    }
                )
        return rows

    def calibrate(self, target: SweepTarget, site: Site, positions: str) -> list[dict[str, Any]]:
        """The values, added in both directions, at which KL(clean || clamped) hits each target.

        A direction in which no value within the bound reaches a target has no row.
        """
        clean = self._clean_logprobs(target.prompt)
        goals = [(goal, sign) for goal in self.settings.kl_targets for sign in (1, -1)]
        if not goals:
            return []
        signs = torch.tensor([sign for _, sign in goals], dtype=torch.float64)
        low, high = SMALLEST * signs, self.settings.kl_bound * signs
        targets = torch.tensor([goal for goal, _ in goals], dtype=torch.float64)

        def divergence(values: Tensor) -> Tensor:
            clamp = self._clamp(target, site, "add", positions, values.tolist(), target.prompt)
            return kl_from(clean, self.runner.next_logprobs(target.prompt, clamp))

        reached = divergence(high) >= targets
        for _ in range(BISECTIONS):
            # Halving the exponent: the values span decades.
            middle = signs * (low * high).sqrt()
            above = divergence(middle) >= targets
            high, low = torch.where(above, middle, high), torch.where(above, low, middle)
        within = [i for i in range(len(goals)) if bool(reached[i])]
        values = [float(high[i]) for i in within]
        if not values:
            return []
        rows = self._rows(target, site, "add", positions, values)
        perplexities = self._perplexities(target, site, "add", values)
        return [
            {
                "site": site,
                "operation": "add",
                "positions": positions,
                "value": value,
                "kl_target": goals[i][0],
                **row,
                "perplexity": float(perplexity),
            }
            for i, value, row, perplexity in zip(within, values, rows, perplexities, strict=True)
        ]

    def _rows(
        self,
        target: SweepTarget,
        site: Site,
        operation: Operation,
        positions: str,
        values: list[float],
    ) -> list[dict[str, Any]]:
        clean = self._clean_logprobs(target.prompt)
        clamp = self._clamp(target, site, operation, positions, values, target.prompt)
        logprobs = self.runner.next_logprobs(target.prompt, clamp)
        top = self.settings.top_tokens
        return [dict(summarise(clean, row, target.concept, top)) for row in logprobs]

    def _perplexities(
        self, target: SweepTarget, site: Site, operation: Operation, values: Sequence[float]
    ) -> Float[Tensor, " values"]:
        clamp = self._clamp(target, site, operation, "all", values, self.held)
        return (-self.runner.token_logprobs(self.held, clamp).mean(1)).exp()

    def _clean_logprobs(self, prompt: list[int]) -> Float[Tensor, " vocab"]:
        return self.runner.next_logprobs(prompt)[0]

    def _clamp(
        self,
        target: SweepTarget,
        site: Site,
        operation: Operation,
        positions: str,
        values: Sequence[float],
        ids: list[int],
    ) -> Clamp:
        return Clamp(
            layer=target.layer,
            site=site,
            operation=operation,
            neurons=torch.full((len(values),), target.neuron),
            values=torch.tensor(values, dtype=torch.float64),
            mask=positions_mask(len(values), len(ids), positions),
        )
