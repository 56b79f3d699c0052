"""One label against hard negatives, of its own source, and easy ones, of another.

The paper's headline score has toxic comments against clean texts of other sources; with clean
comments of the same source it is far lower. This shows the same on any data.
"""

from typing import Literal

import numpy as np

from llm_anatomy.toxicity.duplicates import copy_sets, find_copies
from llm_anatomy.toxicity.evaluate import LabelledTexts
from llm_anatomy.toxicity.folds import assign_folds

Negatives = Literal["hard", "easy", "both"]


def with_negatives(
    own: LabelledTexts,
    own_texts: list[str],
    easy_ids: list[str],
    easy_texts: list[str],
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
    copies = copy_sets(len(used), find_copies(used, similarity))
    own_ids = dict(zip(own.rows.tolist(), own.text_ids, strict=True))
    ids = [own_ids[row] if row < len(own_texts) else easy_ids[row - len(own_texts)] for row in rows]
    folds = assign_folds(truth, copies, n_folds, seed)
    return LabelledTexts(own.label, ids, rows, truth, folds, copies)
