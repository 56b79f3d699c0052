r"""How much of a behaviour the best units carry (papers/attribution, section 3).

    keep(k)   = (m(C_k) - m(0)) / (m(N) - m(0))        the k best units alone: sufficiency
    remove(k) = (m(N \ C_k) - m(0)) / (m(N) - m(0))   all but the k best: necessity, low is good

m is the mean of the metric over the facts, taken before the ratio; m(N) the clean model, m(0) the
model with every unit exchanged. Nothing is clipped.

    CPR = ∫ f dk        CMD = ∫ |1 - f| dk        trapezoids over the nominal share k, from SHARES
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llm_anatomy.attribution.metric import Metric, last_logits
from llm_anatomy.attribution.sites import Site, Unit, at_sites
from llm_anatomy.model.parts.architecture import Decoder

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
Side = Literal["keep", "remove"]


@dataclass(frozen=True)
class FaithfulnessCurve:
    """The metric of every fact with units kept and removed.

    Attributes:
        shares: Share k of the units, ascending.
        keep: With the k best units alone.
        remove: Without them.
        whole: Of the clean model, m(N).
        empty: With every unit exchanged, m(0).
    """

    shares: tuple[float, ...]
    keep: Float[Tensor, "facts shares"]
    remove: Float[Tensor, "facts shares"]
    whole: Float[Tensor, " facts"]
    empty: Float[Tensor, " facts"]

    def faithfulness(
        self, side: Side, facts: Int[Tensor, "*resamples chosen"] | None = None
    ) -> Float[Tensor, "*resamples shares"]:
        """keep(k) or remove(k) over all facts, or over some (a resample names facts repeatedly)."""
        chosen = torch.arange(len(self.whole)) if facts is None else facts
        metric = (self.keep if side == "keep" else self.remove)[chosen].mean(-2)
        whole, empty = (m[chosen].mean(-1, keepdim=True) for m in (self.whole, self.empty))
        return (metric - empty) / (whole - empty)


def faithfulness_curve(
    decoder: Decoder,
    prompts: Int[Tensor, "facts tokens"],
    metric: Metric,
    ranking: Sequence[Unit],
    others: Mapping[Site, Float[Tensor, "#facts #tokens _"]],
    shares: Sequence[float] = SHARES,
    budget: int = 2048,
) -> FaithfulnessCurve:
    """Measure the model with the best units alone, and without them, for growing numbers of units.

    Units are exchanged at every position.

    Args:
        decoder: The model.
        prompts: Prompts of one length.
        metric: What is measured.
        ranking: All units of some sites, best first.
        others: What each site's activations are exchanged for.
        shares: Shares k; floor(k n) units are kept, or removed.
        budget: Most tokens in one pass.
    """
    # Rounding must not take a unit away: 0.29 of 100 is 28.999…
    counts = [math.floor(share * len(ranking) + 1e-9) for share in shares]
    places = _places(ranking, others)
    # With none and with all kept there is nothing to run that is not run anyway.
    between = sorted(set(counts) - {0, len(ranking)})
    # Rows of a fact: the clean model, the empty one, then k kept and k removed of every count.
    n_rows = 2 + 2 * len(between)
    size = max(1, budget // (n_rows * prompts.shape[1]))
    parts = []
    for first in range(0, len(prompts), size):
        facts = torch.arange(first, min(first + size, len(prompts)), device=prompts.device)
        parts.append(_measured(decoder, prompts, metric, facts, places, between, others))
    values = torch.cat(parts).cpu()
    rows = {0: (1, 0), len(ranking): (0, 1)} | {
        count: (2 + place, 2 + len(between) + place) for place, count in enumerate(between)
    }
    keep, remove = (values[:, [rows[count][side] for count in counts]] for side in (0, 1))
    return FaithfulnessCurve(tuple(shares), keep, remove, values[:, 0], values[:, 1])


def area(
    shares: Sequence[float], faithfulness: Float[Tensor, "*curves shares"]
) -> Float[Tensor, "*curves"]:
    """CPR: the integral of faithfulness over the share of units, by trapezoids."""
    return torch.trapezoid(faithfulness, torch.tensor(shares, dtype=faithfulness.dtype))


def distance(
    shares: Sequence[float], faithfulness: Float[Tensor, "*curves shares"]
) -> Float[Tensor, "*curves"]:
    """CMD: the integral of |1 - f| over the share of units, by trapezoids."""
    return area(shares, (1 - faithfulness).abs())


def _places(
    ranking: Sequence[Unit], others: Mapping[Site, Tensor]
) -> dict[Site, Int[Tensor, " width"]]:
    """Of every entry of a site its unit's place in the ranking, from 0."""
    places = {site: torch.full((other.shape[-1],), -1) for site, other in others.items()}
    for place, unit in enumerate(ranking):
        places[unit.site][unit.entries] = place
    if any(bool((found < 0).any()) for found in places.values()):
        raise ValueError("a ranking names every unit of its sites")
    return places


def _measured(
    decoder: Decoder,
    prompts: Int[Tensor, "facts tokens"],
    metric: Metric,
    facts: Int[Tensor, " chosen"],
    places: Mapping[Site, Int[Tensor, " width"]],
    counts: Sequence[int],
    others: Mapping[Site, Float[Tensor, "#facts #tokens _"]],
) -> Float[Tensor, "chosen rows"]:
    rows = facts.repeat_interleave(2 + 2 * len(counts))

    def exchange(site: Site, activations: Tensor) -> Tensor:
        kept = _kept(places[site], counts).repeat(len(facts), 1)[:, None].to(activations.device)
        other = others[site]
        other = other[rows] if len(other) > 1 else other
        return torch.where(kept, activations, other.to(activations))

    with torch.no_grad(), at_sites(decoder, others, len(rows), exchange):
        logits = last_logits(decoder, prompts[rows])
    measured = metric.rows(rows).of_logits(logits).double()
    return measured.view(len(facts), -1)


def _kept(places: Int[Tensor, " width"], counts: Sequence[int]) -> Bool[Tensor, "rows width"]:
    """Which units keep their activations, in each row of a fact."""
    every, none = (
        torch.ones_like(places, dtype=torch.bool),
        torch.zeros_like(places, dtype=torch.bool),
    )
    best = [places < count for count in counts]
    return torch.stack([every, none, *best, *(~kept for kept in best)])
