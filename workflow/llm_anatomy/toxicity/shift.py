"""Train here, test there: every pair of labelled data sets that have a label in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from llm_anatomy.errors import UserError
from llm_anatomy.tables.detectors import SHIFT
from llm_anatomy.toxicity.classifiers import baseline_recipe
from llm_anatomy.toxicity.evaluate import (
    Call,
    Evaluation,
    LabelledTexts,
    OutOfFold,
    TableRow,
    in_parallel,
    labelled_texts,
    measured_rows,
    out_of_fold,
)
from llm_anatomy.toxicity.features import FeatureSet, compared_sets
from llm_anatomy.toxicity.folds import LABEL_PREFIX
from llm_anatomy.toxicity.transfer import (
    DatasetOfTexts,
    overlap_table,
    restricted,
    train_and_test,
)


class ShiftSettings(Evaluation):
    """How classifiers are trained and measured, and which labels are the same.

    Attributes:
        same: The label of each data set that counts as one; empty: labels of the same name.
    """

    same: dict[str, str]


@dataclass(frozen=True)
class Source:
    """A labelled data set."""

    name: str
    data: DatasetOfTexts
    labels: list[LabelledTexts]

    @classmethod
    def of(cls, name: str, data: DatasetOfTexts, folds: pd.DataFrame) -> "Source":
        """A data set with its table of folds."""
        return cls(name, data, labelled_texts(folds, data.spline.text_ids))

    def label(self, name: str) -> LabelledTexts | None:
        """A label that can be learned; None where it cannot."""
        return next((label for label in self.labels if label.label == name), None)


def shift_table(
    sources: Sequence[Source], settings: ShiftSettings, threads: int = 1
) -> pd.DataFrame:
    """ROC-AUC and the other metrics of every training and test data set with a common label.

    On the diagonal texts are scored out of fold. Elsewhere the detector is trained on all texts of
    one data set, and test texts that are copies of training texts, or of their groups, are left
    out and counted.

    Raises:
        UserError: A data set has not the label that the settings name for it.
    """
    calls: list[Call[list[TableRow]]] = [
        (_cell, (train, test, names, settings))
        for train in sources
        for test in sources
        for names in common_labels(train, test, sources, settings.same)
    ]
    rows = in_parallel(calls, threads, "shift_detectors")
    return SHIFT.frame(row for cell in rows for row in cell)


def common_labels(
    train: Source, test: Source, sources: Sequence[Source], same: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Labels of a training and a test data set that count as one, where another set has it too."""
    if same:
        if train.name not in same or test.name not in same:
            return []
        pair = same[train.name], same[test.name]
        for source, name in zip((train, test), pair, strict=True):
            if source.label(name) is None:
                known = ", ".join(label.label for label in source.labels)
                raise UserError(
                    f"the key 'toxicity.shift.same' names the label '{name}' of '{source.name}', "
                    f"which has the usable labels {known or 'none'}"
                )
        return [pair]
    return [
        (label.label, label.label)
        for label in train.labels
        if test.label(label.label) is not None
        and sum(source.label(label.label) is not None for source in sources) > 1
    ]


def _cell(
    train: Source, test: Source, names: tuple[str, str], settings: ShiftSettings
) -> list[TableRow]:
    label = train.label(names[0])
    assert label is not None
    common = {"train": train.name, "test": test.name, "test_label": names[1]}
    rows: list[TableRow] = []
    for features, result, n_train, left_out in _tested(train, test, label, names[1], settings):
        known = {"n_train": n_train, "n_left_out": left_out, "feature_set": features}
        if result.texts.truth.all() or not result.texts.truth.any():
            rows.append(common | known | _unmeasured(result))
            continue
        measured = measured_rows(result, settings.scoring, settings.seed, **common)
        rows += [row | known for row in measured]
    return rows


def _unmeasured(result: OutOfFold) -> TableRow:
    """The row of a pair of which nothing, or one class alone, is left without what both share."""
    return {
        "classifier": result.classifier,
        "label": result.texts.label,
        "metric": "roc_auc",
        "value": None,
        "n_test": len(result.texts.truth),
        "n_positive": int(result.texts.truth.sum()),
    }


def _tested(
    train: Source, test: Source, label: LabelledTexts, wanted: str, settings: ShiftSettings
) -> list[tuple[str, Any, int, int]]:
    """Feature set, scores, training texts and test texts left out, for every feature set."""
    weights, seed, folds = settings.classifiers.distance_weights, settings.seed, settings.folds
    if train.name == test.name:
        own = compared_sets([train.data.spline], list(train.data.texts["text"]), weights)
        found = []
        for features in own:
            recipe = baseline_recipe(features, settings.classifiers)
            result = out_of_fold(label, features, recipe, folds.n_inner_folds, seed)
            sizes = [len(label.fold_split(fold)[0]) for fold in label.fold_numbers]
            found.append((features.name, result, round(float(np.mean(sizes))), 0))
        return found
    texts = [*train.data.texts["text"], *test.data.texts["text"]]
    sets: list[FeatureSet] = compared_sets([train.data.spline, test.data.spline], texts, weights)
    shared = overlap_table(train.data, test.data, folds.similarity)["text_id"]
    copies = np.flatnonzero(test.data.texts["text_id"].isin(shared))
    # The test label under the name of the training label.
    renamed = test.data.texts.drop(columns=LABEL_PREFIX + label.label, errors="ignore").assign(
        **{LABEL_PREFIX + label.label: test.data.texts[LABEL_PREFIX + wanted]}
    )
    n_train, found = len(train.data.texts), []
    for features in sets:
        recipe = baseline_recipe(features, settings.classifiers)
        result, n = train_and_test(label, renamed, n_train, features, recipe, folds, seed)
        kept = restricted(result, copies)
        left_out = len(result.scores) - len(kept.scores)
        found.append((features.name, replace(kept), n, left_out))
    return found
