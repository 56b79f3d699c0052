"""The classifiers, and the nested choice of their one hyperparameter and of the features' weights.

A recipe's `path` fits one classifier at several values of its hyperparameter and gives the test
rows' probabilities of the positive class, [values, test rows]. Inner folds of the training texts
choose the value; the test texts take no part.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.linalg import LinAlgWarning
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.utils.class_weight import compute_sample_weight

from llm_anatomy.config.toxicity import ClassifierName, Classifiers
from llm_anatomy.statistics.folds import Split
from llm_anatomy.statistics.random import Purpose, library_seed
from llm_anatomy.toxicity.detector import Logistic
from llm_anatomy.toxicity.features import Dense, FeatureSet, Tfidf
from llm_anatomy.toxicity.metrics import ranking_metrics

MAX_NEWTON_WIDTH = 256


@dataclass(frozen=True)
class LogisticRecipe:
    """Logistic regression with an L2 penalty and balanced classes."""

    values: tuple[float, ...]
    max_iter: int
    name: str = "logistic_regression"
    hyperparameter: str = "C"
    scale_matters: bool = True

    def path(self, x: Any, y: ndarray, test: Any, values: Sequence[float], seed: int) -> ndarray:
        """Scores at every value."""
        order = np.argsort(values, kind="stable")
        fits = logistic_fits(x, y, [values[index] for index in order], self.max_iter)
        scores = np.empty((len(values), test.shape[0]))
        for index, fit in zip(order, fits, strict=True):
            scores[index] = fit.score(test)
        return scores


@dataclass(frozen=True)
class ForestRecipe:
    """A random forest with balanced classes."""

    values: tuple[float, ...]
    n_trees: int
    name: str = "random_forest"
    hyperparameter: str = "min_samples_leaf"
    scale_matters: bool = False

    def path(self, x: Any, y: ndarray, test: Any, values: Sequence[float], seed: int) -> ndarray:
        """Scores at every value."""
        fits = (random_forest(int(v), self.n_trees, seed).fit(_float32(x), y) for v in values)
        return np.stack([fit.predict_proba(_float32(test))[:, 1] for fit in fits])


@dataclass(frozen=True)
class BoostingRecipe:
    """Gradient-boosted trees of depth 3, with balanced classes and a random part of the features
    per split.
    """

    values: tuple[float, ...]
    iterations: int
    name: str = "gradient_boosting"
    hyperparameter: str = "learning_rate"
    scale_matters: bool = False

    def path(self, x: Any, y: ndarray, test: Any, values: Sequence[float], seed: int) -> ndarray:
        """Scores at every value."""
        scores = np.empty((len(values), test.shape[0]))
        for index, rate in enumerate(values):
            model = GradientBoostingClassifier(
                learning_rate=rate,
                n_estimators=self.iterations,
                max_features="sqrt",
                random_state=library_seed(seed, Purpose.BOOSTING),
            )
            model.fit(_float32(x), y, sample_weight=compute_sample_weight("balanced", y))
            scores[index] = model.predict_proba(_float32(test))[:, 1]
        return scores


Recipe = LogisticRecipe | ForestRecipe | BoostingRecipe


def classifier_recipe(name: ClassifierName, settings: Classifiers) -> Recipe:
    """The recipe of a classifier on dense features."""
    if name == "logistic_regression":
        return LogisticRecipe(tuple(settings.c), settings.max_iter)
    if name == "random_forest":
        return ForestRecipe(tuple(map(float, settings.min_samples_leaf)), settings.n_trees)
    return BoostingRecipe(tuple(settings.learning_rate), settings.boosting_iterations)


def baseline_recipe(features: FeatureSet, settings: Classifiers) -> Recipe:
    """Logistic regression, with the penalties that suit the features' scale."""
    values = settings.c_tfidf if isinstance(features, Tfidf) else settings.c
    return LogisticRecipe(tuple(values), settings.max_iter)


