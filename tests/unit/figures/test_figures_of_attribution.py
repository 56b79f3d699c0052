"""Figures of unit attribution show the columns they name, and captions their tables' numbers."""

from pathlib import Path

import pytest
from llm_anatomy.figures.attribution import (
    agreement_exhibit,
    faithfulness_exhibit,
    unit_exhibits,
)
from llm_anatomy.figures.exhibit import PALETTE, Exhibit
from llm_anatomy.tables.attribution import AGREEMENT_WITH_EXACT, AREAS, FAITHFULNESS
from llm_anatomy.tables.core import read_table
from matplotlib.colors import to_hex

from tests.unit.figures.drawn import by_title, draws, panels, rows_shown, says
from tests.unit.figures.tables import Made, collection, grid

SHARES = [0.001, 0.01, 0.1, 1.0]
# Kind, method, side: faithfulness at the four shares.
CURVES = {
    ("ffn_neuron", "attribution_patching", "keep"): [0.01, 0.25, 0.9, 1.0],
    ("ffn_neuron", "attribution_patching", "remove"): [0.95, 0.5, -0.1, 0.0],
    ("ffn_neuron", "random", "keep"): [0.0, 0.02, 0.06, 1.0],
    ("ffn_neuron", "random", "remove"): [1.0, 0.99, 0.9, 0.0],
    ("head", "attribution_patching", "keep"): [0.03, 0.04, 0.5, 1.0],
    ("head", "attribution_patching", "remove"): [0.8, 0.7, 0.3, 0.0],
    ("head", "random", "keep"): [0.05, 0.125, 0.6, 1.0],
    ("head", "random", "remove"): [0.9, 0.8, 0.75, 0.0],
}
CPR = {
    ("ffn_neuron", "attribution_patching"): 0.875,
    ("ffn_neuron", "random"): 0.35,
    ("head", "attribution_patching"): 0.5,
    ("head", "random"): 0.75,
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exhibit]:
    owner = {"model": "m", "relation": "capitals"}
    curves = [
        {"kind": k, "method": m, "side": s, "low": f - 0.125, "high": f + 0.25}
        | {"share": share, "faithfulness": f}
        for (k, m, s), values in CURVES.items()
        for share, f in zip(SHARES, values, strict=True)
    ]
    areas = [{"kind": k, "method": m, "cpr": c, "facts": 8} for (k, m), c in CPR.items()]
    agreed = grid(
        kind=["ffn_neuron"] * 4 + ["head"] * 2,
        method=["denoising", "denoising", "relevance_patching", "activation"] + ["denoising"] * 2,
        layer=[-1, 0, -1, -1, -1, 1],
        units=[90, 9, 90, 90, 40, 4],
        spearman=[0.5, 0.99, 0.8, None, 0.3, 0.95],
    )
    made = [
        Made(FAITHFULNESS, curves, owner),
        Made(AREAS, areas, owner),
        Made(AGREEMENT_WITH_EXACT, list(agreed), owner),
        # Of another model, and of a relation with too few facts.
        Made(FAITHFULNESS, curves, owner | {"model": "other"}),
        Made(FAITHFULNESS, [], owner | {"relation": "empty"}),
        Made(AGREEMENT_WITH_EXACT, [], owner | {"relation": "empty"}),
    ]
    folder: Path = tmp_path_factory.mktemp("tables")
    return by_title(unit_exhibits(collection(folder, made), "m"))


FAITHFUL = "What share of the behaviour the best units carry: capitals (m)"
AGREED = "Scores against exact losses: capitals (m)"


def test_a_relation_without_units_shows_nothing(shown: dict[str, Exhibit]) -> None:
    assert list(shown) == [FAITHFUL, AGREED]


@draws(faithfulness_exhibit)
def test_kept_units_are_solid_and_removed_ones_dotted(shown: dict[str, Exhibit]) -> None:
    axes = panels(shown[FAITHFUL])
    assert [a.get_title() for a in axes] == ["FFN neurons", "heads"]
    for axis, kind in zip(axes, ("ffn_neuron", "head"), strict=True):
        assert axis.get_xscale() == "log"
        drawn = {
            (to_hex(line.get_color()), line.get_linestyle()): list(line.get_ydata())
            for line in axis.lines
            if len(line.get_xdata()) == len(SHARES)
        }
        assert drawn == {
            (to_hex(PALETTE[number]), style): CURVES[kind, method, side]
            for number, method in enumerate(("attribution_patching", "random"))
            for side, style in (("keep", "-"), ("remove", ":"))
        }
        # Intervals belong to what is kept.
        bands = [band.get_paths()[0].vertices[:, 1] for band in axis.collections]
        assert len(bands) == 2
        for band, method in zip(bands, ("attribution_patching", "random"), strict=True):
            kept = CURVES[kind, method, "keep"]
            assert band.min() == pytest.approx(min(kept) - 0.125)
            assert band.max() == pytest.approx(max(kept) + 0.25)
    drawn_figure = shown[FAITHFUL].drawn
    assert drawn_figure is not None
    (legend,) = drawn_figure.legends
    assert [
        (text.get_text(), to_hex(handle.get_color()))
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    ] == [
        ("attribution patching", to_hex(PALETTE[0])),
        ("random", to_hex(PALETTE[1])),
    ]
    assert axes[0].get_ylabel() == "faithfulness"


@says(faithfulness_exhibit)
def test_the_caption_names_the_ranking_with_the_largest_area(shown: dict[str, Exhibit]) -> None:
    caption = shown[FAITHFUL].caption
    assert (
        "FFN neurons: the largest area (CPR 0.88) has attribution patching, whose best 1% alone "
        "carry 25.0% [12.5%, 50.0%]."
    ) in caption
    assert (
        "Heads: the largest area (CPR 0.75) has random, whose best 1% alone carry 12.5% "
        "[0.0%, 37.5%]."
    ) in caption
    assert "95% intervals" in caption


@draws(agreement_exhibit)
def test_agreement_in_all_layers_together_is_shown(shown: dict[str, Exhibit]) -> None:
    exhibit = shown[AGREED]
    assert exhibit.table is not None
    rows = rows_shown(exhibit, read_table(exhibit.table, AGREEMENT_WITH_EXACT))
    assert rows["method"].tolist() == [
        "denoising",
        "relevance_patching",
        "activation",
        "denoising",
    ]
    assert rows["units"].tolist() == [90, 90, 90, 40]


@says(agreement_exhibit)
def test_the_caption_names_the_score_that_agrees_best(shown: dict[str, Exhibit]) -> None:
    caption = shown[AGREED].caption
    assert "FFN neurons: relevance patching (0.80 over 90 units)" in caption
    assert "heads: denoising (0.30 over 40 units)" in caption
