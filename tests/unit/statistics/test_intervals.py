"""Intervals against textbook values, closed forms and their coverage."""

import numpy as np
import pytest
from llm_anatomy.statistics.intervals import (
    CONFIDENCE,
    bootstrap_interval,
    bootstrap_weights,
    exact_interval,
    exact_interval_of_sets,
    lies_above,
    lies_within,
    percentile_interval,
    wilson_interval,
)
from llm_anatomy.statistics.random import Purpose, keyed_generator
from scipy.stats import beta, norm


def test_confidence_is_the_papers_95_percent() -> None:
    assert CONFIDENCE == 0.95


@pytest.mark.parametrize(
    ("low", "high", "above", "within"),
    [
        (1.5, 2.5, True, False),
        (1.0, 2.0, None, None),
        (0.5, 2.0, None, None),
        (0.0, 1.0, False, True),
        (-1.0, 1.0, False, None),
        (-2.0, -1.0, False, False),
        (-2.0, 0.0, False, None),
        (-2.0, 2.0, None, None),
        (1.0, 1.0, False, True),
        (0.0, 0.0, False, True),
    ],
)
def test_an_interval_decides_only_where_all_of_it_agrees(low, high, above, within) -> None:
    """Above 1, strictly; in the closed range from 0 to 1."""
    assert lies_above(low, high, 1.0) is above
    assert lies_within(low, high, 0.0, 1.0) is within
    assert lies_within(low, high, last=1.0) is lies_within(-high, -low, first=-1.0)


def test_wilson_is_the_formula() -> None:
    z, n, share = norm.ppf(0.975), 10, 0.8
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert wilson_interval(8, 10) == pytest.approx((middle - half, middle + half))
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Newcombe 1998
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == 1
    low, high = wilson_interval(8, 10, 0.5)
    assert wilson_interval(8, 10)[0] < low < 0.8 < high < wilson_interval(8, 10)[1]


def test_exact_is_clopper_and_pearsons() -> None:
    assert exact_interval(3, 12) == pytest.approx((beta.ppf(0.025, 3, 10), beta.ppf(0.975, 4, 9)))


@pytest.mark.parametrize("found", [0, 3, 12])
def test_sets_of_one_item_are_trials_and_larger_ones_are_fewer(found: int) -> None:
    for level in (0.8, 0.95):
        single = exact_interval_of_sets(found / 12, 12, level)
        assert single == pytest.approx(exact_interval(found, 12, level))
        # The same share of twelve items in four sets says what four trials say.
        low, high = exact_interval_of_sets(found / 12, 4, level)
        assert low <= single[0] <= found / 12 <= single[1] <= high
        assert high - low > single[1] - single[0]
    assert np.isnan(exact_interval_of_sets(0.0, 0)).all()


@pytest.mark.parametrize("interval", [wilson_interval, exact_interval])
def test_a_share_of_nothing_has_no_interval(interval) -> None:
    assert np.isnan(interval(0, 0)).all()


def test_percentiles_leave_out_undefined_resamples() -> None:
    values = np.concatenate([np.arange(101.0), [np.nan] * 7])
    assert percentile_interval(values, 0.9) == pytest.approx(np.array([5.0, 95.0]))
    assert np.isnan(percentile_interval(np.empty((0, 3)))).all()


def test_bootstrap_of_a_mean_is_as_wide_as_its_standard_error() -> None:
    values = keyed_generator(0, Purpose.NOISE).normal(5, 2, size=400)
    low, high = bootstrap_interval(
        [(values,)], lambda groups: groups[0][0].mean(), keyed_generator(0, Purpose.METRICS), 2000
    )
    assert low < values.mean() < high
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.08)


def test_items_are_drawn_within_their_group_and_variables_together() -> None:
    groups = [(np.zeros(5), np.zeros(5)), (np.arange(1.0, 9), np.arange(1.0, 9))]
    seen = []

    def statistic(drawn):
        for (a, b), (own, _) in zip(drawn, groups, strict=True):
            assert np.array_equal(a, b)
            assert len(a) == len(own)
            assert set(a) <= set(own)
        seen.append(drawn[1][0].mean())
        return seen[-1]

    low, high = bootstrap_interval(groups, statistic, keyed_generator(1, Purpose.METRICS), 50, 0.8)
    assert len(seen) == 50
    assert (low, high) == pytest.approx(tuple(np.quantile(seen, [0.1, 0.9])))


def test_clusters_are_drawn_as_wholes_in_chunks_of_any_size(monkeypatch) -> None:
    clusters = np.array([4, 4, 7, 9, 9, 9])
    whole = np.concatenate(
        list(bootstrap_weights(clusters, 300, keyed_generator(0, Purpose.METRICS)))
    )
    monkeypatch.setattr("llm_anatomy.statistics.intervals.CHUNK_ELEMENTS", 13)
    parts = list(bootstrap_weights(clusters, 300, keyed_generator(0, Purpose.METRICS)))
    assert len(parts) > 1
    assert np.array_equal(np.concatenate(parts), whole)
    assert (whole[:, 0] == whole[:, 1]).all()
    assert (whole[:, 3] == whole[:, 5]).all()
    assert (whole[:, [0, 2, 3]].sum(1) == 3).all()
    assert whole.mean(0) == pytest.approx(np.ones(6), abs=0.15)
