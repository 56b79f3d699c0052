"""How intrinsic dimension goes with another variable over prompts."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import stats

FEWEST = 4


@dataclass(frozen=True)
class Correlation:
    """Correlations over prompts; None where one side is constant or there are too few prompts."""

    n: int
    pearson: float | None
    spearman: float | None
    partial: float | None


def correlate(
    dimension: Float[ndarray, " prompts"],
    variable: Float[ndarray, " prompts"],
    context_length: Float[ndarray, " prompts"],
) -> Correlation:
    """Pearson, Spearman, and Pearson with context length held fixed.

    The partial correlation is Pearson's between what a straight line in context length leaves of
    both; it tells a link with the topic from a link with length.
    """
    n = len(dimension)
    if n < FEWEST or _constant(dimension) or _constant(variable):
        return Correlation(n, None, None, None)
    x, y = _residuals(dimension, context_length), _residuals(variable, context_length)
    scale = max(np.abs(variable).max(), 1.0)
    partial = None
    if np.abs(y).max() > 1e-9 * scale and not _constant(x):
        partial = float(stats.pearsonr(x, y).statistic)
    return Correlation(
        n,
        float(stats.pearsonr(dimension, variable).statistic),
        float(stats.spearmanr(dimension, variable).statistic),
        partial,
    )


def _residuals(
    values: Float[ndarray, " prompts"], context_length: Float[ndarray, " prompts"]
) -> Float[ndarray, " prompts"]:
    design = np.column_stack([np.ones_like(context_length), context_length])
    solution, *_ = np.linalg.lstsq(design, values, rcond=None)
    residuals: ndarray = values - design @ solution
    return residuals


def _constant(values: Float[ndarray, " prompts"]) -> bool:
    return bool(np.ptp(values) == 0)
