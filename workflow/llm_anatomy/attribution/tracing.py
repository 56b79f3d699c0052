"""Causal tracing: what one clean state restores in a corrupted run (papers/attribution, section 4).

    TE = m(clean) - m(corrupted)            IE(state) = m(corrupted, state clean) - m(corrupted)

Corrupted is the input of the first block: Gaussian noise on the subject's positions, or the
counterfactual prompt. Restored is, at one position, the state behind a layer, or what attention or
the FFN adds in a window of layers, [l - (w - 1) // 2, l + w // 2] cut at the ends.

Blocks below the first one that changes are not run again, nor are positions before the first
corrupted one, whose keys and values no run changes. Every restored position is a row of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.attribution.sites import Activations, Site, SiteKind, at_sites
from llm_anatomy.config.attribution import Restored
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import KeyValues, Replay

SITES: dict[Restored, SiteKind] = {"attention": "attention_output", "ffn": "ffn_output"}


class TracedRun(NamedTuple):
    """One run of a batch of prompts of one length.

    Attributes:
        states: Input of every block, then the state behind the last.
        pasts: Keys and values of every block.
        added: What attention and the FFN of every layer add.
    """

    states: list[Float[Tensor, "rows tokens d_model"]]
    pasts: list[KeyValues]
    added: Activations

    @property
    def end(self) -> Float[Tensor, "rows d_model"]:
        """The state behind the last block at the last position."""
        return self.states[-1][:, -1]


@torch.no_grad()
def run_from(replay: Replay, start: Float[Tensor, "rows tokens d_model"]) -> TracedRun:
    """Run every block on given inputs of the first one."""
    added: Activations = {}

    def keep(site: Site, activations: Tensor) -> None:
        # A copy: Falcon adds attention's output to the MLP's in place.
        added[site] = activations.clone()

    layers = range(replay.decoder.n_layers)
    sites = [Site(kind, layer) for layer in layers for kind in SITES.values()]
    states, pasts = [start], []
    with at_sites(replay.decoder, sites, len(start), keep):
        for layer in layers:
            state, past = replay.block(layer, states[-1])
            states.append(state)
            pasts.append(past)
    return TracedRun(states, pasts, added)


@torch.no_grad()
def restored_ends(
    replay: Replay,
    clean: TracedRun,
    corrupted: TracedRun,
    first: int,
    restored: Restored,
    layer: int,
    window: int = 1,
) -> Float[Tensor, "rows positions d_model"]:
    """Final states of the last position, with one position after the other restored.

    Args:
        replay: The decoder's blocks.
        clean: The clean runs of some prompts.
        corrupted: Their corrupted runs.
        first: First corrupted position of all; positions from there on are restored.
        restored: What is restored.
        layer: Behind which layer, or in the middle of which window.
        window: Layers whose attention or FFN is restored together.
    """
    rows, tokens = corrupted.states[0].shape[:2]
    positions = tokens - first
    copies = torch.arange(rows * positions, device=corrupted.states[0].device)
    row, place = copies // positions, copies % positions
    if restored == "state":
        begin, last = layer + 1, layer
        states = corrupted.states[begin][row, first:]
        states[copies, place] = clean.states[begin][row, first + place]
    else:
        depth = replay.decoder.n_layers
        begin, last = max(0, layer - (window - 1) // 2), min(depth - 1, layer + window // 2)
        states = corrupted.states[begin][row, first:]

    def restore(site: Site, activations: Tensor) -> Tensor:
        changed = activations.clone()
        changed[copies, place] = clean.added[site][row, first + place].to(changed)
        return changed

    for index in range(begin, replay.decoder.n_layers):
        past = corrupted.pasts[index].slots(0, first).repeated(positions) if first else None
        sites = [Site(SITES[restored], index)] if index <= last else []
        with at_sites(replay.decoder, sites, len(copies), restore):
            states, _ = replay.block(index, states, past)
    ends: Tensor = states[:, -1].unflatten(0, (rows, positions))
    return ends


def scores_of(
    replay: Replay,
    ends: Float[Tensor, "rows *copies d_model"],
    answers: Sequence[int],
    rivals: Sequence[int | None],
) -> tuple[Float[Tensor, "rows *copies"], Float[Tensor, "rows *copies"]]:
    """Probability of each row's answer, and its logit over the rival's (NaN without one)."""
    logits = unembedding_of(replay.decoder).logits(ends).double()
    shape = (-1, *[1] * (ends.ndim - 1))

    def of(tokens: Sequence[int]) -> Tensor:
        chosen = torch.tensor(tokens, device=logits.device).view(shape)
        return logits.gather(-1, chosen.expand(*logits.shape[:-1], 1))[..., 0]

    own = of(answers)
    known = torch.tensor([rival is not None for rival in rivals], device=logits.device)
    over = own - of([0 if rival is None else rival for rival in rivals])
    contrast = torch.where(known.view(shape[:-1]), over, torch.nan)
    return (own - logits.logsumexp(-1)).exp(), contrast
