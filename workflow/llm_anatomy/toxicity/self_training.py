"""Few labels: a classifier trained on them labels the rest of the training texts itself.

In every round the classifier labels the texts of which it is surest, a tenth of those that were
unlabelled at first, and is trained again (the paper's scheme, with k_best = masked / 10).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from sklearn.semi_supervised import SelfTrainingClassifier

from llm_anatomy.config.toxicity import Classifiers, SelfTraining
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.toxicity.classifiers import Choice, logistic_regression, random_forest
from llm_anatomy.toxicity.evaluate import (
    Call,
    Evaluation,
    LabelledTexts,
    OutOfFold,
    TableRow,
    measured_rows,
    most_common,
)
from llm_anatomy.toxicity.features import Dense, spline_set

Name = Literal["logistic_regression", "random_forest"]
UNLABELLED = -1


@dataclass(frozen=True)
class FewLabels:
    """Out-of-fold scores at one share of labels.

    Attributes:
        rate: Share of the training texts that keep their label.
        training: `self_training` or `labelled_only`.
        n_labelled: Mean number of labelled texts over folds.
        result: The scores.
    """

    rate: float
    training: Literal["self_training", "labelled_only"]
    n_labelled: float
    result: OutOfFold


def self_trainings(
    features: Float[ndarray, "texts layers 7"],
    labels: Sequence[LabelledTexts],
    settings: SelfTraining,
    evaluation: Evaluation,
) -> list[Call[list[TableRow]]]:
    """Calls that train on few labels; each gives rows of the table of self-training.

    Too poor in labels to choose a weight of the distances, they take the first.
    """
    values = spline_set("spline", features, evaluation.classifiers.distance_weights[:1])
    return [
        (train_on_few, (label, values, name, rate, settings, evaluation))
        for label in most_common(labels, settings.max_labels)
        for name in settings.classifiers
        for rate in settings.label_rates
    ]


def train_on_few(
    label: LabelledTexts,
    features: Dense,
    name: Name,
    rate: float,
    settings: SelfTraining,
    evaluation: Evaluation,
) -> list[TableRow]:
    """Metrics at one share of labels, with self-training and without."""
    classifiers, seed = evaluation.classifiers, evaluation.seed
    return [
        row
        for few in few_labels(label, features, name, rate, settings, classifiers, seed)
        for row in measured_rows(
            few.result,
            evaluation.scoring,
            seed,
            label_rate=few.rate,
            training=few.training,
            n_labelled=int(np.rint(few.n_labelled)),
        )
    ]


def keep_labels(
    truth: Bool[ndarray, " train"],
    copies: Int[ndarray, " train"],
    rate: float,
    seed: int,
    fold: int,
) -> Bool[ndarray, " train"]:
    """A stratified random share of a fold's texts, at least one of each class, sets of texts whole.

    Texts of a class are drawn, each with its set (near-duplicates, a group), until the share of the
    class is reached; sets of several texts can pass it.
    """
    rng = keyed_generator(seed, Purpose.KEPT_LABELS, fold)
    labelled = np.zeros(len(truth), dtype=bool)
    members: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(copies.tolist()):
        members[number].append(row)
    for value in (False, True):
        own = np.flatnonzero(truth == value)
        missing = max(1, round(rate * len(own))) - int(labelled[own].sum())
        for row in rng.permutation(own):
            if missing <= 0:
                break
            if not labelled[row]:
                together = members[int(copies[row])]
                labelled[together] = True
                missing -= int((truth[together] == value).sum())
    return labelled


def few_labels(
    texts: LabelledTexts,
    features: Dense,
    name: Name,
    rate: float,
    settings: SelfTraining,
    classifiers: Classifiers,
    seed: int,
) -> list[FewLabels]:
    """Score every text with classifiers that knew a share of the other folds' labels.

    Both trainings see the same labels, so their difference is what self-training adds.
    """
    scores = np.empty((2, len(texts.truth)))
    counts = []
    for fold in texts.fold_numbers:
        train, test = texts.fold_split(fold)
        x, held_out = features.split(texts.rows[train], texts.rows[test])
        truth = texts.truth[train]
        labelled = keep_labels(truth, texts.copies[train], rate, seed, int(fold))
        counts.append(int(labelled.sum()))
        alone = _classifier(name, settings, classifiers, seed)
        alone.fit(x[labelled], truth[labelled])
        scores[0, test] = alone.predict_proba(held_out)[:, 1]
        partly: Int[ndarray, " train"] = np.where(labelled, truth.astype(int), UNLABELLED)
        per_round = max(1, -(-int((~labelled).sum()) // settings.rounds))
        trained = SelfTrainingClassifier(
            _classifier(name, settings, classifiers, seed),
            criterion="k_best",
            k_best=per_round,
            max_iter=settings.rounds,
        ).fit(x, partly)
        scores[1, test] = trained.predict_proba(held_out)[:, 1]
    none = [Choice(features, settings.c, None, None, 0)] * len(counts)
    mean = float(np.mean(counts))

    def result(row: ndarray) -> OutOfFold:
        return OutOfFold(features.name, name, "", texts, row, none)

    return [
        FewLabels(rate, "labelled_only", mean, result(scores[0])),
        FewLabels(rate, "self_training", mean, result(scores[1])),
    ]


def _classifier(name: Name, settings: SelfTraining, classifiers: Classifiers, seed: int) -> Any:
    if name == "logistic_regression":
        return logistic_regression(settings.c, classifiers.max_iter)
    # A leaf as large as a handful of labelled texts would not split them.
    return random_forest(1, classifiers.n_trees, seed)
