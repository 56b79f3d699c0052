"""Curves, intervals and depths against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_anatomy.config.patching import PatchingSummary
from llm_anatomy.patching.paper import paper_switch
from llm_anatomy.patching.summary import (
    Bootstrap,
    Curve,
    chance_depth,
    crossover,
    curve_rows,
    depth_rows,
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


# Of a model of eight layers.
SWEPT = np.array([0, 2, 4, 6])
SETTINGS = PatchingSummary(drops=[0.1], resamples=100)


def alike(metric: str, shares: list[float], single: bool = False) -> Curve:
    """Four examples that do the same, so that every resample does."""
    clean = None if metric == "modified" else np.ones(4)
    chance = None if metric in ("modified", "kl") else 0.25
    return Curve(metric, SWEPT, np.tile(np.array(shares, float), (4, 1)), 1, single, clean, chance)


@pytest.mark.parametrize(
    ("original", "modified", "expected"),
    [
        (
            [0, 0, 1, 1],
            [1, 1, 0, 0],
            {
                "drop_free_10": (4, 0.5, 4, 4),
                "chance": (2, 0.25, None, None),
                "crossover": (4, 0.5, 4, 4),
                "transition_width": (2, 0.25, 2, 2),
            },
        ),
        # Where no swept layer will do, the end is all of them, at which nothing is manipulated.
        (
            [0.5, 0.5, 0.5, 0.5],
            [0.5, 0.5, 0.5, 0.5],
            {
                "drop_free_10": (None, None, 8, 8),
                "chance": (None, None, None, None),
                "crossover": (None, None, None, None),
                "transition_width": (-6, -0.75, -6, -6),
            },
        ),
    ],
)
def test_depths_of_examples_that_do_the_same(
    original: list[float], modified: list[float], expected: dict[str, tuple[float | None, ...]]
) -> None:
    curves = [alike("original", original), alike("modified", modified)]
    rows = depth_rows(curves, SETTINGS, Bootstrap(4, SETTINGS, 0), 8)
    assert {row["layers"] for row in rows} == {8}
    assert {row["metric"] for row in rows} == {"original"}
    found = {r["quantity"]: (r["layer"], r["depth"], r["low"], r["high"]) for r in rows}
    assert found == expected


def test_an_interval_of_a_depth_has_the_layers_that_resamples_give() -> None:
    """Half of the examples are right from k = 2 on, the others at k = 6 alone."""
    half = [[0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
    values = np.array(half * 10)
    settings = PatchingSummary(drops=[0.5], resamples=200)
    curve = Curve("correct", SWEPT, values, 1, True, np.ones(20), None)
    (row,) = depth_rows([curve], settings, Bootstrap(20, settings, 0), 8)
    assert (row["layer"], row["low"], row["high"]) == (2, 2, 6)


def test_curves_of_examples_that_do_the_same() -> None:
    bootstrap = Bootstrap(4, SETTINGS, 0)
    shares = [0.0, 0.25, 0.5, 1.0]
    rows = curve_rows(alike("correct", shares), SETTINGS, bootstrap, 8)
    assert [(r["layer"], r["depth"], r["layers"]) for r in rows] == [
        (0, 0.0, 8),
        (2, 0.25, 8),
        (4, 0.5, 8),
        (6, 0.75, 8),
    ]
    assert [(r["value"], r["low"], r["high"]) for r in rows] == [(x, x, x) for x in shares]
    assert {(r["interval"], r["examples"], r["baseline"]) for r in rows} == {("bootstrap", 4, 1.0)}


@pytest.mark.parametrize(
    ("curve", "wilson"),
    [
        (alike("correct", [0, 1, 1, 1], single=True), True),
        (alike("correct", [0, 0.5, 1, 1], single=True), False),
        (alike("correct", [0, 1, 1, 1]), False),
        (alike("kl", [0, 1, 1, 1], single=True), False),
    ],
)
def test_shares_of_single_runs_have_wilson_intervals(curve: Curve, wilson: bool) -> None:
    rows = curve_rows(curve, SETTINGS, Bootstrap(4, SETTINGS, 0), 8)
    assert [row["interval"] for row in rows] == ["wilson" if wilson else "bootstrap"] * 4
    assert (rows[1]["low"] < rows[1]["value"]) == wilson
    assert rows[0]["baseline"] == (0.0 if curve.metric == "kl" else 1.0)


@pytest.mark.parametrize(("known", "there"), [(100, True), (91, True), (89, False), (0, False)])
def test_an_interval_needs_nine_tenths_of_the_resamples(known: int, there: bool) -> None:
    drawn: list[float | None] = [*([3.0] * known), *([None] * (100 - known))]
    expected = (3.0, 3.0) if there else (None, None)
    assert Bootstrap(4, SETTINGS, 0).interval(drawn) == expected
