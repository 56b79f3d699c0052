"""Intervals: percentile bootstrap for statistics, Wilson and exact ones for shares."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import beta, binomtest

CONFIDENCE = 0.95
# The elements of one chunk of resampling weights.
CHUNK_ELEMENTS = 1 << 20

# Groups of items, each group one array per variable with one entry per item.
Groups: TypeAlias = Sequence[tuple[ndarray, ...]]


def lies_above(low: float, high: float, bound: float) -> bool | None:
    """Whether an interval lies above a bound: wholly, not at all, or undecided (None)."""
    if low > bound:
        return True
    return False if high <= bound else None


def lies_within(
    low: float, high: float, first: float = -np.inf, last: float = np.inf
) -> bool | None:
    """Whether an interval lies in a closed range: wholly, not at all, or undecided (None)."""
    if first <= low and high <= last:
        return True
    return False if high < first or low > last else None


def percentile_interval(
    resampled: Float[ndarray, "resamples *shape"], confidence: float = CONFIDENCE
) -> Float[ndarray, "2 *shape"]:
    """Lower and upper percentiles of a statistic's bootstrap values.

    Values that are not numbers, of resamples in which the statistic is undefined, are left out;
    without any value both ends are NaN.
    """
    if not len(resampled):
        return np.full((2, *resampled.shape[1:]), np.nan)
    tail = (1 - confidence) / 2
    ends: ndarray = np.nanquantile(resampled, [tail, 1 - tail], axis=0)
    return ends


def bootstrap_interval(
    groups: Groups,
    statistic: Callable[[Groups], float],
    generator: np.random.Generator,
    resamples: int,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Percentile bootstrap interval of any statistic; items are drawn anew within each group.

    Args:
        groups: The items, such as one group per relation with one array per variable.
        statistic: What is computed of the groups; NaN where it is undefined.
        generator: Where the draws come from.
        resamples: How often items are drawn.
        confidence: Of the interval.
    """
    drawn = []
    for _ in range(resamples):
        rows = [generator.integers(len(arrays[0]), size=len(arrays[0])) for arrays in groups]
        drawn.append(
            statistic(
                [
                    tuple(array[own] for array in arrays)
                    for arrays, own in zip(groups, rows, strict=True)
                ]
            )
        )
    low, high = percentile_interval(np.array(drawn, dtype=float), confidence)
    return float(low), float(high)


def bootstrap_weights(
    clusters: Int[ndarray, " items"], resamples: int, generator: np.random.Generator
) -> Iterator[Float[ndarray, "some items"]]:
    """How often each item is drawn, some resamples at a time.

    Items of one cluster are drawn together: as many clusters as there are, with replacement.
    """
    _, member = np.unique(clusters, return_inverse=True)
    count = int(member.max()) + 1
    step = max(1, CHUNK_ELEMENTS // len(clusters))
    for first in range(0, resamples, step):
        rows = range(first, min(first + step, resamples))
        drawn = [np.bincount(generator.integers(count, size=count), minlength=count) for _ in rows]
        yield np.stack(drawn)[:, member].astype(np.float64)


def wilson_interval(
    successes: int, count: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Wilson's score interval of a share; NaN of no trials."""
    return _share_interval(successes, count, confidence, "wilson")


def exact_interval(
    successes: int, count: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share; NaN of no trials."""
    return _share_interval(successes, count, confidence, "exact")


def exact_interval_of_sets(
    share: float, sets: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share of items that come in sets; NaN of no sets.

    Items of one set, such as copies or answers to one prompt, are no trials of their own: there are
    as many trials as sets, of which `share * sets` succeed, which need not be a whole number. With
    one item in each set it is `exact_interval`. The ends are quantiles of beta distributions
    (Korn and Graubard 1998, Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data, with the number of sets as the effective size).

    Args:
        share: Share of all items.
        sets: Number of sets that they make.
        confidence: Of the interval.
    """
    if not sets:
        return float("nan"), float("nan")
    tail, successes = (1 - confidence) / 2, share * sets
    low = beta.ppf(tail, successes, sets - successes + 1) if share > 0 else 0.0
    high = beta.ppf(1 - tail, successes + 1, sets - successes) if share < 1 else 1.0
    return float(low), float(high)


def _share_interval(
    successes: int, count: int, confidence: float, method: str
) -> tuple[float, float]:
    if not count:
        return float("nan"), float("nan")
    ends = binomtest(successes, count).proportion_ci(confidence, method=method)
    return float(ends.low), float(ends.high)
