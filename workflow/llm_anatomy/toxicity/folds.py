"""Which labels can be learned, and in which fold each text is tested."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from numpy import ndarray

from llm_anatomy.config.toxicity import Folds
from llm_anatomy.data.duplicates import find_copies, given_groups, kept_together
from llm_anatomy.errors import UserError
from llm_anatomy.statistics.folds import assign_folds
from llm_anatomy.statistics.random import Purpose
from llm_anatomy.tables.toxicity import DUPLICATES, LABELS

logger = logging.getLogger(__name__)

LABEL_PREFIX = "label_"


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
    groups = given_groups(texts)
    copies = kept_together(len(texts), pairs, groups)
    logger.info(
        "%d texts, %d pairs of copies, %d groups: %d sets that stay together, the largest of %d",
        len(texts),
        len(pairs),
        len(set(groups) - {None}),
        len(np.unique(copies)),
        np.bincount(copies).max(),
    )
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
            "fold": assign_folds(truth, copies[rows], n_folds, seed, Purpose.FOLDS),
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

    Near-duplicates and texts of one group share a fold, so a class needs at least `n_folds` sets of
    them.
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
                f"its {count} {value} texts are {sets} sets of near-duplicates and groups, fewer "
                f"than the {n_folds} folds"
            )
        if why:
            break
    return LabelCounts(label, len(texts), len(texts) - len(rows), positive, negative, why)
