"""Figures of contexts show the columns they name, and captions their tables' numbers."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from llm_anatomy.figures.contexts import context_figures, overlap_figure, verdicts
from llm_anatomy.figures.exhibit import PALETTE, Exhibit
from llm_anatomy.tables.contexts import CONTEXT_OVERLAP, CONTEXT_WORDS

from tests.unit.figures.drawn import (
    Unlabelled,
    bands,
    by_title,
    draws,
    figure_legend,
    panels,
    rows_shown,
    says,
    unlabelled,
    words,
)
from tests.unit.figures.tables import Made, Rows, collection, filled

UP, _, DOWN = PALETTE[:3]
# Matrix and place: share, low, high and others' share in layers 0 and 1, then together.
SHARES = {
    ("up", "here"): [(0.3, 0.2, 0.35, 0.02), (0.5, 0.4, 0.6, 0.06), (0.4, 0.3, 0.45, 0.04)],
    ("down", "here"): [(0.1, 0.05, 0.2, 0.03), (0.25, 0.2, 0.3, 0.07), (0.2, 0.1, 0.25, 0.05)],
    ("up", "next"): [(0.15, 0.1, 0.2, 0.01), (0.45, 0.4, 0.5, 0.05), (0.35, 0.25, 0.4, 0.03)],
    ("down", "next"): [(0.6, 0.5, 0.7, 0.08), (0.7, 0.6, 0.8, 0.1), (0.65, 0.6, 0.7, 0.09)],
}
# Neuron, verdict, here, next, opposite here, opposite next.
JUDGED = [
    (0, "agree", 0.5, 0.75, 0.0, 0.0),
    (1, "neither", 1.0, 1.0, 0.5, 0.0),
    (2, "contradict", 0.0, 0.0, 0.5, 0.0),
    (3, "agree", 1.0, 0.0, 0.0, 0.0),
    (4, "contradict", 0.0, 0.0, 0.0, 1.0),
    *[(5 + k, "agree", 0.5, 0.0, 0.0, 0.0) for k in range(9)],
]


def overlap_rows() -> Rows:
    rows = []
    for (matrix, place), values in SHARES.items():
        for layer, (share, low, high, shuffled) in zip((0, 1, None), values, strict=True):
            one = {
                "layer": layer,
                "matrix": matrix,
                "end": 1,
                "sign": 1,
                "place": place,
                "neurons": 3000 if layer is None else 1500,
                "share": share,
                "low": low,
                "high": high,
                "shuffled": shuffled,
            }
            # What the figure leaves out.
            rows += [one | {"end": -1, "share": 0.99}, one, one | {"sign": -1, "share": 0.98}]
    return rows


def word_rows() -> Rows:
    columns = ("neuron", "verdict", "here", "next", "opposite_here", "opposite_next")
    return [dict(zip(columns, row, strict=True)) for row in JUDGED]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exhibit]]:
    made = [
        Made(CONTEXT_OVERLAP, overlap_rows(), {"model": "m"}),
        Made(CONTEXT_WORDS, word_rows(), {"model": "m"}),
    ]
    tables = collection(tmp_path_factory.mktemp("tables"), made)
    # A model that no texts were read with has no exhibit.
    yield by_title(context_figures(tables, ["other", "m"]))
    plt.close("all")


@draws(overlap_figure)
def test_shares_of_tokens_are_left_and_of_next_ones_right(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Do neurons of m fire on their words?"]
    left, right = panels(exhibit)
    for panel, place, name in ((left, "here", "token"), (right, "next", "next token")):
        expected, spread = [], []
        for matrix, tint in (("up", UP), ("down", DOWN)):
            layers = SHARES[matrix, place][:2]
            expected.append(Unlabelled(tint, "-", [(k, row[0]) for k, row in enumerate(layers)]))
            expected.append(Unlabelled(tint, ":", [(k, row[3]) for k, row in enumerate(layers)]))
            spread.append((tint, [(k, row[1], row[2]) for k, row in enumerate(layers)]))
        assert unlabelled(panel) == expected
        assert list(bands(panel)) == spread
        assert words(panel)[:2] == (f"the {name} is a decoded one", "layer")
    assert left.get_ylabel() == "share of contexts"
    named = figure_legend(exhibit)
    assert list(named) == ["up", "down", "another neuron's words"]
    assert (named["up"], named["down"]) == (UP, DOWN)


@says(overlap_figure)
def test_shares_of_all_layers_are_said(shown: dict[str, Exhibit]) -> None:
    assert (
        "up, token: 40.00% [30.00%, 45.00%] (others' words 4.00%) of 3,000 neurons; down, token: "
        "20.00% [10.00%, 25.00%] (others' words 5.00%) of 3,000 neurons; up, next token: 35.00% "
        "[25.00%, 40.00%] (others' words 3.00%) of 3,000 neurons; down, next token: 65.00% "
        "[60.00%, 70.00%] (others' words 9.00%) of 3,000 neurons. Dotted"
    ) in shown["Do neurons of m fire on their words?"].caption


@draws(verdicts)
@says(verdicts)
def test_the_clearest_of_each_verdict_are_listed(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Where words and contexts of m agree and contradict"]
    rows = rows_shown(exhibit, filled(CONTEXT_WORDS, word_rows()))
    assert rows["neuron"].tolist() == [3, 0, 5, 6, 7, 8, 9, 10, 4, 2]
    assert "of 14 neurons, matrices and signs of the activation 11 agree and 2 contradict:" in (
        exhibit.caption
    )


def test_files_have_the_names_of_their_figures_and_tables(shown: dict[str, Exhibit]) -> None:
    files = [(e.figure, "/".join(Path(e.table).parts[-2:])) for e in shown.values() if e.table]
    assert files == [
        ("m-context_overlap.png", "m/context_overlap.parquet"),
        (None, "m/context_words.parquet"),
    ]
