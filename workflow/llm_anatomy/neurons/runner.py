"""Run one prompt many times under clamps, each time only from the clamped layer up.

Below the clamped layer every clamped run equals the clean one, so the clean run's states are kept
and the blocks above are called again: a clamp in the last layers costs a fraction of a run.
"""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.logprobs import token_log_probability
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import Replay

logger = logging.getLogger(__name__)


@runtime_checkable
class Intervention(Protocol):
    """A change to the model from one layer on, another one in every row of a batch."""

    @property
    def layer(self) -> int:
        """The first layer that is changed."""

    @property
    def rows(self) -> int:
        """Rows of the batch."""

    def applied(self, decoder: Decoder) -> AbstractContextManager[None]:
        """Run the model with the change in place."""


class PromptRunner:
    """A model and the clean states of the prompts that it has seen.

    Args:
        decoder: The model.
        restart: Restart at the clamped layer; without it every clamp runs the whole model, which
            is the slow reference and what a model does whose blocks cannot be called one by one.
    """

    def __init__(self, decoder: Decoder, restart: bool = True) -> None:
        self.decoder = decoder
        self.replay: Replay | None = None
        if restart:
            try:
                self.replay = Replay(decoder)
            except UserError:
                logger.warning("blocks cannot be called one by one; every clamp runs all layers")
        self._states: dict[tuple[int, ...], list[Tensor]] = {}

    @torch.no_grad()
    def next_logprobs(
        self, prompt: list[int], clamp: Intervention | None = None
    ) -> Float[Tensor, "rows vocab"]:
        """Log-probabilities of the next token, float64: one row, or one per row of the clamp."""
        normed = self._normed(prompt, clamp)[:, -1]
        return unembedding_of(self.decoder).unembed(normed).double().log_softmax(-1).cpu()

    @torch.no_grad()
    def token_logprobs(
        self, prompt: list[int], clamp: Intervention | None = None
    ) -> Float[Tensor, "rows predicted"]:
        """Log-probability of every token but the first, given those before it, float64."""
        unembed = unembedding_of(self.decoder).unembed
        targets = torch.tensor(prompt[1:], device=self.decoder.device)
        # One row at a time: the logits of a whole batch would be the largest tensor of all.
        rows = [
            token_log_probability(unembed(row[:-1]), targets) for row in self._normed(prompt, clamp)
        ]
        return torch.stack(rows).cpu()

    @torch.no_grad()
    def all_logits(self, prompt: list[int]) -> Float[Tensor, "tokens vocab"]:
        """Clean logits after every token."""
        return unembedding_of(self.decoder).unembed(self._normed(prompt, None)[0]).cpu()

    def _normed(
        self, prompt: list[int], clamp: Intervention | None
    ) -> Float[Tensor, "rows tokens d_model"]:
        """States after the final norm."""
        normed: Tensor
        if self.replay is None:
            rows = 1 if clamp is None else clamp.rows
            ids = torch.tensor(prompt, device=self.decoder.device).expand(rows, -1)
            with clamp.applied(self.decoder) if clamp is not None else nullcontext():
                normed = self.decoder.body(input_ids=ids, use_cache=False)[0]
            return normed
        states = self._clean_states(self.replay, prompt)
        state = states[-1]
        if clamp is not None:
            state = states[clamp.layer].expand(clamp.rows, -1, -1)
            with clamp.applied(self.decoder):
                state, _ = self.replay.block(clamp.layer, state)
            for layer in range(clamp.layer + 1, self.decoder.n_layers):
                state, _ = self.replay.block(layer, state)
        normed = self.decoder.final_norm.module(state)
        return normed

    def _clean_states(self, replay: Replay, prompt: list[int]) -> list[Tensor]:
        """Input of every block and output of the last."""
        key = tuple(prompt)
        if key not in self._states:
            states = [replay.embed(torch.tensor([prompt], device=self.decoder.device))]
            for layer in range(self.decoder.n_layers):
                states.append(replay.block(layer, states[-1])[0])
            self._states[key] = states
        return self._states[key]
