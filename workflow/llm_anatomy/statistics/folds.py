"""Rankings inside folds: scores of two folds come from two classifiers and share no scale."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def average_over_folds(
    values: Float[ndarray, "folds *shape"], pairs: Float[ndarray, "folds *shape"]
) -> Float[ndarray, "*shape"]:
    """Mean of a ranking metric over folds, weighted by their pairs of a positive and a negative.

    Of ROC-AUC that is the share of pairs inside a fold which are in the right order. Across folds
    nothing is compared: folds that chose another penalty have scores of another spread, and pooled
    they rank worse than any of them.

    Args:
        values: The metric in every fold; what a fold without a pair says is not looked at.
        pairs: Positives times negatives of every fold.

    Returns:
        The mean; NaN where no fold has a pair.
    """
    known = np.where(pairs > 0, values, 0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray((known * pairs).sum(axis=0) / pairs.sum(axis=0))
