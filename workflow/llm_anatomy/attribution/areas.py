"""Faithfulness curves in numbers, with percentile bootstrap intervals over the facts.

All rankings of one kind of units are judged on the same facts and on the same resamples of them, so
that the difference of two areas has an interval of its own, much narrower than the areas' own.
"""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.attribution.faithfulness import FaithfulnessCurve, Side, area, distance
from llm_anatomy.statistics.intervals import percentile_interval
from llm_anatomy.statistics.random import Purpose, keyed_generator

# Share of the behaviour at which a set of units counts as enough.
ENOUGH = 0.8


def resampled_facts(n_facts: int, resamples: int, seed: int) -> Int[Tensor, "resamples facts"]:
    """Facts drawn with replacement, as many as there are, again and again."""
    generator = keyed_generator(seed, Purpose.FAITHFULNESS)
    return torch.from_numpy(generator.integers(n_facts, size=(resamples, n_facts)))


class JudgedCurve:
    """A curve, and what it would be on resampled facts.

    Args:
        curve: The curve.
        drawn: The resamples (`resampled_facts`), the same for curves that are compared.
    """

    def __init__(self, curve: FaithfulnessCurve, drawn: Int[Tensor, "resamples facts"]) -> None:
        self.curve = curve
        self.resampled: dict[Side, Float[Tensor, "resamples shares"]] = {
            side: curve.faithfulness(side, drawn) for side in get_args(Side)
        }

    def rows(self, key: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Faithfulness by share of units: rows of the table `attribution/faithfulness`."""
        rows = []
        for side, resampled in self.resampled.items():
            values = self.curve.faithfulness(side).tolist()
            low, high = percentile_interval(resampled.numpy())
            rows += [
                {
                    **key,
                    "side": side,
                    "share": share,
                    "faithfulness": value,
                    "low": float(low[column]),
                    "high": float(high[column]),
                    "facts": len(self.curve.whole),
                }
                for column, (share, value) in enumerate(zip(self.curve.shares, values, strict=True))
            ]
        return rows

    def areas(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """CPR and CMD, and the smallest share of units that is enough, with intervals."""
        values, shares = self.curve.faithfulness("keep"), self.curve.shares
        row: dict[str, Any] = dict(key)
        for name, measure in (("cpr", area), ("cmd", distance)):
            low, high = percentile_interval(measure(shares, self.resampled["keep"]).numpy())
            row |= {name: float(measure(shares, values))}
            row |= {f"{name}_low": float(low), f"{name}_high": float(high)}
        enough = [s for s, v in zip(shares, values.tolist(), strict=True) if v >= ENOUGH]
        return row | {"enough": min(enough, default=math.nan), "facts": len(self.curve.whole)}


def area_differences(
    judged: Mapping[str, JudgedCurve], key: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """CPR of every ranking less that of every later one, on the same resamples.

    Rows of the table `attribution/differences`.
    """
    areas = {
        method: (
            float(area(one.curve.shares, one.curve.faithfulness("keep"))),
            area(one.curve.shares, one.resampled["keep"]).numpy(),
        )
        for method, one in judged.items()
    }
    rows = []
    for method, other in combinations(areas, 2):
        (own, drawn), (against, also_drawn) = areas[method], areas[other]
        low, high = percentile_interval(np.asarray(drawn - also_drawn))
        rows.append(
            {
                **key,
                "method": method,
                "other": other,
                "difference": own - against,
                "low": float(low),
                "high": float(high),
                "facts": len(judged[method].curve.whole),
            }
        )
    return rows
