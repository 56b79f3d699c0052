"""Clamp sweeps: the next token and the fluency of a model under many values of one clamp."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.config.neurons import Clamping, Operation, Site
from llm_anatomy.neurons.clamping import (
    Clamp,
    kl_from,
    positions_mask,
    summarise,
)
from llm_anatomy.neurons.runner import PromptRunner

BISECTIONS = 14
SMALLEST = 1e-3


@dataclass(frozen=True)
class Target:
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

    def clean_row(self, target: Target) -> dict[str, Any]:
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

    def sweep(self, target: Target, site: Site, operation: Operation) -> list[dict[str, Any]]:
        """Every value at every choice of positions."""
        values = list(self.settings.values)
        perplexities = self._perplexities(target, site, operation, values)
        rows = []
        for positions in self.settings.positions:
            found = self._rows(target, site, operation, positions, values)
            for value, row, perplexity in zip(values, found, perplexities, strict=True):
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

    def calibrate(self, target: Target, site: Site, positions: str) -> list[dict[str, Any]]:
        """The values, added in both directions, at which KL(clean || clamped) hits each target.

        A direction in which no value within the bound reaches a target has no row.
        """
        clean = self._clean_logprobs(target.prompt)
        goals = [(goal, sign) for goal in self.settings.kl_targets for sign in (1, -1)]
        if not goals:
            return []
        signs = torch.tensor([sign for _, sign in goals], dtype=torch.float64)
        low, high = SMALLEST * signs, self.settings.kl_bound * signs
        wanted = torch.tensor([goal for goal, _ in goals], dtype=torch.float64)

        def divergence(values: Tensor) -> Tensor:
            clamp = self._clamp(target, site, "add", positions, values.tolist(), target.prompt)
            return kl_from(clean, self.runner.next_logprobs(target.prompt, clamp))

        reached = divergence(high) >= wanted
        for _ in range(BISECTIONS):
            # Halving the exponent: the values span decades.
            middle = signs * (low * high).sqrt()
            above = divergence(middle) >= wanted
            high, low = torch.where(above, middle, high), torch.where(above, low, middle)
        kept = [i for i in range(len(goals)) if bool(reached[i])]
        values = [float(high[i]) for i in kept]
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
            for i, value, row, perplexity in zip(kept, values, rows, perplexities, strict=True)
        ]

    def _rows(
        self, target: Target, site: Site, operation: Operation, positions: str, values: list[float]
    ) -> list[dict[str, Any]]:
        clean = self._clean_logprobs(target.prompt)
        clamp = self._clamp(target, site, operation, positions, values, target.prompt)
        logprobs = self.runner.next_logprobs(target.prompt, clamp)
        top = self.settings.top_tokens
        return [dict(summarise(clean, row, target.concept, top)) for row in logprobs]

    def _perplexities(
        self, target: Target, site: Site, operation: Operation, values: Sequence[float]
    ) -> Float[Tensor, " values"]:
        clamp = self._clamp(target, site, operation, "all", values, self.held)
        return (-self.runner.token_logprobs(self.held, clamp).mean(1)).exp()

    def _clean_logprobs(self, prompt: list[int]) -> Float[Tensor, " vocab"]:
        return self.runner.next_logprobs(prompt)[0]

    def _clamp(
        self,
        target: Target,
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