def logistic_fits(
    x: Any, y: Bool[ndarray, " texts"], values: Sequence[float], max_iter: int
) -> list[Logistic]:
    """Balanced logistic regression at several strengths of its penalty.

    Whatever is chosen, measured or kept as a detector is fitted here. A fit starts from the
    solution of the one before it.

    Args:
        x: Features of the training texts, dense or sparse.
        y: Their labels; both classes occur.
        values: Inverse strengths of the L2 penalty, ascending.
        max_iter: Most iterations of a fit. One that runs out of them is a ranking all the same, so
            it only costs accuracy.
    """
    every = np.arange(len(y))
    # The weights of `class_weight="balanced"`, which scikit-learn takes a millisecond to work out.
    weights = len(y) / (2 * np.where(y, y.sum(), (~y).sum()))
    # One fold with all texts and no score of its own: of scikit-learn's estimators this one alone
    # goes down a path of penalties in a call, and its preparations cost more than a narrow fit.
    path = LogisticRegressionCV(
        Cs=values,
        l1_ratios=(0.0,),
        cv=[(every, every[:1])],
        scoring=_no_score,
        refit=False,
        **_solver(x),
        max_iter=max_iter,
        use_legacy_attributes=False,
    )
    with (
        sklearn.config_context(assume_finite=True, skip_parameter_validation=True),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Where a step cannot be solved for, scikit-learn goes on with lbfgs.
        warnings.simplefilter("ignore", LinAlgWarning)
        path.fit(x, y, sample_weight=weights)
    return [Logistic(fitted[:-1], fitted[-1:]) for fitted in path.coefs_paths_[0, 0, :, 0]]


def _solver(x: Any) -> dict[str, Any]:
    """Newton's steps grow with the square of the width; up to here they cost less than lbfgs."""
    if isinstance(x, ndarray) and x.shape[1] <= MAX_NEWTON_WIDTH:
        # Two texts a hair apart keep their order; near the solution, a step doubles the digits.
        return {"solver": "newton-cholesky", "tol": 1e-6}
    return {"solver": "lbfgs", "tol": 1e-4}


def _no_score(*_: Any, **__: Any) -> float:
    return 0.0


def logistic_regression(c: float, max_iter: int) -> LogisticRegression:
    """Balanced logistic regression; C is the inverse strength of the L2 penalty."""
    return LogisticRegression(C=c, class_weight="balanced", max_iter=max_iter)


def random_forest(min_samples_leaf: int, n_trees: int, seed: int) -> RandomForestClassifier:
    """Balanced random forest."""
    return RandomForestClassifier(
        n_trees,
        min_samples_leaf=min_samples_leaf,
        class_weight="balanced",
        random_state=library_seed(seed, Purpose.FOREST),
    )


@dataclass(frozen=True)
class Choice:
    """What the inner folds chose.

    Attributes:
        features: The features as they are to be used.
        value: The hyperparameter's value.
        distance_weight: Chosen weight of the distances; None when there was no choice.
        inner_roc_auc: Mean ROC-AUC of the inner folds there; None when there was no choice.
        n_inner_folds: Number of inner folds; 0 when there was no choice.
    """

    features: FeatureSet
    value: float
    distance_weight: float | None
    inner_roc_auc: float | None
    n_inner_folds: int


def is_choice(features: FeatureSet, recipe: Recipe) -> bool:
    """Whether inner folds have anything to choose."""
    return len(recipe.values) > 1 or len(_variants(features, recipe)) > 1


def _variants(features: FeatureSet, recipe: Recipe) -> tuple[FeatureSet, ...]:
    return features.variants() if recipe.scale_matters else features.variants()[:1]


def choose(
    features: FeatureSet,
    truth: Bool[ndarray, " train"],
    train: ndarray,
    inner: Sequence[Split],
    recipe: Recipe,
    seed: int,
) -> Choice:
    """Choose hyperparameter and weights with the largest mean ROC-AUC over the inner folds.

    Ties go to the first weights and the smaller value. With nothing to choose from, or no inner
    folds, the first weights and the middle value are taken.

    Args:
        features: The features of all texts.
        truth: Labels of the training texts.
        train: Rows of the training texts in `features`.
        inner: Positions among the training texts.
        recipe: The classifier.
        seed: Seed of the classifier.
    """
    values, variants = tuple(sorted(recipe.values)), _variants(features, recipe)
    if not is_choice(features, recipe) or not inner:
        return Choice(variants[0], values[len(values) // 2], None, None, 0)
    areas = np.zeros((len(inner), len(variants), len(values)))
    for number, (known, held_out) in enumerate(inner):
        for which, variant in enumerate(variants):
            x, test = variant.split(train[known], train[held_out])
            for index, scores in enumerate(recipe.path(x, truth[known], test, values, seed)):
                areas[number, which, index] = roc_auc(scores, truth[held_out])
    means = areas.mean(axis=0)
    which, index = (int(i) for i in np.unravel_index(means.argmax(), means.shape))
    weight = features.distance_weights[which] if isinstance(features, Dense) else None
    return Choice(
        variants[which],
        values[index],
        weight if len(variants) > 1 else None,
        float(means[which, index]),
        len(inner),
    )


def roc_auc(scores: Float[ndarray, " texts"], truth: Bool[ndarray, " texts"]) -> float:
    """Area under the ROC curve."""
    return float(ranking_metrics(scores, truth, np.ones((1, len(scores))), [])[0, 0])


def _float32(x: Any) -> Any:
    """What scikit-learn's trees convert to anyway, done once."""
    return x.astype(np.float32)
