"""Which labels can be learned, and in which fold each text is tested."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from numpy import ndarray

from llm_anatomy.config.toxicity import Folds
from llm_anatomy.errors import UserError
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables.toxicity import DUPLICATES, LABELS
from llm_anatomy.toxicity.duplicates import copy_sets, find_copies

logger = logging.getLogger(__name__)

LABEL_PREFIX = "label_"
Split = tuple[ndarray, ndarray]


@dataclass(frozen=True)
class LabelCounts:
    """How many texts carry a label, and why it cannot be learned (empty: it can)."""

    label: str
    n_texts: int
    n_missing: int
    n_positive: int
    n_negative: int
    why: str


@dataclass(frozen=True)
class SplitTexts:
    """Folds, labels and copies of a dataset, as in the tables of these names."""

    folds: pd.DataFrame
    labels: pd.DataFrame
    duplicates: pd.DataFrame


def split_texts(texts: pd.DataFrame, settings: Folds, seed: int, source: str) -> SplitTexts:
    """Find copies among a dataset's texts and assign every labelled text to a test fold.

    Args:
        texts: The dataset's table.
        settings: Number of folds and similarity of copies.
        seed: Seed of the folds.
        source: What messages call the table.

    Raises:
        UserError: There is no label, or none that can be learned.
    """
    names = label_names(texts)
    if not names:
        raise UserError(
            f"{source} has no label, so there is nothing to detect; give the dataset 'labels' in "
            "the configuration, or take 'toxicity' out of 'studies'"
        )
    pairs = find_copies(list(texts["text"]), settings.similarity)
    copies = copy_sets(len(texts), pairs)
    logger.info("%d pairs of copies among %d texts", len(pairs), len(texts))
    counts = [count_label(texts, name, copies, settings.n_folds) for name in names]
    if all(count.why for count in counts):
        first = counts[0]
        raise UserError(
            f"{source}: no label can be learned; the label '{first.label}' has {first.n_positive} "
            f"positive, {first.n_negative} negative and {first.n_missing} missing values: "
            f"{first.why}; give more texts, other labels, or fewer 'toxicity.folds.n_folds'"
        )
    for count in counts:
        if count.why:
            logger.warning("%s: the label '%s' is set aside: %s", source, count.label, count.why)
    ids = texts["text_id"]
    parts = [
        _label_folds(texts, count.label, copies, settings.n_folds, seed)
        for count in counts
        if not count.why
    ]
    return SplitTexts(
        pd.concat(parts),
        LABELS.frame(vars(count) | {"used": not count.why} for count in counts),
        DUPLICATES.frame(
            {
                "text_id": ids.iloc[pair.first],
                "other_text_id": ids.iloc[pair.second],
                "similarity": pair.similarity,
            }
            for pair in pairs
        ),
    )


def _label_folds(
    texts: pd.DataFrame, label: str, copies: Int[ndarray, " texts"], n_folds: int, seed: int
) -> pd.DataFrame:
    rows, truth = label_values(texts, label)
    return pd.DataFrame(
        {
            "text_id": texts["text_id"].iloc[rows].to_numpy(),
            "label": label,
            "truth": truth,
            "copies": copies[rows],
            "fold": assign_folds(truth, copies[rows], n_folds, seed),
        }
    )


def label_names(texts: pd.DataFrame) -> list[str]:
    """The labels of a dataset's table, in its order."""
    return [c.removeprefix(LABEL_PREFIX) for c in texts.columns if c.startswith(LABEL_PREFIX)]


def label_values(
    texts: pd.DataFrame, label: str
) -> tuple[Int[ndarray, " labelled"], Bool[ndarray, " labelled"]]:
    """Rows in which a label has a value, and the values."""
    column = texts[LABEL_PREFIX + label]
    rows = np.flatnonzero(column.notna().to_numpy())
    return rows, column.to_numpy()[rows].astype(bool)


def count_label(
    texts: pd.DataFrame, label: str, copies: Int[ndarray, " texts"], n_folds: int
) -> LabelCounts:
    """Count a label's values and say whether every fold can have texts of both classes.

    Near-duplicates share a fold, so a class needs at least `n_folds` sets of them.
    """
    rows, truth = label_values(texts, label)
    positive, negative = int(truth.sum()), int((~truth).sum())
    why = ""
    for count, value, where in (
        (positive, "positive", truth),
        (negative, "negative", ~truth),
    ):
        sets = len(np.unique(copies[rows[where]]))
        if count == 0:
            why = f"no text is {value}, so there is nothing to tell apart"
        elif count < n_folds:
            why = f"{count} {value} texts are fewer than the {n_folds} folds"
        elif sets < n_folds:
            why = (
                f"its {count} {value} texts are {sets} sets of near-duplicates, fewer than the "
                f"{n_folds} folds"
            )
        if why:
            break
    return LabelCounts(label, len(texts), len(texts) - len(rows), positive, negative, why)


def assign_folds(
    truth: Bool[ndarray, " labelled"],
    copies: Int[ndarray, " labelled"],
    n_folds: int,
    seed: int,
    purpose: Purpose = Purpose.FOLDS,
) -> Int[ndarray, " labelled"]:
    """Fold in which each text is tested: classes in equal shares, copies together.

    Sets of copies come in random order, larger ones first. Each goes to the fold that holds least
    of its classes: the least sum over classes of (set's texts) · (fold's texts) / (all texts).
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
    truth: Bool[ndarray, " texts"], copies: Int[ndarray, " texts"], n_folds: int, seed: int
) -> list[Split]:
    """Seeded (train, test) positions with classes in equal shares and copies on one side."""
    folds = assign_folds(truth, copies, n_folds, seed, Purpose.INNER_FOLDS)
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
    splits = stratified_splits(truth, copies, possible, seed)
    return [s for s in splits if all(_both(truth[part]) for part in s)]


def _both(values: Bool[ndarray, " n"]) -> bool:
    return bool(values.any() and not values.all())
