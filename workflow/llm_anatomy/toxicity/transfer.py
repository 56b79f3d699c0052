"""Train on one dataset, test on another, and know which texts they share."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int
from numpy import ndarray

from llm_anatomy.config.toxicity import Classifiers, Folds, Transfer
from llm_anatomy.data.duplicates import (
    find_copies,
    given_groups,
    groups_of_both,
    kept_together,
)
from llm_anatomy.errors import UserError
from llm_anatomy.statistics.folds import inner_splits
from llm_anatomy.tables.toxicity import OVERLAP, TRANSFER
from llm_anatomy.toxicity.classifiers import Recipe, baseline_recipe, choose, classifier_recipe
from llm_anatomy.toxicity.evaluate import (
    Call,
    Evaluation,
    LabelledTexts,
    OutOfFold,
    TableRow,
    in_parallel,
    labelled_texts,
    measured_rows,
)
from llm_anatomy.toxicity.features import FeatureSet, compared_sets
from llm_anatomy.toxicity.folds import label_names, label_values
from llm_anatomy.toxicity.inputs import SplineTable, aligned_texts, spline_table

logger = logging.getLogger(__name__)


class TransferSettings(Evaluation):
    """A given split: which datasets, and how the classifiers are trained and measured."""

    transfer: Transfer


@dataclass(frozen=True)
class Overlap:
    """A test text that shares its text or its group with a training text.

    Attributes:
        test: Its index in the test dataset.
        train: The training text's index in its own.
        shared: What they share.
        similarity: Of copies, how much of their text.
    """

    test: int
    train: int
    shared: Literal["text", "group"]
    similarity: float | None


@dataclass(frozen=True)
class DatasetOfTexts:
    """A dataset's texts in the order of their spline features."""

    name: str
    texts: pd.DataFrame
    spline: SplineTable


def dataset_of_texts(
    name: str, texts: pd.DataFrame, spline_features: pd.DataFrame
) -> DatasetOfTexts:
    """Align the table of texts of the dataset `name` with its table of spline features."""
    spline = spline_table(spline_features)
    return DatasetOfTexts(name, aligned_texts(texts, spline.text_ids), spline)


def overlap_table(train: DatasetOfTexts, test: DatasetOfTexts, similarity: float) -> pd.DataFrame:
    """Test texts that share text or group with training texts, as in the table of overlaps."""
    shared = find_overlap(list(train.texts["text"]), list(test.texts["text"]), similarity)
    shared += shared_groups(
        *groups_of_both(
            (train.name, given_groups(train.texts)), (test.name, given_groups(test.texts))
        )
    )
    return OVERLAP.frame(
        {
            "text_id": test.texts["text_id"].iloc[pair.test],
            "train_text_id": train.texts["text_id"].iloc[pair.train],
            "shared": pair.shared,
            "similarity": pair.similarity,
        }
        for pair in shared
    )


def check_overlap(overlap: pd.DataFrame, settings: Transfer) -> None:
    """Refuse a split whose sides share texts or groups, unless the configuration allows it.

    Raises:
        UserError: They do.
    """
    if overlap.empty or settings.allow_overlap:
        return
    # The workflow removes the table of a failed stage, so the log names the pairs.
    for row in overlap.itertuples():
        logger.info("same %s: '%s' and '%s'", row.shared, row.text_id, row.train_text_id)
    first = overlap.iloc[0]
    how = "are copies" if (overlap["shared"] == "text").all() else "are copies or of the groups"
    raise UserError(
        f"{overlap['text_id'].nunique()} texts of '{settings.test}' {how} of texts of "
        f"'{settings.train}', such as '{first['text_id']}' of '{first['train_text_id']}' (the log "
        "names all); remove them (groups that only have the same name need other names), or set "
        "toxicity.transfer.allow_overlap to true to measure with and without them"
    )


