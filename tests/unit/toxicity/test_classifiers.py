"""Out-of-fold scores: equal to a plain loop, blind to the test texts, honest about noise."""

import numpy as np
import pytest
from llm_anatomy.config.toxicity import Classifiers
from llm_anatomy.statistics.folds import assign_folds, inner_splits
from llm_anatomy.statistics.random import Purpose
from llm_anatomy.toxicity.classifiers import baseline_recipe, choose, classifier_recipe
from llm_anatomy.toxicity.evaluate import LabelledTexts, in_parallel, most_common, out_of_fold
from llm_anatomy.toxicity.features import Dense, spline_set, tfidf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SETTINGS = Classifiers(n_trees=8, boosting_iterations=5, min_samples_leaf=[2], c=[0.01, 1.0])
NAMES = ("logistic_regression", "random_forest", "gradient_boosting")


def labelled(n=80, seed=0, truth=None):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4 if truth is None else truth
    copies = np.arange(n)
    folds = assign_folds(truth, copies, 4, seed, Purpose.FOLDS)
    return LabelledTexts("bad", [str(i) for i in range(n)], np.arange(n), truth, folds, copies)


def informative(texts, seed=0):
    noise = np.random.default_rng(seed).normal(size=(len(texts.truth), 6))
    noise[:, 0] += 1.5 * texts.truth
    return Dense("x", noise)


def test_scores_equal_a_plain_nested_loop():
    texts = labelled()
    features = informative(texts)
    ours = out_of_fold(
        texts, features, classifier_recipe("logistic_regression", SETTINGS), 3, seed=0
    )
    for fold in range(4):
        train, test = np.flatnonzero(texts.folds != fold), np.flatnonzero(texts.folds == fold)
        areas = {}
        for c in (0.01, 1.0):
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=c, class_weight="balanced")
            )
            areas[c] = np.mean(
                [
                    roc_auc_score(
                        texts.truth[train[held]],
                        model.fit(
                            features.values[train[known]], texts.truth[train[known]]
                        ).predict_proba(features.values[train[held]])[:, 1],
                    )
                    for known, held in inner_splits(texts.truth[train], train, 3, 0)
                ]
            )
        best = max(sorted(areas), key=areas.get)
        assert ours.choices[fold].value == best
        assert ours.choices[fold].inner_roc_auc == pytest.approx(areas[best], abs=1e-3)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=best, class_weight="balanced"))
        model.fit(features.values[train], texts.truth[train])
        expected = model.predict_proba(features.values[test])[:, 1]
        assert np.allclose(ours.scores[test], expected, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_scores_do_not_depend_on_a_texts_own_label(name):
    """Flipping the labels of a fold's texts leaves the scores of exactly that fold unchanged."""
    texts = labelled()
    features = informative(texts)
    before = out_of_fold(texts, features, classifier_recipe(name, SETTINGS), 3, seed=0)
    truth = texts.truth.copy()
    in_fold = texts.folds == 2
    truth[in_fold] = ~truth[in_fold]
    flipped = LabelledTexts("bad", texts.text_ids, texts.rows, truth, texts.folds, texts.copies)
    after = out_of_fold(flipped, features, classifier_recipe(name, SETTINGS), 3, seed=0)
    assert (before.scores[in_fold] == after.scores[in_fold]).all()
    assert (before.scores[~in_fold] != after.scores[~in_fold]).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_signal_is_found_and_noise_is_not(name):
    texts = labelled(n=160)
    found = out_of_fold(texts, informative(texts), classifier_recipe(name, SETTINGS), 3, seed=0)
    assert roc_auc_score(texts.truth, found.scores) > 0.75
    noise = Dense("noise", np.random.default_rng(5).normal(size=(160, 6)))
    chance = out_of_fold(texts, noise, classifier_recipe(name, SETTINGS), 3, seed=0)
    assert 0.3 < roc_auc_score(texts.truth, chance.scores) < 0.7


def test_too_few_texts_for_inner_folds_take_the_middle_value():
    truth = np.array([True] + [False] * 9)
    features = Dense("x", np.random.default_rng(0).normal(size=(10, 2)))
    settings = Classifiers(c=[0.1, 1.0, 10.0])
    recipe = classifier_recipe("logistic_regression", settings)
    choice = choose(features, truth, np.arange(10), [], recipe, 0)
    assert (choice.value, choice.inner_roc_auc, choice.n_inner_folds) == (1.0, None, 0)


@pytest.mark.parametrize("signal", ["shares", "distances"])
def test_inner_folds_choose_the_weight_of_the_distances(signal):
    texts = labelled(n=200)
    values = np.random.default_rng(1).normal(size=(200, 30, 7))
    column = 0 if signal == "shares" else 6
    values[:, :, column] += 0.8 * texts.truth[:, None]
    features = spline_set("spline", values, [0.01, 1.0])
    recipe = classifier_recipe("logistic_regression", Classifiers(c=[0.001, 0.01]))
    inner = inner_splits(texts.truth, texts.copies, 4, 0)
    choice = choose(features, texts.truth, texts.rows, inner, recipe, 0)
    assert choice.distance_weight == (0.01 if signal == "shares" else 1.0)
    scores = out_of_fold(texts, features, recipe, 3, seed=0).scores
    assert roc_auc_score(texts.truth, scores) > 0.9
    forest = choose(
        features, texts.truth, texts.rows, inner, classifier_recipe("random_forest", SETTINGS), 0
    )
    assert forest.distance_weight is None


def test_tfidf_tells_words_apart():
    texts = labelled(n=60)
    strings = [f"{'bad awful' if t else 'fine good'} text {i}" for i, t in enumerate(texts.truth)]
    words = tfidf(strings)
    scores = out_of_fold(texts, words, baseline_recipe(words, SETTINGS), 3, seed=0).scores
    assert roc_auc_score(texts.truth, scores) > 0.99


def test_threads_give_the_same_scores_as_one():
    texts = labelled()
    recipe = classifier_recipe("random_forest", SETTINGS)
    calls = [(out_of_fold, (texts, informative(texts, s), recipe, 3, 0)) for s in range(2)]
    one, two = (in_parallel(calls, threads, "test") for threads in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert (a.scores == b.scores).all()


def test_most_common_labels_keep_their_order():
    few, many, some = (labelled(truth=np.arange(80) < n) for n in (10, 40, 20))
    assert most_common([few, many, some], 2) == [many, some]
