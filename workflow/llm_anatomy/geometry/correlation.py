"""How intrinsic dimension goes with another variable over prompts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy import stats

from llm_anatomy.tables.geometry import PROMPT_CORRELATIONS

FEWEST = 4


@dataclass(frozen=True)
class Correlation:
    """Correlations over prompts; None where one side is constant or there are too few prompts."""

    n: int
    pearson: float | None
    spearman: float | None
    partial: float | None


def correlation_frame(
    prompts: pd.DataFrame, dimension: pd.DataFrame, outcomes: pd.DataFrame
) -> pd.DataFrame:
    """How the dimension of every layer goes with what is known of a prompt and of its answer.

    Args:
        prompts: Rows of `PROMPTS`.
        dimension: Rows of `PROMPT_DIMENSION`.
        outcomes: Rows of `PROMPT_OUTCOMES`.

    Returns:
        Rows of `PROMPT_CORRELATIONS`.
    """
    variables = prompts.set_index("prompt_id")[["format", "context_length"]].assign(
        related=(prompts["condition"] == "related").to_numpy().astype(float)
    )
    scores = outcomes.pivot(index="prompt_id", columns="outcome", values="score")
    merged = dimension.merge(variables.join(scores), left_on="prompt_id", right_index=True)
    rows: list[dict[str, Any]] = []
    for (form, threshold, layer), part in merged.groupby(["format", "threshold", "layer"]):
        length = part["context_length"].to_numpy(float)
        for name in ["context_length", "related", *scores.columns]:
            result = correlate(
                part["dimension"].to_numpy(float), part[name].to_numpy(float), length
            )
            rows.append(
                {
                    "format": form,
                    "threshold": threshold,
                    "layer": layer,
                    "variable": name,
                    **vars(result),
                }
            )
    return PROMPT_CORRELATIONS.frame(rows)


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
