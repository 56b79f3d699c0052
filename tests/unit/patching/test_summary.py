"""Curves, intervals and depths against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_anatomy.patching.paper import paper_switch
from llm_anatomy.patching.summary import (
    chance_depth,
    crossover,
    drop_free_depth,
    transition_width,
)
from llm_anatomy.statistics.intervals import wilson_interval

LAYERS = np.arange(6)


def test_wilson_interval_of_a_textbook_case() -> None:
    # 8 of 10 at 95 %: Newcombe (1998), method 3.
    low, high = wilson_interval(8, 10, 0.95)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson_interval(0, 10, 0.95)[0] == 0


@given(st.integers(1, 200), st.data())
def test_wilson_interval_holds_the_share(count: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, count))
    low, high = wilson_interval(successes, count, 0.95)
    assert 0 <= low <= successes / count + 1e-12
    assert successes / count - 1e-12 <= high <= 1


def test_drop_free_depth_looks_at_all_layers_above() -> None:
    curve = np.array([0.1, 0.8, 0.2, 0.75, 0.79, 0.8])
    assert drop_free_depth(curve, 0.8, LAYERS, 0.01) == 5
    assert drop_free_depth(curve, 0.8, LAYERS, 0.05) == 4
    assert drop_free_depth(curve, 0.8, LAYERS, 0.10) == 3
    assert drop_free_depth(curve, 1.0, LAYERS, 0.10) is None
    assert drop_free_depth(curve, 0.1, LAYERS, 0.0) == 0


def test_chance_depth() -> None:
    lows = np.array([0.0, 0.02, 0.3, 0.04, 0.5, 0.6])
    assert chance_depth(lows, 0.05, LAYERS) == 3
    assert chance_depth(lows + 1, 0.05, LAYERS) is None


def test_crossover_and_width_of_the_papers_own_curves() -> None:
    # The crossovers that the heat map's counts give: k = 18, 17 and 22 of 32.
    expected = {"Llama2-7B": 18, "Mistral-7B": 17, "Yi-6B": 22}
    for model, table in paper_switch().groupby("model"):
        curves = [table[name].to_numpy() for name in ("original", "modified")]
        layers = table["layer"].to_numpy()
        assert crossover(*curves, layers) == expected[model]
        # From the last k with 90 % of the donor's to the first with 90 % of the original's.
        last = {"Llama2-7B": 10, "Mistral-7B": 11, "Yi-6B": 19}[model]
        first = {"Llama2-7B": 20, "Mistral-7B": 18, "Yi-6B": 22}[model]
        assert transition_width(*curves, layers) == first - last


@pytest.mark.parametrize("answer", [np.zeros(6), np.linspace(0.6, 0.1, 6)])
def test_no_crossover_is_not_a_number(answer: np.ndarray) -> None:
    assert crossover(answer, np.full(6, 0.7), LAYERS) is None
