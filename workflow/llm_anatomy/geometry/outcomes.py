"""Judge answers with a classifier trained on labelled texts, instead of by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline, make_union

from llm_anatomy.config.geometry import AnswerScorer
from llm_anatomy.data.duplicates import find_copies, given_groups, kept_together
from llm_anatomy.errors import UserError
from llm_anatomy.statistics.folds import average_over_folds, stratified_splits
from llm_anatomy.statistics.random import Purpose
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import PROMPT_OUTCOMES, SCORERS

FOLDS = 5
# Texts that share this much are copies, as by default in the toxicity study.
SIMILARITY = 0.8


@dataclass(frozen=True)
class Scorer:
    """A trained classifier of answers.

    Attributes:
        pipeline: Words and character n-grams into a logistic regression.
        roc_auc: Out-of-fold ROC-AUC on the training texts, over pairs inside a fold.
        threshold: Score with the best out-of-fold balanced accuracy.
        balanced_accuracy: That balanced accuracy.
    """

    pipeline: Pipeline
    roc_auc: float
    threshold: float
    balanced_accuracy: float

    def scores(self, texts: Sequence[str]) -> Float[ndarray, " texts"]:
        """Probability that each text has the outcome."""
        probabilities: ndarray = self.pipeline.predict_proba(list(texts))
        return probabilities[:, 1]


def train_scorer(
    texts: Sequence[str],
    labels: Bool[ndarray, " texts"],
    seed: int,
    groups: Sequence[str | None] = (),
) -> Scorer:
    """Train a classifier, and measure it on folds that it was not trained on.

    Near-duplicates, and texts of one group, are in one fold: a classifier knows a copy by heart.

    Args:
        texts: What it learns from.
        labels: What is true of them.
        seed: Seed of the folds.
        groups: What each text belongs to, None where nothing is said; empty: nothing of any.

    Raises:
        ValueError: Fewer than `FOLDS` sets of texts of either class.
    """
    together = kept_together(len(texts), find_copies(list(texts), SIMILARITY), groups)
    fewest = min(len(np.unique(together[labels])), len(np.unique(together[~labels])))
    if fewest < FOLDS:
        raise ValueError(
            f"it has {fewest} texts of one class, copies and groups counted once; at least {FOLDS} "
            "are needed"
        )
    pipeline = make_pipeline(
        make_union(
            TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), min_df=2, sublinear_tf=True),
        ),
        LogisticRegression(class_weight="balanced", max_iter=1000, C=10.0),
    )
    splits = stratified_splits(labels, together, FOLDS, seed, Purpose.SCORER_FOLDS)
    out_of_fold = cross_val_predict(
        pipeline, list(texts), labels, cv=splits, method="predict_proba"
    )[:, 1]
    # Classifiers of two folds share no scale, so only pairs inside a fold are ranked.
    tested = [labels[test] for _, test in splits]
    pairs = np.array([own.sum() * (~own).sum() for own in tested], dtype=float)
    areas = [
        roc_auc_score(own, out_of_fold[test]) if count else np.nan
        for own, (_, test), count in zip(tested, splits, pairs, strict=True)
    ]
    false_positive, true_positive, thresholds = roc_curve(labels, out_of_fold)
    best = int(np.argmax(true_positive - false_positive))
    # The first threshold of a ROC curve is infinite: nothing is positive.
    threshold = float(min(thresholds[best], 1.0))
    return Scorer(
        pipeline.fit(list(texts), labels),
        float(average_over_folds(np.array(areas), pairs)),
        threshold,
        float(balanced_accuracy_score(labels, out_of_fold >= threshold)),
    )


def judge_answers(
    prompts: pd.DataFrame,
    scorers: Sequence[AnswerScorer],
    datasets: Mapping[str, pd.DataFrame],
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train a classifier per outcome, and score every answer with it.

    Args:
        prompts: Rows of `PROMPTS`, with the answers.
        scorers: The outcomes, each with the dataset and label that it is learned from.
        datasets: Rows of `TEXTS` of those datasets by name.
        seed: Seed of the folds.

    Returns:
        Rows of `PROMPT_OUTCOMES` and of `SCORERS`; none without scorers, as where a user's own
        data are all there is.

    Raises:
        UserError: A dataset lacks the label, or has too few texts of one class.
    """
    outcomes, trained = [PROMPT_OUTCOMES.frame([])], []
    for settings in scorers:
        scorer, row = _train(settings, datasets[settings.dataset], seed)
        scores = scorer.scores(list(prompts["answer"]))
        outcomes.append(
            pd.DataFrame(
                {
                    "prompt_id": prompts["prompt_id"],
                    "outcome": settings.outcome,
                    "score": scores,
                    "positive": scores >= scorer.threshold,
                }
            )
        )
        trained.append(row)
    return pd.concat(outcomes[1:] or outcomes, ignore_index=True), SCORERS.frame(trained)


def _train(settings: AnswerScorer, texts: pd.DataFrame, seed: int) -> tuple[Scorer, dict[str, Any]]:
    """The classifier of one outcome, and its row of `SCORERS`."""
    source = TEXTS.path.format(dataset=settings.dataset)
    column = f"label_{settings.label}"
    if column not in texts.columns:
        known = [name.removeprefix("label_") for name in texts.columns if name.startswith("label_")]
        raise UserError(
            f"{source} has no label '{settings.label}', which the key 'geometry.prompts.scorers' "
            f"names; it has {', '.join(known) or 'none'}"
        )
    used = texts[texts[column].notna()]
    labels = used[column].to_numpy(dtype=bool)
    try:
        scorer = train_scorer(list(used["text"]), labels, seed, given_groups(used))
    except ValueError as error:
        raise UserError(
            f"{source} cannot train the answer scorer '{settings.outcome}': {error}"
        ) from error
    return scorer, {
        "outcome": settings.outcome,
        "dataset": settings.dataset,
        "label": settings.label,
        "n_rows": len(texts),
        "n_used": len(used),
        "n_positive": int(labels.sum()),
        "roc_auc": scorer.roc_auc,
        "threshold": scorer.threshold,
        "balanced_accuracy": scorer.balanced_accuracy,
    }
