"""The truth that scores are compared with: single units exchanged, and all else recomputed.

Noising    I(u) = m(x | do(a <- a')) - m(x)        (papers/attribution, section 1.2)

Blocks below a unit's are not run again. Where the exchange is at the last position alone, neither
are the other positions: in a causal model their keys and values stay the clean run's.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.attribution.metric import Metric, last_logits
from llm_anatomy.attribution.sites import Site, Unit, at_sites
from llm_anatomy.config.attribution import Positions
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import KeyValues, Replay


def exact_effects(
    replay: Replay,
    tokens: Int[Tensor, " tokens"],
    metric: Metric,
    units: Sequence[Unit],
    others: Mapping[Site, Float[Tensor, "#tokens _"]],
    positions: Positions = "all",
    budget: int = 2048,
) -> Float[Tensor, " units"]:
    """What the metric changes by when one unit after the other is exchanged, many in a batch.

    Args:
        replay: The decoder's blocks.
        tokens: One prompt.
        metric: What is measured, of that prompt alone.
        units: The units.
        others: What each site's activations are exchanged for.
        positions: Positions at which they are exchanged.
        budget: Most tokens in one call of a block.
    """
    n_tokens = len(tokens)
    start = n_tokens - 1 if positions == "last" else 0
    size = max(1, budget // (n_tokens - start))
    effects = torch.empty(len(units), dtype=torch.float64)
    with torch.no_grad():
        states, pasts, final = _clean(replay, tokens)
        clean = metric.of_logits(_logits(replay, final[:, -1])).double()
        by_layer: dict[int, list[int]] = {}
        for number, unit in enumerate(units):
            by_layer.setdefault(unit.site.layer, []).append(number)
        for layer, numbers in by_layer.items():
            for first in range(0, len(numbers), size):
                chosen = numbers[first : first + size]
                batch = [units[number] for number in chosen]
                ends = _run_from(replay, layer, states[layer], pasts, batch, others, start)
                copies = metric.rows(torch.zeros(len(batch), dtype=torch.long, device=ends.device))
                effects[chosen] = (copies.of_logits(_logits(replay, ends)).double() - clean).cpu()
    return effects


def exact_effect_by_definition(
    decoder: Decoder,
    tokens: Int[Tensor, " tokens"],
    metric: Metric,
    unit: Unit,
    others: Mapping[Site, Float[Tensor, "#tokens _"]],
    positions: Positions = "all",
) -> float:
    """The same by one whole forward pass with the unit exchanged, for models without `Replay`."""
    where = slice(-1, None) if positions == "last" else slice(None)

    def exchange(site: Site, activations: Tensor) -> Tensor:
        changed = activations.clone()
        other = others[site].expand(activations.shape[1:]).to(changed)
        changed[:, where, unit.entries] = other[where, unit.entries]
        return changed

    with torch.no_grad():
        clean = metric.of_logits(last_logits(decoder, tokens[None])).double()
        with at_sites(decoder, [unit.site], 1, exchange):
            changed = metric.of_logits(last_logits(decoder, tokens[None])).double()
    return float(changed - clean)


def _clean(
    replay: Replay, tokens: Int[Tensor, " tokens"]
) -> tuple[list[Tensor], list[KeyValues], Tensor]:
    """Input, and keys and values, of every block; and the state behind the last."""
    state = replay.embed(tokens[None])
    states, pasts = [], []
    for layer in range(replay.decoder.n_layers):
        states.append(state)
        state, past = replay.block(layer, state)
        pasts.append(past)
    return states, pasts, state


def _run_from(
    replay: Replay,
    layer: int,
    clean: Float[Tensor, "1 tokens d_model"],
    pasts: Sequence[KeyValues],
    units: Sequence[Unit],
    others: Mapping[Site, Float[Tensor, "#tokens _"]],
    start: int,
) -> Float[Tensor, "units d_model"]:
    """Final states of the last position, from a layer on, one row for each unit exchanged in it."""
    rows = len(units)

    def exchange(site: Site, activations: Tensor) -> Tensor:
        changed = activations.clone()
        # Of the clean prompt's length: what a site is exchanged for has all positions, or one.
        other = others[site].expand(clean.shape[1], -1)[start:].to(changed)
        for row, unit in enumerate(units):
            if unit.site == site:
                changed[row, :, unit.entries] = other[:, unit.entries]
        return changed

    states = clean[:, start:].expand(rows, -1, -1)
    sites = {unit.site for unit in units}
    for index in range(layer, replay.decoder.n_layers):
        past = pasts[index].slots(0, start).tiled(rows) if start else None
        if index == layer:
            with at_sites(replay.decoder, sites, rows, exchange):
                states, _ = replay.block(index, states, past)
        else:
            states, _ = replay.block(index, states, past)
    return states[:, -1]


def _logits(replay: Replay, states: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
    decoder = replay.decoder
    return unembedding_of(decoder).differentiable(decoder.final_norm.module(states))
