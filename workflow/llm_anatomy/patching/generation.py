"""Greedy generation of several tokens under a manipulation, with cached keys and values.

At every step all tokens but the newest are manipulated, generated ones included, and the newest is
computed cleanly. With noise fixed per (example, k, absolute position) a cached form is exact, with
two streams per token: the token runs cleanly through all blocks and attends to its manipulated
predecessors and itself; in blocks k and up those clean keys and values are not kept; once, the
token's manipulated copy runs through blocks k and up, and its keys and values are kept.

Rows are ordered by variant, then by prompt, as in `fast.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.model.run.generation import Finished, generate
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import KeyValues, Replay, stack_rows
from llm_anatomy.patching.clean import CleanRun
from llm_anatomy.patching.fast import Swept
from llm_anatomy.patching.manipulations import RandomEdit


@dataclass(frozen=True)
class Stream:
    """How tokens are kept once a newer one follows.

    Attributes:
        layers: k of each variant, ascending.
        rows: Prompts per variant.
        edit: What the manipulated copy gets at layer k; None with `frozen` or without a copy.
        frozen: The copy stays at X^k in all blocks.
        skip_width: Blocks without attention from k on; None where attention stays.
    """

    layers: tuple[int, ...]
    rows: int
    edit: RandomEdit | None = None
    frozen: bool = False
    skip_width: int | None = None

    @property
    def two_streams(self) -> bool:
        """Whether a token's kept keys and values differ from its clean ones."""
        return self.frozen or self.edit is not None

    def joined(self, index: int) -> int:
        """Rows of the variants whose k lies at or below a block."""
        return self.rows * sum(k <= index for k in self.layers)

    def past_window(self, index: int) -> int:
        """Rows of the variants whose attention is back at a block."""
        assert self.skip_width is not None
        return self.rows * sum(k + self.skip_width <= index for k in self.layers)


def continue_swept(
    replay: Replay,
    clean: CleanRun,
    swept: Swept,
    stream: Stream,
    steps: int,
    finished: Finished,
) -> Int[Tensor, "variants_rows steps"]:
    """Greedy tokens after the prompts, at most `steps`; ends early when all rows are finished.

    Args:
        replay: The decoder's blocks.
        clean: Clean run of the prompts.
        swept: Their sweep, with caches.
        stream: How tokens are kept.
        steps: Tokens to generate, the first one included.
        finished: Tells the rows that have their answer.
    """
    assert swept.caches is not None
    caches = swept.caches
    if stream.two_streams:
        caches = [cache.slots(0, clean.length - 1) for cache in caches]
        variants = len(stream.layers)
        entries = [clean.states[k][:, -1:] for k in stream.layers]
        added = [
            key_values.slots(clean.length - 1, clean.length).tiled(variants)
            for key_values in clean.key_values
        ]
        _keep(replay, stream, caches, entries, added)
    positions, head = count(clean.length), unembedding_of(replay.decoder)

    def step(newest: Int[Tensor, "variants_rows 1"]) -> Float[Tensor, "variants_rows vocab"]:
        position = next(positions)
        states = replay.embed(newest, position)
        entries, added = [], []
        for index in range(replay.decoder.n_layers):
            if index in stream.layers:
                variant = stream.layers.index(index)
                entries.append(states[variant * stream.rows : (variant + 1) * stream.rows])
            if stream.skip_width is None:
                states, key_values = replay.block(index, states, caches[index])
                if stream.two_streams:
                    added.append(key_values.slots(position, position + 1))
                else:
                    caches[index] = key_values
            else:
                states = _skipping(replay, stream, caches, index, states)
        if stream.two_streams:
            _keep(replay, stream, caches, entries, added)
        return head.logits(states[:, -1])

    return generate(head.logits(swept.final), step, steps, finished)


def _keep(
    replay: Replay,
    stream: Stream,
    caches: list[KeyValues],
    entries: Sequence[Tensor],
    added: list[KeyValues],
) -> None:
    """Add one token's kept keys and values to the caches: clean below k, the copy's from k on.

    Args:
        replay: The decoder's blocks.
        stream: How tokens are kept.
        caches: Keys and values of the positions before the token; extended in place.
        entries: The token's X^k of each variant.
        added: The token's clean keys and values in every block, for all rows.
    """
    position = caches[0].keys.shape[2]
    copy = entries[0][:0]
    for index, clean in enumerate(added):
        if index in stream.layers:
            entry = entries[stream.layers.index(index)]
            copy = torch.cat([copy, stream.edit(index, entry, position) if stream.edit else entry])
        joined = stream.joined(index)
        parts = [clean.select(slice(joined, None))]
        if joined and stream.frozen:
            parts.insert(0, replay.key_values(index, copy, position))
        elif joined:
            past = caches[index].select(slice(0, joined))
            copy, key_values = replay.block(index, copy, past)
            parts.insert(0, key_values.slots(position, position + 1))
        caches[index] = caches[index].followed_by(stack_rows(parts))


def _skipping(
    replay: Replay, stream: Stream, caches: list[KeyValues], index: int, states: Tensor
) -> Tensor:
    """One block in which some rows have no attention; only the others have a cache."""
    first, last = stream.past_window(index), stream.joined(index)
    attending = torch.cat([states[:first], states[last:]])
    skipping = states[first:last]
    if len(attending):
        attending, caches[index] = replay.block(index, attending, caches[index])
    if len(skipping):
        skipping = replay.block_without_attention(index, skipping)
    return torch.cat([attending[:first], skipping, attending[first:]])
