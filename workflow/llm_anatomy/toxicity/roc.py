"""Receiver operating characteristics of out-of-fold scores, averaged over folds."""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn.metrics import roc_curve

from llm_anatomy.statistics.folds import average_over_folds

# False-positive rates at which curves are read.
GRID = np.linspace(0.0, 1.0, 201)


def mean_roc(
    scores: Float[ndarray, " texts"], truth: Bool[ndarray, " texts"], folds: Int[ndarray, " texts"]
) -> Float[ndarray, " rates"]:
    """True-positive rates at the false-positive rates of `GRID`.

    Scores of two folds share no scale: each fold has its own curve, and their mean is weighted by
    pairs of a positive and a negative, as the table's metrics are (`statistics/folds.py`), so that
    the area under it is the table's ROC-AUC up to the width of the grid.

    Args:
        scores: Higher means more likely positive.
        truth: The labels.
        folds: Test fold of every text.

    Returns:
        The curve; NaN where no fold has both classes.
    """
    curves, pairs = [], []
    for fold in np.unique(folds):
        own = folds == fold
        positives = int(truth[own].sum())
        pairs.append(positives * (int(own.sum()) - positives))
        if pairs[-1] == 0:
            curves.append(np.full_like(GRID, np.nan))
            continue
        false, true, _ = roc_curve(truth[own], scores[own], drop_intermediate=False)
        curves.append(np.interp(GRID, false, true))
    return average_over_folds(np.array(curves), np.array(pairs, dtype=float)[:, None])
