"""Train on one dataset, test on another, and know which texts they share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Int
from numpy import ndarray

from llm_anatomy.config.toxicity import Folds
from llm_anatomy.errors import UserError
from llm_anatomy.toxicity.classifiers import Recipe, choose
from llm_anatomy.toxicity.duplicates import copy_sets, find_copies
from llm_anatomy.toxicity.evaluate import LabelledTexts, OutOfFold
from llm_anatomy.toxicity.features import FeatureSet
from llm_anatomy.toxicity.folds import inner_splits, label_values


@dataclass(frozen=True)
class Overlap:
    """A test text that is a copy of a training text, by index in its own dataset."""

    test: int
    train: int
    similarity: float


def find_overlap(
    train_texts: Sequence[str], test_texts: Sequence[str], similarity: float
) -> list[Overlap]:
    """Pairs of a training text and a test text that are copies of each other."""
    n_train = len(train_texts)
    pairs = find_copies([*train_texts, *test_texts], similarity)
    return [
        Overlap(pair.second - n_train, pair.first, pair.similarity)
        for pair in pairs
        if pair.first < n_train <= pair.second
    ]


def train_and_test(
    label: LabelledTexts,
    test: pd.DataFrame,
    n_train: int,
    features: FeatureSet,
    made: Recipe,
    folds: Folds,
    seed: int,
) -> tuple[OutOfFold, int]:
    """Train on all texts of one dataset, its folds choosing the hyperparameter; score the other.

    Args:
        label: The label with its training texts.
        test: The test dataset's table.
        n_train: Texts of the training dataset; test texts follow in `features`.
        features: Features of both datasets.
        made: The classifier.
        folds: Number of inner folds and similarity of copies.
        seed: Seed of folds and classifier.

    Returns:
        The scores of the test texts, and the number of training texts.

    Raises:
        UserError: The test texts are all of one class.
    """
    rows, truth = label_values(test, label.label)
    if truth.all() or not truth.any():
        raise UserError(
            f"the label '{label.label}' has {int(truth.sum())} positive and "
            f"{int((~truth).sum())} negative test texts; both are needed to measure anything"
        )
    inner = inner_splits(label.truth, label.copies, folds.n_inner_folds, seed)
    choice = choose(features, label.truth, label.rows, inner, made, seed)
    x, held_out = choice.features.split(label.rows, rows + n_train)
    scores = made.path(x, label.truth, held_out, [choice.value], seed)[0]
    texts = list(test["text"].iloc[rows])
    copies = copy_sets(len(texts), find_copies(texts, folds.similarity))
    tested = LabelledTexts(
        label.label,
        list(test["text_id"].iloc[rows]),
        rows,
        truth,
        np.zeros(len(rows), dtype=np.int64),
        copies,
    )
    result = OutOfFold(features.name, made.name, made.hyperparameter, tested, scores, [choice])
    return result, len(label.truth)


def restricted(result: OutOfFold, without: Int[ndarray, " copies"]) -> OutOfFold:
    """The same scores without some test texts."""
    keep = ~np.isin(result.texts.rows, without)
    texts = result.texts
    kept = replace(
        texts,
        text_ids=[text for text, k in zip(texts.text_ids, keep, strict=True) if k],
        rows=texts.rows[keep],
        truth=texts.truth[keep],
        folds=texts.folds[keep],
        copies=texts.copies[keep],
    )
    return replace(result, texts=kept, scores=result.scores[keep])
