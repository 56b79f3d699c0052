"""Judge answers with a classifier trained on labelled texts, instead of by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline, make_union

FOLDS = 5


@dataclass(frozen=True)
class Scorer:
    """A trained classifier of answers.

    Attributes:
        pipeline: Words and character n-grams into a logistic regression.
        roc_auc: Out-of-fold ROC-AUC on the training texts.
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


def train_scorer(texts: Sequence[str], labels: Bool[ndarray, " texts"], seed: int) -> Scorer:
    """Train a classifier, and measure it on folds that it was not trained on.

    Raises:
        ValueError: Fewer than `FOLDS` texts of either class.
    """
    fewest = int(min(labels.sum(), (~labels).sum()))
    if fewest < FOLDS:
        raise ValueError(f"it has {fewest} texts of one class; at least {FOLDS} are needed")
    pipeline = make_pipeline(
        make_union(
            TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), min_df=2, sublinear_tf=True),
        ),
        LogisticRegression(class_weight="balanced", max_iter=1000, C=10.0),
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    out_of_fold = cross_val_predict(
        pipeline, list(texts), labels, cv=folds, method="predict_proba"
    )[:, 1]
    false_positive, true_positive, thresholds = roc_curve(labels, out_of_fold)
    best = int(np.argmax(true_positive - false_positive))
    # The first threshold of a ROC curve is infinite: nothing is positive.
    threshold = float(min(thresholds[best], 1.0))
    return Scorer(
        pipeline.fit(list(texts), labels),
        float(roc_auc_score(labels, out_of_fold)),
        threshold,
        float(balanced_accuracy_score(labels, out_of_fold >= threshold)),
    )
