"""Newton's method reaches scikit-learn's solution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.toxicity import newton
from llm_anatomy.toxicity.detector import Logistic
from sklearn.linear_model import LogisticRegression


def probabilities(x, weights):
    return Logistic(weights[:-1], weights[-1:]).score(x)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1e-4, 1e-2, 1.0, 100.0]), st.integers(1, 12))
def test_weights_equal_sklearns(seed, c, width):
    rng = np.random.default_rng(seed)
    truth = np.arange(40) < rng.integers(3, 20)
    x = rng.normal(size=(40, width)) + rng.normal() * truth[:, None]
    theirs = LogisticRegression(
        C=c, class_weight="balanced", solver="newton-cholesky", tol=1e-9, max_iter=1000
    ).fit(x, truth)
    ours = newton.fit(x, truth, c, 100)
    assert np.allclose(ours[:-1], theirs.coef_[0], atol=1e-3, rtol=1e-3)
    assert np.allclose(probabilities(x, ours), theirs.predict_proba(x)[:, 1], atol=1e-3)


@pytest.mark.parametrize("c", [1.0, 1e4])
def test_separable_and_constant_features_do_no_harm(c):
    truth = np.array([True, False] * 10)
    x = np.column_stack([np.where(truth, 5.0, -5.0), np.zeros(20), np.where(truth, 5.0, -5.0)])
    weights = newton.fit(x, truth, c, 100)
    assert np.isfinite(weights).all()
    assert (probabilities(x, weights)[truth] > 0.5).all()
    assert newton.fit(x, truth, c, 100, weights) == pytest.approx(weights, rel=1e-3)
