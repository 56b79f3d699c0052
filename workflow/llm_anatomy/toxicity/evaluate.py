"""Out-of-fold scores: every labelled text is scored by a classifier that did not see it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from joblib import Parallel, delayed
from numpy import ndarray
from threadpoolctl import threadpool_limits

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import Classifiers, Folds, Scoring
from llm_anatomy.progress import Progress
from llm_anatomy.statistics.folds import Split, inner_splits
from llm_anatomy.toxicity.classifiers import Choice, Recipe, choose, is_choice
from llm_anatomy.toxicity.features import FeatureSet
from llm_anatomy.toxicity.metrics import measure

T = TypeVar("T")
TableRow = dict[str, Any]
# A function and its arguments.
Call = tuple[Callable[..., T], tuple[Any, ...]]


class Evaluation(Settings):
    """How classifiers are trained and measured, alike in every experiment.

    Attributes:
        seed: Seed of inner folds, classifiers and bootstrap.
        folds: Inner folds that choose a hyperparameter, and what counts as a copy.
        classifiers: Their hyperparameters.
        scoring: Metrics and intervals.
    """

    seed: int
    folds: Folds
    classifiers: Classifiers
    scoring: Scoring


@dataclass(frozen=True)
class LabelledTexts:
    """The texts of one label with their folds.

    Attributes:
        label: The label.
        text_ids: The labelled texts.
        rows: Their rows in the feature sets.
        truth: The label's values.
        folds: Test fold of each.
        copies: Set of each: near-duplicates, and texts of one group, stand on one side of a split.
    """

    label: str
    text_ids: list[str]
    rows: Int[ndarray, " labelled"]
    truth: Bool[ndarray, " labelled"]
    folds: Int[ndarray, " labelled"]
    copies: Int[ndarray, " labelled"]

    def fold_split(self, fold: int) -> Split:
        """Positions of a fold's training and test texts."""
        return np.flatnonzero(self.folds != fold), np.flatnonzero(self.folds == fold)

    @property
    def fold_numbers(self) -> list[int]:
        """The folds, in order."""
        return [int(f) for f in np.unique(self.folds)]


@dataclass(frozen=True)
class OutOfFold:
    """Scores of one classifier on one feature set and label."""

    features: str
    classifier: str
    hyperparameter: str
    texts: LabelledTexts
    scores: Float[ndarray, " labelled"]
    choices: list[Choice]


def labelled_texts(folds: pd.DataFrame, text_ids: Sequence[str]) -> list[LabelledTexts]:
    """The table of folds, label by label, with rows that point into `text_ids`.

    Raises:
        ValueError: A text of the folds is not among `text_ids`.
    """
    row_of = {text: row for row, text in enumerate(text_ids)}
    result = []
    for label, part in folds.groupby("label", sort=False):
        ids = list(part["text_id"])
        missing = next((text for text in ids if text not in row_of), None)
        if missing is not None:
            raise ValueError(f"the text '{missing}' has a fold but no features")
        result.append(
            LabelledTexts(
                str(label),
                ids,
                np.array([row_of[text] for text in ids], dtype=np.int64),
                part["truth"].to_numpy(dtype=bool),
                part["fold"].to_numpy(dtype=np.int64),
                part["copies"].to_numpy(dtype=np.int64),
            )
        )
    return result


def most_common(labels: Sequence[LabelledTexts], most: int) -> list[LabelledTexts]:
    """The labels with most positive texts, in the order given."""
    ranked = sorted(range(len(labels)), key=lambda i: (-int(labels[i].truth.sum()), i))[:most]
    return [labels[i] for i in sorted(ranked)]


def out_of_fold(
    texts: LabelledTexts, features: FeatureSet, recipe: Recipe, n_inner: int, seed: int
) -> OutOfFold:
    """Score every text with a classifier trained on the other folds.

    Hyperparameter and weights are chosen, and features scaled, within each fold's training texts.
    """
    scores = np.empty(len(texts.truth))
    choices = []
    for fold in texts.fold_numbers:
        train, test = texts.fold_split(fold)
        truth = texts.truth[train]
        copies = texts.copies[train]
        inner = inner_splits(truth, copies, n_inner, seed) if is_choice(features, recipe) else []
        choice = choose(features, truth, texts.rows[train], inner, recipe, seed)
        x, held_out = choice.features.split(texts.rows[train], texts.rows[test])
        scores[test] = recipe.path(x, truth, held_out, [choice.value], seed)[0]
        choices.append(choice)
    return OutOfFold(features.name, recipe.name, recipe.hyperparameter, texts, scores, choices)


def in_parallel(calls: Sequence[Call[T]], threads: int, task: str) -> list[T]:
    """Results of independent calls, in order, with progress; each call computes on one thread.

    One thread per call keeps the numbers independent of how many run at once. Threads rather than
    processes: fitting releases Python's lock, and a process would import for seconds.
    """
    with Progress(len(calls), "fits", task) as progress, threadpool_limits(1):
        parallel = Parallel(threads, backend="threading", return_as="generator")
        results = []
        for result in parallel(delayed(function)(*arguments) for function, arguments in calls):
            results.append(result)
            progress.advance()
    return results


def measured_rows(result: OutOfFold, scoring: Scoring, seed: int, **columns: Any) -> list[TableRow]:
    """Rows of a table of metrics; `columns` go in front of the common ones."""
    texts = result.texts
    trained = [len(texts.truth) - int((texts.folds == f).sum()) for f in texts.fold_numbers]
    return [
        columns
        | {
            "feature_set": result.features,
            "classifier": result.classifier,
            "label": texts.label,
            "metric": m.metric,
            "value": m.value,
            "low": m.low,
            "high": m.high,
            "fold_mean": m.fold_mean,
            "fold_sd": m.fold_sd,
            "n_train": 0 if result.classifier == "none" else round(float(np.mean(trained))),
            "n_test": len(texts.truth),
            "n_positive": int(texts.truth.sum()),
            "n_folds": len(texts.fold_numbers),
        }
        for m in measure(
            result.scores,
            texts.truth,
            texts.folds,
            texts.copies,
            scoring.false_positive_rates,
            scoring.resamples,
            scoring.level,
            seed,
        )
    ]
