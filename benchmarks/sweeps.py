"""Layer sweeps for the benchmarks: the naive pass per layer, and the product's shared one."""

from collections.abc import Callable, Sequence

import torch
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.patching import reference
from llm_anatomy.patching.clean import clean_run
from llm_anatomy.patching.fast import sweep_edit, sweep_freeze, sweep_skip
from llm_anatomy.patching.manipulations import Positions, RandomEdit, SwitchEdit
from torch import Tensor

Naive = Callable[[int], Tensor]
Fast = Callable[[], Tensor]


def sweep_ways(replay: Replay, tokens: Tensor) -> dict[str, tuple[Naive, Fast]]:
    """For every manipulation: logits of the first example at layer k, and of all at all layers.

    The clean run and, for the switch, the donors' clean runs count as part of the fast sweep.
    """
    decoder, layers = replay.decoder, range(replay.decoder.n_layers)
    count, positions = len(tokens), Positions()
    names = tuple(str(row) for row in range(count))
    donors = tokens.roll(1, dims=0)
    # The token that differs between the prompts is the subject.
    place = int((tokens != donors).any(dim=0).nonzero()[0])
    one = tokens[:1]
    given = reference.donor_states(decoder, donors[:1], (place, place + 1))

    def edit(kind: str, rows: int) -> RandomEdit:
        return RandomEdit(kind, 0, names[:rows], positions)

    def switch() -> Tensor:
        states = torch.stack(clean_run(replay, donors).states[:-1])[:, :, place : place + 1]
        swept = sweep_edit(replay, clean_run(replay, tokens), layers, SwitchEdit(states, place))
        return swept.final

    def random(kind: str) -> tuple[Naive, Fast]:
        return (
            lambda k: reference.edited_logits(decoder, one, k, edit(kind, 1)),
            lambda: sweep_edit(replay, clean_run(replay, tokens), layers, edit(kind, count)).final,
        )

    ways: dict[str, tuple[Naive, Fast]] = {
        "switch": (
            lambda k: reference.edited_logits(decoder, one, k, SwitchEdit(given, place)),
            switch,
        ),
        "freeze": (
            lambda k: reference.frozen_logits(decoder, one, k, positions),
            lambda: sweep_freeze(replay, clean_run(replay, tokens), layers, positions).final,
        ),
        "skip": (
            lambda k: reference.skipped_logits(decoder, one, k, None),
            lambda: sweep_skip(replay, clean_run(replay, tokens), layers, None).final,
        ),
        "noise": random("noise"),
        "shuffle": random("shuffle"),
    }
    return {name: (naive, _with_logits(replay, fast)) for name, (naive, fast) in ways.items()}


def naive_sweep(naive: Naive, layers: Sequence[int]) -> Tensor:
    """Logits of some layers, one full pass each [layers, vocab]."""
    return torch.cat([naive(k) for k in layers])


def _with_logits(replay: Replay, fast: Fast) -> Fast:
    return lambda: unembedding_of(replay.decoder).logits(fast())
