"""Layer sweeps that share work between layers k; `reference.py` holds what they must equal.

Staircase batch: blocks are walked once, from the bottom; at block k the rows of variant k join. So
all variants share each block's call, and blocks below k are never run again. Rows are ordered by
variant, then by prompt: row `v * rows + i` is prompt i under `layers[v]`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.model.run.replay import KeyValues, Replay, stack_rows
from llm_anatomy.patching.clean import CleanRun
from llm_anatomy.patching.manipulations import Positions, RandomEdit, SwitchEdit


@dataclass(frozen=True)
class Swept:
    """What a sweep over layers gives.

    Attributes:
        final: State of the current token after the last block, for every variant and prompt.
        caches: Keys and values of all positions in every block, where asked for; rows whose
            attention is left out in a block are missing there.
    """

    final: Float[Tensor, "variants_rows d_model"]
    caches: list[KeyValues] | None


def sweep_edit(
    replay: Replay,
    clean: CleanRun,
    layers: Sequence[int],
    edit: RandomEdit | SwitchEdit,
    keep: bool = False,
) -> Swept:
    """Noise, shuffle, angle and switch: X^k is edited, blocks k and up run on the mix.

    Positions before the first edited one keep their clean keys and values (causality). Where all
    prompts share a prefix and its noise, the prefix is run once per layer.
    """
    start = edit.start if isinstance(edit, SwitchEdit) else _first(edit.positions, clean.length)
    shared = start
    if isinstance(edit, RandomEdit) and edit.shared:
        shared = max(start, clean.shared)

    def join(layer: int) -> Tensor:
        states = clean.states[layer][:, start:]
        if isinstance(edit, SwitchEdit):
            return edit(layer, states, start)
        return torch.cat([edit(layer, states[:, :-1], start), states[:, -1:]], dim=1)

    return _staircase(replay, clean, layers, start, shared, join, None, keep)


def sweep_freeze(
    replay: Replay, clean: CleanRun, layers: Sequence[int], positions: Positions, keep: bool = False
) -> Swept:
    """Freeze: previous tokens stay at X^k in all blocks from k on (paper's indexing).

    When only a prefix of the previous tokens is left free, that prefix keeps its clean keys and
    values, and of the frozen ones each block needs its keys and values alone.
    """
    start, last = _first(positions, clean.length), clean.length - 1
    if positions.of(start, last) == list(range(start, last)):
        return _frozen_key_values(replay, clean, layers, start, keep)
    held = torch.tensor(positions.of(start, last), device=clean.tokens.device) - start
    return _staircase(
        replay, clean, layers, start, start, lambda k: clean.states[k][:, start:], held, keep
    )


def sweep_skip(
    replay: Replay, clean: CleanRun, layers: Sequence[int], width: int | None, keep: bool = False
) -> Swept:
    """Skip: blocks k to k + width - 1, or all from k on, add their MLP only.

    Up to the top nothing attends any more, so only the current token is computed.
    """
    n_layers = replay.decoder.n_layers
    reach = n_layers if width is None else width
    start = clean.length - 1 if width is None else 0
    states = clean.states[0][:0, start:]
    caches = []
    for index in range(n_layers):
        joined = [k for k in layers if k <= index]
        if index in layers:
            states = torch.cat([states, clean.states[index][:, start:]])
        # Variants are in order of k: those past their window come first.
        past_window = sum(k + reach <= index for k in joined) * clean.rows
        done, key_values = states[:past_window], []
        if past_window:
            done, attended = replay.block(index, done)
            key_values.append(attended)
        skipping = states[past_window:]
        if len(skipping):
            skipping = replay.block_without_attention(index, skipping)
        states = torch.cat([done, skipping])
        if keep:
            key_values.append(clean.key_values[index].tiled(len(layers) - len(joined)))
            caches.append(stack_rows(key_values))
    return Swept(states[:, -1], caches if keep else None)


def _staircase(
    replay: Replay,
    clean: CleanRun,
    layers: Sequence[int],
    start: int,
    shared: int,
    join: Callable[[int], Tensor],
    held: Tensor | None,
    keep: bool,
) -> Swept:
    """Walk the blocks once; rows of variant k join at block k.

    Args:
        replay: The decoder's blocks.
        clean: The clean run of the prompts.
        layers: Layers k in ascending order.
        start: First position that is recomputed; earlier ones keep their clean keys and values.
        shared: Positions `start` to `shared - 1` are the same for all prompts of a variant.
        join: Input states of block k for the positions from `start` on.
        held: Positions, counted from `start`, that are put back to X^k before every block.
        keep: Whether to return every block's keys and values.
    """
    n_layers, rows = replay.decoder.n_layers, clean.rows
    whole = clean.states[0][:0, start:]
    prefix, states, anchor = whole[:, : shared - start], whole[:, shared - start :], whole
    caches = []
    for index in range(n_layers):
        if index in layers:
            joining = join(index)
            prefix = torch.cat([prefix, joining[:1, : shared - start]])
            states = torch.cat([states, joining[:, shared - start :]])
            anchor = torch.cat([anchor, joining]) if held is not None else anchor
        variants = sum(k <= index for k in layers)
        if held is not None:
            states = states.index_copy(1, held, anchor[:, held])
        parts = []
        if variants:
            before = clean.key_values[index].slots(0, start)
            if shared > start:
                prefix, past = replay.block(
                    index, prefix, before.select(slice(0, 1)).tiled(variants)
                )
                past = past.repeated(rows)
            else:
                past = before.tiled(variants)
            if index == n_layers - 1 and not keep and states.shape[1] > 1:
                # Above the last block only the current token is read.
                previous = replay.key_values(index, states[:, :-1], shared)
                states, _ = replay.block(index, states[:, -1:], past.followed_by(previous))
            else:
                states, key_values = replay.block(index, states, past)
                parts.append(key_values)
        if keep:
            parts.append(clean.key_values[index].tiled(len(layers) - variants))
            caches.append(stack_rows(parts))
    return Swept(states[:, -1], caches if keep else None)


def _frozen_key_values(
    replay: Replay, clean: CleanRun, layers: Sequence[int], start: int, keep: bool
) -> Swept:
    last, rows = clean.length - 1, clean.rows
    shared = max(start, min(clean.shared, last))
    frozen_prefix = clean.states[0][:0, start:shared]
    frozen, current = clean.states[0][:0, shared:last], clean.states[0][:0, last:]
    caches = []
    for index in range(replay.decoder.n_layers):
        if index in layers:
            states = clean.states[index]
            frozen_prefix = torch.cat([frozen_prefix, states[:1, start:shared]])
            frozen = torch.cat([frozen, states[:, shared:last]])
            current = torch.cat([current, states[:, last:]])
        variants = sum(k <= index for k in layers)
        parts = []
        if variants:
            past = clean.key_values[index].slots(0, start).tiled(variants)
            if shared > start:
                prefix = replay.key_values(index, frozen_prefix, start)
                past = past.followed_by(prefix.repeated(rows))
            if last > shared:
                past = past.followed_by(replay.key_values(index, frozen, shared))
            current, key_values = replay.block(index, current, past)
            parts.append(key_values)
        if keep:
            parts.append(clean.key_values[index].tiled(len(layers) - variants))
            caches.append(stack_rows(parts))
    return Swept(current[:, -1], caches if keep else None)


def _first(positions: Positions, length: int) -> int:
    """The first manipulated previous position, or the current one when there is none."""
    return next(iter(positions.of(0, length - 1)), length - 1)
