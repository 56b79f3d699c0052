"""Scores put to the test: against exact effects, and by what their best units carry.

A ranking is made on one half of a relation's facts and judged on the other (papers/attribution,
section 3.5): ranked and judged on the same facts, any method looks better than it is.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from llm_anatomy.attribution.exact import exact_effects
from llm_anatomy.attribution.faithfulness import (
    SHARES,
    FaithfulnessCurve,
    faithfulness_curve,
)
from llm_anatomy.attribution.methods import UnitScoring, counterfactual, metric_of
from llm_anatomy.attribution.pairs import FactPair
from llm_anatomy.attribution.sites import Unit, sites_of
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import equal_length_batches
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.statistics.random import Purpose, keyed_generator

TOPS = (10, 100)


def effects_of_units(
    decoder: Decoder,
    pairs: Sequence[FactPair],
    units: Sequence[Unit],
    scoring: UnitScoring,
    batch_tokens: int,
) -> Float[Tensor, "facts units"]:
    """What the metric of every fact loses when one unit after the other is exchanged (noising).

    Of opposite sign to the effects, so that like `helpfulness` more is more help.
    """
    replay = Replay(decoder)
    sites = sites_of(units)
    losses = torch.empty(len(pairs), len(units), dtype=torch.float64)
    for row, pair in enumerate(pairs):
        others = scoring.exchanged_for or counterfactual(decoder, [pair], sites)
        losses[row] = -exact_effects(
            replay,
            torch.tensor(pair.tokens, device=decoder.device),
            metric_of([pair], scoring.contrast, decoder.device),
            units,
            {site: values[0] for site, values in others.items()},
            scoring.positions,
            batch_tokens,
        )
    return losses


def agreement(
    scores: Float[Tensor, "facts units"],
    losses: Float[Tensor, "facts units"],
    units: Sequence[Unit],
) -> list[dict[str, Any]]:
    """How scores agree with exact losses over the units: in all layers (-1) and in each.

    Both are means over the facts. Correlation by ranks, because three units decide Pearson's;
    recall of the exact best n, among at least 2 n units; share of units with an effect whose sign
    is right; and the slope of exact losses on scores, which ranks do not show.
    """
    estimated, exact = scores.mean(0).numpy(), losses.mean(0).numpy()
    layers = np.array([unit.site.layer for unit in units])
    rows = []
    for layer in (-1, *np.unique(layers).tolist()):
        chosen = np.full(len(units), True) if layer < 0 else layers == layer
        rows.append({"layer": layer} | _agreement(estimated[chosen], exact[chosen]))
    return rows


def _agreement(estimated: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    varies = len(exact) > 2 and np.ptp(exact) > 0 and np.ptp(estimated) > 0
    acting = exact != 0
    # Of little more than n units any score finds most of the best n.
    asked = [n for n in TOPS if 2 * n <= len(exact)]
    best = {n: set(np.argsort(-exact, kind="stable")[:n]) for n in asked}
    found = {n: set(np.argsort(-estimated, kind="stable")[:n]) for n in best}
    squares = float(estimated @ estimated)
    return {
        "units": len(exact),
        "spearman": float(spearmanr(estimated, exact).statistic) if varies else math.nan,
        "slope": float(estimated @ exact) / squares if squares else math.nan,
        "same_sign": float((np.sign(estimated) == np.sign(exact))[acting].mean())
        if acting.any()
        else math.nan,
    } | {f"recall_{n}": len(best[n] & found[n]) / n if n in best else math.nan for n in TOPS}


def random_ranking(units: Sequence[Unit], seed: int) -> list[Unit]:
    """All units in a random order: what any ranking must beat."""
    order = keyed_generator(seed, Purpose.RANDOM_RANKING).permutation(len(units))
    return [units[number] for number in order]


def measured_curve(
    decoder: Decoder,
    pairs: Sequence[FactPair],
    ranking: Sequence[Unit],
    scoring: UnitScoring,
    batch_tokens: int,
    shares: Sequence[float] = SHARES,
) -> FaithfulnessCurve:
    """The curve of a ranking over facts of any lengths.

    Raises:
        ValueError: There is no fact to judge it on.
    """
    if not pairs:
        raise ValueError("a curve needs at least one fact")
    sites = sites_of(ranking)
    parts: list[FaithfulnessCurve] = []
    rows: list[int] = []
    for batch in equal_length_batches([p.tokens for p in pairs], batch_tokens, decoder.device):
        chosen = [pairs[row] for row in batch.rows]
        others = scoring.exchanged_for or counterfactual(decoder, chosen, sites)
        metric = metric_of(chosen, scoring.contrast, decoder.device)
        parts.append(
            faithfulness_curve(
                decoder, batch.input_ids, metric, ranking, others, shares, batch_tokens
            )
        )
        rows += batch.rows
    back = torch.tensor(rows).argsort()
    keep, remove, whole, empty = (
        torch.cat([getattr(part, name) for part in parts])[back]
        for name in ("keep", "remove", "whole", "empty")
    )
    return FaithfulnessCurve(tuple(shares), keep, remove, whole, empty)
