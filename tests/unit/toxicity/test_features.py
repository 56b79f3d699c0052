"""Feature sets learn from training rows alone, and equal scikit-learn's."""

import numpy as np
import pytest
from llm_anatomy.errors import UserError
from llm_anatomy.toxicity.features import (
    Dense,
    first_layers,
    length_features,
    spline_set,
    state_layers_at,
    tfidf,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import StandardScaler

TEXTS = [
    "the river runs past the old mill",
    "the old mill stands by the river",
    "a mill needs water and the river has it",
    "music in the garden tonight",
    "the garden is closed tonight",
    "water the garden please",
    "please close the old garden",
    "winter comes",
]
TRAIN, TEST = np.array([0, 2, 3, 4, 6]), np.array([1, 5, 7])


def test_tfidf_equals_a_vectorizer_fitted_in_the_fold():
    ours = tfidf(TEXTS).split(TRAIN, TEST)
    theirs = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    train = theirs.fit_transform([TEXTS[i] for i in TRAIN]).toarray()
    test = theirs.transform([TEXTS[i] for i in TEST]).toarray()
    # The columns come in the same, alphabetical, order.
    assert np.allclose(ours[0].toarray(), train)
    assert np.allclose(ours[1].toarray(), test)


def test_texts_without_common_words_give_a_baseline_without_features():
    train, test = tfidf(["one", "two", "three"]).split(np.array([0, 1]), np.array([2]))
    assert train.shape[0] == 2
    assert test.nnz == 0


def test_standardising_equals_a_scaler_fitted_in_the_fold():
    values = np.random.default_rng(0).normal(3, 2, size=(8, 4))
    values[:, 2] = 0.1
    train, test = Dense("x", values).split(TRAIN, TEST)
    scaler = StandardScaler().fit(values[TRAIN])
    assert np.allclose(train, scaler.transform(values[TRAIN]))
    assert np.allclose(test, scaler.transform(values[TEST]))


def test_distances_have_their_weight_and_shares_do_not():
    values = np.random.default_rng(0).normal(size=(8, 2, 7))
    features = spline_set("x", values, [0.1, 1.0])
    assert [variant.distance_weights for variant in features.variants()] == [(0.1,), (1.0,)]
    train, test = features.variants()[0].split(TRAIN, TEST)
    plain = Dense("x", values.reshape(8, 14)).split(TRAIN, TEST)
    factors = np.tile([1, 1, 1, 1, 0.1, 0.1, 0.1], 2)
    assert np.allclose(train, plain[0] * factors)
    assert np.allclose(test, plain[1] * factors)
    assert (features.variants()[1].split(TRAIN, TEST)[0] == plain[0]).all()


def test_test_rows_do_not_reach_the_training_matrix():
    values = np.random.default_rng(0).normal(size=(8, 4))
    changed = values.copy()
    changed[TEST] += 100
    before, after = (Dense("x", v).split(TRAIN, TEST)[0] for v in (values, changed))
    assert (before == after).all()


def test_layers_at_depths():
    assert state_layers_at([0.5, 1.0], range(30), 30) == [14, 29]
    assert state_layers_at([1 / 3, 1.0], [0, 2], 3) == [0, 2]
    assert state_layers_at("all", [1, 2], 3) == [1, 2]


def test_first_layers_and_too_many_of_them():
    features = np.arange(2 * 3 * 7.0).reshape(2, 3, 7)
    assert (first_layers(features, 2, "key")[1].ravel() == np.arange(21.0, 35.0)).all()
    with pytest.raises(UserError, match="'key' is 4, but the model has 3 layers"):
        first_layers(features, 4, "key")


def test_length_features_grow_with_the_text():
    features = length_features(["a b", "a b c d"], np.array([2, 4]))
    assert (features[1] > features[0]).all()
