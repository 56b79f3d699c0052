"""The unmanipulated run, with everything that sweeps start from."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.model.run.replay import KeyValues, Replay


@dataclass(frozen=True)
class CleanRun:
    """One forward pass over prompts of equal length.

    Attributes:
        tokens: Token ids.
        shared: Leading tokens that are equal in all rows, at most all but the last.
        states: `states[k]` is X^k, the input of block k; the last entry is the output of the last
            block, before the final norm.
        key_values: Keys and values of every block.
    """

    tokens: Int[Tensor, "rows tokens"]
    shared: int
    states: list[Float[Tensor, "rows tokens d_model"]]
    key_values: list[KeyValues]

    @property
    def rows(self) -> int:
        """Number of prompts."""
        return self.tokens.shape[0]

    @property
    def length(self) -> int:
        """Tokens of each prompt."""
        return self.tokens.shape[1]

    def final(self) -> Float[Tensor, "rows d_model"]:
        """State of the current token after the last block."""
        return self.states[-1][:, -1]


def shared_prefix(tokens: Int[Tensor, "rows tokens"]) -> int:
    """Leading tokens that all rows share, at most all but the last; 0 for a single row."""
    if tokens.shape[0] == 1:
        return 0
    equal = (tokens == tokens[:1]).all(dim=0)[:-1]
    return int(equal.long().cumprod(dim=0).sum())


def clean_run(
    replay: Replay, tokens: Int[Tensor, "rows tokens"], shared: int | None = None
) -> CleanRun:
    """Run prompts once; a prefix that all of them share is computed for one row only.

    Args:
        replay: The decoder's blocks.
        tokens: Prompts of equal length, on the model's device.
        shared: Length of the shared prefix to use; None finds it.
    """
    shared = shared_prefix(tokens) if shared is None else shared
    rows = tokens.shape[0]
    states = replay.embed(tokens[:, shared:], shared)
    prefix = replay.embed(tokens[:1, :shared]) if shared else None
    all_states, all_key_values = [], []
    for index in range(replay.decoder.n_layers):
        all_states.append(_joined(prefix, states))
        past = None
        if prefix is not None:
            prefix, key_values = replay.block(index, prefix)
            past = key_values.tiled(rows)
        states, key_values = replay.block(index, states, past)
        all_key_values.append(key_values)
    all_states.append(_joined(prefix, states))
    return CleanRun(tokens, shared, all_states, all_key_values)


def _joined(prefix: Tensor | None, states: Tensor) -> Tensor:
    if prefix is None:
        return states
    return torch.cat([prefix.expand(states.shape[0], -1, -1), states], dim=1)
