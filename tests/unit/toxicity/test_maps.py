"""Maps of texts against what a projection must do."""

import numpy as np
import pytest
from llm_anatomy.toxicity.maps import place_texts, shared_neighbours

RNG = np.random.default_rng(0)


def test_standardised_features_count_alike_whatever_their_units() -> None:
    values = RNG.normal(size=(30, 4))
    scales = np.array([1.0, 1000.0, 0.001, 7.0])
    plain, scaled = (
        place_texts(each, "pca", True, 99, 5.0, 0) for each in (values, 3 + values * scales)
    )
    np.testing.assert_allclose(np.abs(scaled.places), np.abs(plain.places), rtol=1e-6, atol=1e-9)
    assert scaled.explained == pytest.approx(plain.explained)
    # As they are, the largest unit alone is the first direction.
    raw = place_texts(values * scales, "pca", False, 99, 5.0, 0)
    assert raw.explained is not None
    assert raw.explained[0] > 0.999
    along = np.abs(np.corrcoef(raw.places[:, 0], values[:, 1])[0, 1])
    assert along == pytest.approx(1, abs=1e-6)


def test_classes_that_lie_apart_are_each_others_neighbours() -> None:
    places = RNG.normal(size=(40, 2))
    classes = np.arange(40) % 2
    places[classes == 1] += 100
    seen, expected = shared_neighbours(places, classes)
    assert seen == 1
    # Of 39 others 19 are of one's own class.
    assert expected == pytest.approx(19 / 39)