def transfer_detector(
    train: DatasetOfTexts,
    train_folds: pd.DataFrame,
    test: DatasetOfTexts,
    overlap: pd.DataFrame,
    settings: TransferSettings,
    threads: int = 1,
) -> pd.DataFrame:
    """Train on one dataset and measure on another, with the texts that they share and without.

    Args:
        train: Texts and features to train on.
        train_folds: Their table of folds, labels and copies.
        test: Texts and features to test on.
        overlap: `overlap_table` of both.
        settings: Labels, classifiers and metrics.
        threads: Fits that run at once; they change no number.

    Returns:
        Rows of the table of transfers.

    Raises:
        UserError: The datasets share texts and may not, or have no wanted label in common.
    """
    check_overlap(overlap, settings.transfer)
    texts = [*train.texts["text"], *test.texts["text"]]
    weights = settings.classifiers.distance_weights
    sets = compared_sets([train.spline, test.spline], texts, weights)
    labels = labelled_texts(train_folds, train.spline.text_ids)
    wanted = wanted_labels(labels, test.texts, settings.transfer)
    n_train = len(train.texts)
    calls: list[Call[tuple[OutOfFold, int]]] = [
        (
            train_and_test,
            (label, test.texts, n_train, features, recipe, settings.folds, settings.seed),
        )
        for label in labels
        if label.label in wanted
        for features in sets
        for recipe in _recipes(features, settings.classifiers)
    ]
    copies = np.flatnonzero(test.texts["text_id"].isin(overlap["text_id"]))
    rows: list[TableRow] = []
    for result, n_texts in in_parallel(calls, threads, "transfer_detector"):
        for name, tested in (("all", result), ("no_copies", restricted(result, copies))):
            names = {"test_texts": name, "n_copies": len(copies)}
            measured = measured_rows(tested, settings.scoring, settings.seed, **names)
            rows += [row | {"n_train": n_texts} for row in measured]
    return TRANSFER.frame(rows)


def wanted_labels(
    labels: Sequence[LabelledTexts], test: pd.DataFrame, settings: Transfer
) -> list[str]:
    """The labels to train and test on: the configured ones, or all that both datasets have.

    Raises:
        UserError: They have no label in common, or not the configured one.
    """
    known = {label.label for label in labels}
    common = [name for name in label_names(test) if name in known]
    wanted = settings.labels or common
    wrong = next((name for name in wanted if name not in common), None)
    if wrong is not None or not wanted:
        raise UserError(
            f"'{settings.train}' and '{settings.test}' have the common labels "
            f"{', '.join(common) or '(none)'}; 'toxicity.transfer' asks for {wrong or 'any'}"
        )
    return wanted


def _recipes(features: FeatureSet, settings: Classifiers) -> list[Recipe]:
    """Every classifier on spline features, logistic regression on the baselines."""
    if features.name == "spline":
        return [classifier_recipe(name, settings) for name in settings.names]
    return [baseline_recipe(features, settings)]


def find_overlap(
    train_texts: Sequence[str], test_texts: Sequence[str], similarity: float
) -> list[Overlap]:
    """Pairs of a training text and a test text that are copies of each other."""
    n_train = len(train_texts)
    pairs = find_copies([*train_texts, *test_texts], similarity)
    return [
        Overlap(pair.second - n_train, pair.first, "text", pair.similarity)
        for pair in pairs
        if pair.first < n_train <= pair.second
    ]


def shared_groups(
    train_groups: Sequence[str | None], test_groups: Sequence[str | None]
) -> list[Overlap]:
    """Every test text whose group has a training text, with the first of them."""
    first: dict[str, int] = {}
    for row, group in enumerate(train_groups):
        if group is not None:
            first.setdefault(group, row)
    return [
        Overlap(row, first[group], "group", None)
        for row, group in enumerate(test_groups)
        if group is not None and group in first
    ]


def train_and_test(
    label: LabelledTexts,
    test: pd.DataFrame,
    n_train: int,
    features: FeatureSet,
    recipe: Recipe,
    folds: Folds,
    seed: int,
) -> tuple[OutOfFold, int]:
    """Train on all texts of one dataset, its folds choosing the hyperparameter; score the other.

    Args:
        label: The label with its training texts.
        test: The test dataset's table.
        n_train: Texts of the training dataset; test texts follow in `features`.
        features: Features of both datasets.
        recipe: The classifier.
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
    choice = choose(features, label.truth, label.rows, inner, recipe, seed)
    x, held_out = choice.features.split(label.rows, rows + n_train)
    scores = recipe.path(x, label.truth, held_out, [choice.value], seed)[0]
    texts = list(test["text"].iloc[rows])
    groups = given_groups(test.iloc[rows])
    copies = kept_together(len(texts), find_copies(texts, folds.similarity), groups)
    tested = LabelledTexts(
        label.label,
        list(test["text_id"].iloc[rows]),
        rows,
        truth,
        np.zeros(len(rows), dtype=np.int64),
        copies,
    )
    result = OutOfFold(features.name, recipe.name, recipe.hyperparameter, tested, scores, [choice])
    return result, len(label.truth)


def restricted(result: OutOfFold, without: Int[ndarray, " copies"]) -> OutOfFold:
    """The same scores without some test texts."""
    keep = ~np.isin(result.texts.rows, without)
    texts = result.texts
    remaining = replace(
        texts,
        text_ids=[text for text, k in zip(texts.text_ids, keep, strict=True) if k],
        rows=texts.rows[keep],
        truth=texts.truth[keep],
        folds=texts.folds[keep],
        copies=texts.copies[keep],
    )
    return replace(result, texts=remaining, scores=result.scores[keep])
