"""The best units by an exact score, found by an upper bound, with a certificate.

log p(w | x + v) is concave in v when logits are affine in the state, so
Imp(v) = log p(w | x + v) - log p(w | x) ≤ v · ∇log p(w | x): one mat-vec per layer bounds every
unit. Units are then evaluated exactly in the order of their bounds until the K-th best exact value
is at least the next bound.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Units evaluated at once: each time that the search looks on, and when every unit is evaluated.
STEP, CHUNK = 64, 256
# Least units evaluated beyond those that are wanted, before the first look at the next bound.
MARGIN = 8

Evaluate = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Best:
    """The units with the highest scores, best first, and how far the search went.

    Attributes:
        units: Their indices.
        values: Their exact scores.
        n_units: Number of units in all.
        evaluated: How many were evaluated exactly.
        next_bound: Highest bound among those never evaluated; -inf when none is left.
        certified: Whether no unit outside can be better: the K-th best value is at least
            `next_bound`.
    """

    units: Int[Tensor, " k"]
    values: Float[Tensor, " k"]
    n_units: int
    evaluated: int
    next_bound: float
    certified: bool


def certified_best(bounds: Float[Tensor, " units"], evaluate: Evaluate, count: int) -> Best:
    """The `count` units with the highest exact scores, evaluating as few as the bounds allow.

    Args:
        bounds: An upper bound of every unit's score.
        evaluate: Exact scores of the units whose indices it is given.
        count: How many units are wanted.
    """
    count = min(count, len(bounds))
    order = bounds.argsort(descending=True, stable=True)
    values = bounds.new_empty(0)
    done = 0
    while done < len(order):
        # The best `count` by their bounds are needed anyway, and mostly a few more decide.
        step = STEP if done else count + max(MARGIN, count // 4)
        values = torch.cat([values, evaluate(order[done : done + step])])
        done = len(values)
        if done >= count and (
            done == len(order) or values.topk(count).values[-1] >= bounds[order[done]]
        ):
            break
    return _best(order[:done], values, count, len(bounds), _next_bound(bounds, order, done))


def exhaustive_best(n_units: int, evaluate: Evaluate, count: int) -> Best:
    """The same by evaluating every unit: the reference of `certified_best`."""
    units = torch.arange(n_units)
    parts = [evaluate(part) for part in units.split(CHUNK)]
    values = torch.cat(parts) if parts else torch.zeros(0)
    return _best(units.to(values.device), values, min(count, n_units), n_units, -torch.inf)


def _next_bound(bounds: Tensor, order: Tensor, done: int) -> float:
    return float(bounds[order[done]]) if done < len(order) else -torch.inf


def _best(units: Tensor, values: Tensor, count: int, n_units: int, next_bound: float) -> Best:
    # Ties by unit number, whatever order the units were evaluated in.
    by_unit = units.argsort()
    units, values = units[by_unit], values[by_unit]
    best = values.argsort(descending=True, stable=True)[:count]
    kth = float(values[best[-1]]) if count else torch.inf
    return Best(units[best], values[best], n_units, len(values), next_bound, kth >= next_bound)
