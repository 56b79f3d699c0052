"""Spline features against the formulas, from traces alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.geometry.spline import (
    feature_columns,
    prefix_features,
    spline_features,
    without_bos,
)

from tests.unit.geometry import reference


def reference_features(a: np.ndarray, d: np.ndarray) -> list[float]:
    la, ld = list(a), list(d)
    return [
        reference.mean(la), min(la), max(la), reference.std(la),
        min(ld), reference.mean(ld), reference.std(ld),
    ]  # fmt: skip


def random_traces(lengths: list[int], layers: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(len(lengths))
    shape = (layers, sum(lengths))
    return rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32) * 1e-3


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_features_of_ragged_texts_equal_the_formulas(lengths: list[int]) -> None:
    active, distance = random_traces(lengths)
    features = spline_features(active, distance, np.array(lengths))
    start = 0
    for text, length in enumerate(lengths):
        for layer in range(2):
            part = slice(start, start + length)
            expected = reference_features(
                active[layer, part].astype(float), distance[layer, part].astype(float)
            )
            np.testing.assert_allclose(features[text, layer], expected, rtol=1e-12, atol=1e-15)
        start += length


def test_every_prefix_has_the_features_of_the_text_that_ends_there() -> None:
    active, distance = random_traces([17], layers=3)
    prefixes = prefix_features(active, distance)
    for end in range(1, 18):
        expected = spline_features(active[:, :end], distance[:, :end], np.array([end]))[0]
        np.testing.assert_allclose(prefixes[end - 1], expected, rtol=1e-12, atol=1e-14)


def test_a_single_token_has_standard_deviation_zero() -> None:
    features = spline_features(np.array([[0.25]]), np.array([[0.5]]), np.array([1]))
    assert features[0, 0].tolist() == [0.25, 0.25, 0.25, 0.0, 0.5, 0.5, 0.0]


def test_columns_are_layer_major_in_the_papers_order() -> None:
    assert feature_columns(2)[:8] == [f"l0_f{n}" for n in range(1, 8)] + ["l1_f1"]
    assert len(feature_columns(32)) == 224


def test_bos_is_dropped_only_where_there_is_one() -> None:
    values = np.arange(6.0)[None]
    kept, lengths = without_bos(values, np.array([2, 3, 1]), np.array([True, False, False]))
    assert kept.tolist() == [[1, 2, 3, 4, 5]]
    assert lengths.tolist() == [1, 3, 1]


def test_a_text_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        spline_features(np.ones((1, 2)), np.ones((1, 2)), np.array([2, 0]))
