"""Do the decoded words activate the neuron? Decoded tokens against tokens on which it fires.

A position counts by the token that stands there and by the token that comes next. First positions
are left out, because every neuron has its largest values on them whatever the token is; last
positions have no next token and are left out too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from llm_anatomy.config.neurons import Matrix
from llm_anatomy.model.parts.architecture import Block, Decoder
from llm_anatomy.model.parts.projection import Projection
from llm_anatomy.model.run.batching import equal_length_batches
from llm_anatomy.model.run.hooks import hooked

# A row's value is what it computes; a column's is what it is scaled by.
Places = Mapping[tuple[int, Matrix], Sequence[int]]
CONTEXT = 6


@dataclass(frozen=True)
class Recorded:
    """Values of sampled neurons at the counted positions of texts.

    Attributes:
        values: Per (layer, matrix), [positions, neurons].
        here: Token at every position.
        next: Token after it.
        place: Text and position within it.
    """

    values: dict[tuple[int, Matrix], Float[Tensor, "positions neurons"]]
    here: np.ndarray
    next: np.ndarray
    place: list[tuple[int, int]]


@torch.no_grad()
def record(decoder: Decoder, ids: Sequence[Sequence[int]], places: Places, budget: int) -> Recorded:
    """Run texts and keep the sampled neurons' values at the counted positions."""
    kept: dict[tuple[int, Matrix], list[Tensor]] = {key: [] for key in places}
    positions: list[tuple[int, int]] = []
    for batch in equal_length_batches(ids, budget, device=decoder.device):
        counted = batch.mask.clone()
        counted[:, 0] = False
        counted[torch.arange(len(batch.rows)), batch.last] = False
        forward: dict[nn.Module, Any] = {}
        pre: dict[nn.Module, Any] = {}
        for block in decoder.blocks:
            _watch(block, places, kept, counted, forward, pre)
        with hooked(forward=forward, pre=pre):
            decoder.body(input_ids=batch.input_ids, use_cache=False)
        for row, position in counted.nonzero().tolist():
            positions.append((batch.rows[row], position))
    return Recorded(
        values={key: torch.cat(values) for key, values in kept.items()},
        here=np.array([ids[text][position] for text, position in positions]),
        next=np.array([ids[text][position + 1] for text, position in positions]),
        place=positions,
    )


def _watch(
    block: Block,
    places: Places,
    kept: dict[tuple[int, Matrix], list[Tensor]],
    counted: Tensor,
    forward: dict[nn.Module, Any],
    pre: dict[nn.Module, Any],
) -> None:
    asked: dict[Matrix, Projection | None] = {"up": block.up, "gate": block.gate}
    rows = {m: p for m, p in asked.items() if p is not None and (block.index, m) in places}

    def keep(matrix: Matrix, values: Tensor) -> None:
        chosen = values.reshape(*counted.shape, -1)[counted][:, list(places[block.index, matrix])]
        kept[block.index, matrix].append(chosen.float().cpu())

    def outputs(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        for matrix, projection in rows.items():
            if projection.module is module:
                keep(matrix, projection.select(output))

    def inputs(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep("down", args[0])

    for projection in rows.values():
        forward[projection.module] = outputs
    if (block.index, "down") in places:
        pre[block.down.module] = inputs


def overlap(
    recorded: Recorded,
    values: Float[Tensor, " positions"],
    decoded: Sequence[int],
    top: int,
) -> dict[str, Any]:
    """Share of a neuron's strongest positions whose token is among its decoded tokens.

    Args:
        recorded: The positions.
        values: The neuron's values there, times the sign.
        decoded: Its decoded tokens of that sign.
        top: How many positions count as firing.
    """
    strongest = values.topk(min(top, len(values))).indices.numpy()
    here, following = np.isin(recorded.here, decoded), np.isin(recorded.next, decoded)
    return {
        "positions": len(strongest),
        "here": float(here[strongest].mean()),
        "next": float(following[strongest].mean()),
        "here_chance": float(here.mean()),
        "next_chance": float(following.mean()),
        "mean": float(values[strongest].mean()),
        "best": recorded.place[int(strongest[0])],
    }


def in_context(ids: Sequence[int], position: int, texts: Sequence[str | None]) -> str:
    """The words around a position, its own token in brackets."""
    words = [texts[token] or "" if token < len(texts) else "" for token in ids]
    before = "".join(words[max(0, position - CONTEXT) : position])
    after = "".join(words[position + 1 : position + 1 + CONTEXT])
    return f"{before}[{words[position]}]{after}"
