"""Logistic regression along a path of penalties: at the optimum, narrow, wide and sparse alike."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.toxicity.classifiers import MAX_NEWTON_WIDTH, logistic_fits
from scipy import sparse
from sklearn.linear_model import LogisticRegression

PATH = [1e-4, 1e-2, 1.0, 100.0]


def data(seed, width, n=40, positives=None):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) < (positives or rng.integers(3, n // 2))
    return rng.normal(size=(n, width)) + rng.normal() * truth[:, None], truth


def gradient(x, truth, c, fit):
    """Of |w|² / 2 + C sum_i s_i log(1 + exp(-t_i (w · x_i + b))), the intercept's behind."""
    balanced = len(truth) / (2 * np.where(truth, truth.sum(), (~truth).sum()))
    slope = c * balanced * (fit.score(x) - truth)
    return np.append(fit.weights + x.T @ slope, slope.sum())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12))
def test_weights_equal_an_exact_fit_of_every_penalty(seed, width):
    x, truth = data(seed, width)
    for c, ours in zip(PATH, logistic_fits(x, truth, PATH, 100), strict=True):
        exact = LogisticRegression(
            C=c, class_weight="balanced", solver="newton-cholesky", tol=1e-9, max_iter=1000
        ).fit(x, truth)
        assert np.allclose(ours.weights, exact.coef_[0], atol=1e-3, rtol=1e-3)
        assert np.allclose(ours.score(x), exact.predict_proba(x)[:, 1], atol=1e-3)


@pytest.mark.parametrize("width", [7, MAX_NEWTON_WIDTH, MAX_NEWTON_WIDTH + 1])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_the_objective_has_no_slope_at_the_solution(width, kind):
    x, truth = data(3, width, n=200, positives=50)
    for c, fit in zip(PATH, logistic_fits(kind(x), truth, PATH, 1000), strict=True):
        # The solvers look at the mean loss: over C and the texts.
        assert np.abs(gradient(x, truth, c, fit)).max() <= 1e-4 * c * len(truth)


@pytest.mark.parametrize("c", [1.0, 1e4])
def test_separable_and_constant_features_do_no_harm(c):
    truth = np.array([True, False] * 10)
    x = np.column_stack([np.where(truth, 5.0, -5.0), np.zeros(20), np.where(truth, 5.0, -5.0)])
    first, again = logistic_fits(x, truth, [c, c], 100)
    assert np.isfinite(first.weights).all()
    assert (first.score(x)[truth] > 0.5).all()
    assert again.weights == pytest.approx(first.weights, rel=1e-3)


def test_a_fit_that_runs_out_of_iterations_still_ranks_and_warns_nobody():
    x, truth = data(0, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (fit,) = logistic_fits(x, truth, [100.0], 1)
    assert np.isfinite(fit.score(x)).all()
