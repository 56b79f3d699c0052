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


def uneven(seed: int = 0):
    """Scores of four folds of 8 to 60 texts, each on a scale of its own, with ties."""
    rng = np.random.default_rng(seed)
    folds = rng.permutation(np.repeat(np.arange(4), [8, 20, 40, 60]))
    truth = rng.random(len(folds)) < 0.3
    for fold in range(4):
        truth[np.flatnonzero(folds == fold)[:2]] = [True, False]
    scores = np.round(rng.normal(size=len(folds)) + truth, 1)
    return scores * np.array([0.1, 1, 5, 20])[folds] + np.array([9, 0, -3, 50])[folds], truth, folds


def test_every_metric_is_the_mean_of_sklearns_over_folds_weighted_by_pairs():
    scores, truth, folds = uneven()
    names = ["roc_auc", "average_precision", "tpr_at_fpr_0.05"]
    metrics = {m.metric: m for m in measure(scores, truth, folds, folds, [0.05], 5, 0.9, 0)}
    assert list(metrics) == names
    by_fold, pairs = {name: [] for name in names}, []
    for fold in range(4):
        own, positive = scores[folds == fold], truth[folds == fold]
        fpr, tpr, _ = roc_curve(positive, own, drop_intermediate=False)
        by_fold["roc_auc"].append(roc_auc_score(positive, own))
        by_fold["average_precision"].append(average_precision_score(positive, own))
        by_fold["tpr_at_fpr_0.05"].append(tpr[fpr <= 0.05].max())
        pairs.append(positive.sum() * (~positive).sum())
    for name, values in by_fold.items():
        assert metrics[name].value == pytest.approx(np.average(values, weights=pairs)), name
        assert metrics[name].fold_mean == pytest.approx(np.mean(values)), name
    assert metrics["roc_auc"].value > roc_auc_score(truth, scores) + 0.1


def test_area_counts_pairs_inside_a_fold():
    scores, truth, folds = uneven(1)
    right = pairs = 0.0
    for i in np.flatnonzero(truth):
        for j in np.flatnonzero(~truth & (folds == folds[i])):
            right += (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
            pairs += 1
    area = measure(scores, truth, folds, np.arange(len(folds)), [], 5, 0.9, 0)[0]
    assert area.value == pytest.approx(right / pairs)


def test_no_number_depends_on_the_scale_that_a_fold_has():
    """What a stronger penalty does to a fold's scores: their order stays, their spread does not."""
    scores, truth, folds = uneven(2)
    stretched = scores.copy()
    stretched[folds == 1] = 1000 + 7 * scores[folds == 1]
    stretched[folds == 3] = np.tanh(scores[folds == 3] / 100)
    copies = np.arange(len(folds)) // 2 * 4 + folds
    first, second = (
        measure(s, truth, folds, copies, [0.1], 50, 0.9, 0) for s in (scores, stretched)
    )
    assert first == second


def test_texts_are_drawn_within_their_fold():
    """One fold ranks perfectly, one the other way: between them only their weights move."""
    truth = np.tile([True, False], 100)
    folds = np.repeat([0, 1], 100)
    scores = np.where(folds == 0, truth, ~truth).astype(float)
    area = measure(scores, truth, folds, np.arange(200), [], 400, 0.95, 0)[0]
    assert area.value == 0.5
    # The weights of both folds, 50 x 50 pairs each, hardly move: (P N) / 2500 stays above 0.9.
    assert 0.45 < area.low < 0.5 < area.high < 0.55


def test_a_fold_without_a_class_has_no_pair():
    scores, truth = np.array([0.9, 0.1, 0.5, 0.7]), np.array([True, False, True, True])
    folds = np.array([0, 0, 1, 1])
    area = measure(scores, truth, folds, np.arange(4), [], 20, 0.95, 0)[0]
    assert area.value == 1.0
    assert np.isnan(area.fold_mean)
