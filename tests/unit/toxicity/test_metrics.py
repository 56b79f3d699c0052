"""Ranking metrics against scikit-learn, and intervals against what they claim."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from llm_anatomy.toxicity.metrics import measure, ranking_metrics
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

RATES = [0.01, 0.05, 0.5]


@st.composite
def scored(draw):
    n = draw(st.integers(2, 40))
    # Few distinct scores, so that ties are common.
    scores = draw(arrays(np.float64, n, elements=st.integers(0, 6).map(float)))
    truth = draw(arrays(np.bool_, n))
    truth[0], truth[1] = True, False
    weights = draw(arrays(np.float64, n, elements=st.integers(0, 3).map(float)))
    weights[:2] = 1
    return scores, truth, weights


@settings(max_examples=60, deadline=None)
@given(scored())
def test_weighted_metrics_equal_sklearn(sample):
    scores, truth, weights = sample
    area, average, *rates = ranking_metrics(scores, truth, weights[None], RATES)[0]
    assert area == pytest.approx(roc_auc_score(truth, scores, sample_weight=weights))
    assert average == pytest.approx(average_precision_score(truth, scores, sample_weight=weights))
    fpr, tpr, _ = roc_curve(truth, scores, sample_weight=weights, drop_intermediate=False)
    for rate, value in zip(RATES, rates, strict=True):
        assert value == pytest.approx(tpr[fpr <= rate + 1e-12].max())


def test_one_class_is_not_a_number():
    values = ranking_metrics(np.arange(3.0), np.ones(3, dtype=bool), np.ones((1, 3)), [0.1])
    assert np.isnan(values).all()


def test_interval_covers_the_true_area_as_often_as_it_says():
    """Two normals one deviation apart have an area of Phi(1 / sqrt 2) = 0.760."""
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = np.repeat([False, True], 60)
        scores = rng.normal(size=120) + truth
        folds, copies = np.arange(120) % 5, np.arange(120)
        area = measure(scores, truth, folds, copies, [], 300, 0.9, seed)[0]
        assert area.low < area.value < area.high
        covered += area.low <= 0.760 <= area.high
    assert 0.8 <= covered / 60 <= 0.98


def test_fold_means_are_the_folds_own_metrics():
    rng = np.random.default_rng(0)
    truth = np.tile([True, False], 30)
    scores, folds = rng.random(60), np.repeat(np.arange(3), 20)
    area = measure(scores, truth, folds, np.arange(60), [], 10, 0.95, 0)[0]
    by_fold = [roc_auc_score(truth[folds == f], scores[folds == f]) for f in range(3)]
    assert area.fold_mean == pytest.approx(np.mean(by_fold))
    assert area.fold_sd == pytest.approx(np.std(by_fold, ddof=1))
