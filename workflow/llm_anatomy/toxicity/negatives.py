"""One label against hard negatives, of its own source, and easy ones, of another.

The paper's headline score has toxic comments against clean texts of other sources; with clean
comments of the same source it is far lower. This shows the same on any data.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from llm_anatomy.config.toxicity import HardNegatives
from llm_anatomy.data.duplicates import (
    find_copies,
    given_groups,
    groups_of_both,
    kept_together,
)
from llm_anatomy.errors import UserError
from llm_anatomy.statistics.folds import assign_folds
from llm_anatomy.statistics.random import Purpose
from llm_anatomy.tables.toxicity import HARD_NEGATIVES
from llm_anatomy.toxicity.classifiers import baseline_recipe
from llm_anatomy.toxicity.evaluate import (
    Call,
    Evaluation,
    LabelledTexts,
    OutOfFold,
    in_parallel,
    labelled_texts,
    measured_rows,
    out_of_fold,
)
from llm_anatomy.toxicity.features import compared_sets
from llm_anatomy.toxicity.transfer import DatasetOfTexts

Negatives = Literal["hard", "easy", "both"]


class NegativesSettings(Evaluation):
    """Which label and negatives are compared, and how classifiers are trained and measured."""

    comparison: HardNegatives


def compare_negatives(
    own: DatasetOfTexts,
    folds: pd.DataFrame,
    easy: DatasetOfTexts,
    settings: NegativesSettings,
    threads: int = 1,
) -> pd.DataFrame:
    """The same label with hard and with easy negatives.

    Args:
        own: Texts and features of the label's dataset; its negatives are the hard ones.
        folds: Its table of folds, labels and copies.
        easy: Texts and features of the easy negatives.
        settings: Label, classifiers and metrics.
        threads: Fits that run at once; they change no number.

    Returns:
        Rows of the table of hard negatives.

    Raises:
        UserError: The dataset has no such label that can be learned.
    """
    comparison, seed = settings.comparison, settings.seed
    label = find_label(labelled_texts(folds, own.spline.text_ids), comparison)
    own_texts, easy_texts = list(own.texts["text"]), list(easy.texts["text"])
    of_own, of_easy = groups_of_both(
        (own.name, given_groups(own.texts)), (easy.name, given_groups(easy.texts))
    )
    groups = of_own + of_easy
    weights = settings.classifiers.distance_weights
    sets = compared_sets([own.spline, easy.spline], own_texts + easy_texts, weights)
    calls: list[Call[OutOfFold]] = []
    names = []
    for negatives in get_args(Negatives):
        chosen = with_negatives(
            label,
            own_texts,
            easy.spline.text_ids,
            easy_texts,
            groups,
            negatives,
            settings.folds.similarity,
            settings.folds.n_folds,
            seed,
        )
        for features in sets:
            recipe = baseline_recipe(features, settings.classifiers)
            n_inner = settings.folds.n_inner_folds
            calls.append((out_of_fold, (chosen, features, recipe, n_inner, seed)))
            names.append({"negatives": negatives})
    datasets = {"dataset": comparison.dataset, "easy": comparison.easy}
    results = in_parallel(calls, threads, "compare_negatives")
    return HARD_NEGATIVES.frame(
        row
        for name, result in zip(names, results, strict=True)
        for row in measured_rows(result, settings.scoring, seed, **datasets, **name)
    )


def find_label(labels: Sequence[LabelledTexts], settings: HardNegatives) -> LabelledTexts:
    """The label that the configuration asks for.

    Raises:
        UserError: The dataset has no such label that can be learned.
    """
    names = [label.label for label in labels]
    if settings.label is None:
        return labels[0]
    if settings.label not in names:
        raise UserError(
            f"the key 'toxicity.hard_negatives' names the label '{settings.label}' of "
            f"'{settings.dataset}', which has the usable labels {', '.join(names)}"
        )
    return labels[names.index(settings.label)]


def with_negatives(
    own: LabelledTexts,
    own_texts: list[str],
    easy_ids: list[str],
    easy_texts: list[str],
    groups: list[str | None],
    negatives: Negatives,
    similarity: float,
    n_folds: int,
    seed: int,
) -> LabelledTexts:
    """The label's texts with another choice of negatives, in folds of their own.

    Rows of the result point into the features of the label's dataset followed by those of the easy
    negatives.

    Args:
        own: The label with its own texts.
        own_texts: All texts of its dataset.
        easy_ids: Ids of the easy negatives.
        easy_texts: The easy negatives.
        groups: What every text of either belongs to.
        negatives: Which negatives to use.
        similarity: As in `find_copies`.
        n_folds: Number of folds.
        seed: Seed of the folds.
    """
    positives, hard = own.rows[own.truth], own.rows[~own.truth]
    easy = len(own_texts) + np.arange(len(easy_texts))
    chosen = {"hard": [hard], "easy": [easy], "both": [hard, easy]}[negatives]
    rows = np.concatenate([positives, *chosen])
    truth = np.arange(len(rows)) < len(positives)
    texts = own_texts + easy_texts
    used = [texts[row] for row in rows]
    copies = kept_together(len(used), find_copies(used, similarity), [groups[row] for row in rows])
    own_ids = dict(zip(own.rows.tolist(), own.text_ids, strict=True))
    ids = [own_ids[row] if row < len(own_texts) else easy_ids[row - len(own_texts)] for row in rows]
    folds = assign_folds(truth, copies, n_folds, seed, Purpose.NEGATIVES_FOLDS)
    return LabelledTexts(own.label, ids, rows, truth, folds, copies)
