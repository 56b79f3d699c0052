"""Folds: classes in equal shares, texts that belong together on one side; rankings inside them."""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from llm_anatomy.statistics.random import Purpose, keyed_generator

Split = tuple[ndarray, ndarray]


def assign_folds(
    truth: Bool[ndarray, " labelled"],
    copies: Int[ndarray, " labelled"],
    n_folds: int,
    seed: int,
    purpose: Purpose,
) -> Int[ndarray, " labelled"]:
    """Fold in which each text is tested: classes in equal shares, sets of texts together.

    `copies` numbers the sets (`data.duplicates.kept_together`). They come in random order, larger
    ones first. Each goes to the fold that holds least of its classes: the least sum over classes
    of (set's texts) · (fold's texts) / (all texts).
    """
    _, member = np.unique(copies, return_inverse=True)
    sizes = np.stack([np.bincount(member[truth == v], minlength=member.max() + 1) for v in (0, 1)])
    rng = keyed_generator(seed, purpose)
    order = rng.permutation(sizes.shape[1])
    order = order[np.argsort(-sizes[:, order].sum(0), kind="stable")]
    totals = np.maximum(sizes.sum(1), 1)
    # Plain numbers: one small decision per set, far below the overhead of an array call.
    held = [[0.0, 0.0] for _ in range(n_folds)]
    fold_of = np.empty(sizes.shape[1], dtype=np.int64)
    for number, negatives, positives in zip(
        order.tolist(), *(sizes[:, order] / totals[:, None]).tolist(), strict=True
    ):
        fold = min(
            range(n_folds),
            key=lambda f: (held[f][0] * negatives + held[f][1] * positives, sum(held[f])),
        )
        held[fold][0] += negatives
        held[fold][1] += positives
        fold_of[number] = fold
    return fold_of[member]


def stratified_splits(
    truth: Bool[ndarray, " texts"],
    copies: Int[ndarray, " texts"],
    n_folds: int,
    seed: int,
    purpose: Purpose,
) -> list[Split]:
    """Seeded (train, test) positions with classes in equal shares and copies on one side."""
    folds = assign_folds(truth, copies, n_folds, seed, purpose)
    return [(np.flatnonzero(folds != f), np.flatnonzero(folds == f)) for f in range(n_folds)]


def inner_splits(
    truth: Bool[ndarray, " texts"], copies: Int[ndarray, " texts"], n_folds: int, seed: int
) -> list[Split]:
    """Splits of training texts for choosing a hyperparameter.

    Fewer than `n_folds` where a class is small, and none where it cannot be split at all.
    """
    sets = min(len(np.unique(copies[truth])), len(np.unique(copies[~truth])))
    possible = min(n_folds, sets)
    if possible < 2:
        return []
    splits = stratified_splits(truth, copies, possible, seed, Purpose.INNER_FOLDS)
    return [s for s in splits if all(_both(truth[part]) for part in s)]


def average_over_folds(
    values: Float[ndarray, "folds *shape"], pairs: Float[ndarray, "folds *shape"]
) -> Float[ndarray, "*shape"]:
    """Mean of a ranking metric over folds, weighted by their pairs of a positive and a negative.

    Of ROC-AUC that is the share of pairs inside a fold which are in the right order. Across folds
    nothing is compared: scores of two folds come from two classifiers and share no scale. Folds
    that chose another penalty have scores of another spread, and pooled they rank worse than any
    of them.

    Args:
        values: The metric in every fold; what a fold without a pair says is not looked at.
        pairs: Positives times negatives of every fold.

    Returns:
        The mean; NaN where no fold has a pair.
    """
    known = np.where(pairs > 0, values, 0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray((known * pairs).sum(axis=0) / pairs.sum(axis=0))


def _both(values: Bool[ndarray, " n"]) -> bool:
    return bool(values.any() and not values.all())
