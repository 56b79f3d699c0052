"""The figure of the report's first page shows its table, and its table shows the studies'."""

from pathlib import Path

import numpy as np
import pytest
from llm_anatomy.figures.anatomy import PANELS, anatomy_exhibit, anatomy_figures
from llm_anatomy.figures.exhibit import Exhibit
from llm_anatomy.report.anatomy import anatomy_frame
from llm_anatomy.tables.anatomy import ANATOMY
from llm_anatomy.tables.facts import LAYER_SUMMARY
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION
from llm_anatomy.tables.neurons import STATISTICS
from llm_anatomy.tables.patching import CURVES

from tests.unit.figures.drawn import by_title, draws, lines, panels, says
from tests.unit.figures.tables import Made, collection

# Study, series: value by layer.
SERIES = {
    ("geometry", "remarks"): [30.0, 12.0, 20.5],
    ("neurons", "up"): [0.1, 0.4, 0.2],
    ("neurons", "down"): [0.3, 0.2, 0.6],
    ("patching", "freeze"): [0.1, 0.5, 0.9],
    ("patching", "noise"): [0.0, 0.25, 0.75],
    ("facts", "attention"): [-0.5, 1.5, 0.25],
    ("facts", "ffn"): [0.5, -1.0, 2.125],
}
WITH_INTERVAL = ("geometry", "patching")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exhibit]:
    rows = [
        {"study": study, "series": series, "layer": layer, "value": value, "about": "capitals"}
        | ({"low": value - 0.125, "high": value + 0.25} if study in WITH_INTERVAL else {})
        for (study, series), values in SERIES.items()
        for layer, value in enumerate(values)
    ]
    made = [Made(ANATOMY, rows, {"model": "m"}), Made(ANATOMY, [], {"model": "none"})]
    tables = collection(tmp_path_factory.mktemp("tables"), made)
    return by_title(anatomy_figures(tables, ["m", "none"]))


@draws(anatomy_exhibit)
def test_every_study_has_a_panel_with_its_series(shown: dict[str, Exhibit]) -> None:
    # A model without layer-by-layer numbers has no figure.
    assert list(shown) == ["Anatomy of m"]
    axes = panels(shown["Anatomy of m"])
    assert [axis.get_ylabel() for axis in axes] == list(PANELS.values())
    for axis, study in zip(axes, PANELS, strict=True):
        expected = {
            series.replace("ffn", "FFN"): list(enumerate(values))
            for (of, series), values in SERIES.items()
            if of == study
        }
        assert lines(axis) == expected
        bands = [band.get_paths()[0].vertices[:, 1] for band in axis.collections]
        assert len(bands) == (len(expected) if study in WITH_INTERVAL else 0)
        for band, values in zip(bands, expected.values(), strict=False):
            drawn = [value for _, value in values]
            assert band.min() == pytest.approx(min(drawn) - 0.125)
            assert band.max() == pytest.approx(max(drawn) + 0.25)


@says(anatomy_exhibit)
def test_the_caption_says_where_each_series_is_largest(shown: dict[str, Exhibit]) -> None:
    caption = shown["Anatomy of m"].caption
    for part in (
        "remarks in layer 0 (30)",
        "up in layer 1 (0.4), down in layer 2 (0.6)",
        "at the last layer: freeze 0.9, noise 0.75",
        "attention in layer 1 (1.5), FFN in layer 2 (2.12)",
    ):
        assert part in caption


def test_the_table_holds_the_studies_own_numbers(tmp_path: Path) -> None:
    owner = {"model": "m"}
    dimensions = [
        {"text_id": text, "position": position, "layer": layer, "threshold": threshold}
        | {"dimension": 10 * layer + number if position == 3 else 99}
        for number, text in enumerate(("a", "b", "c"))
        for position in (2, 3)
        for layer in range(2)
        for threshold in ("relative", "absolute")
    ]
    statistics = [
        {"layer": layer, "neuron": neuron, "matrix": "up"}
        | {"cosine_positive": 0.1 * neuron, "cosine_negative": 0.25}
        for layer in range(2)
        for neuron in range(4)
    ]
    curves = [
        {"manipulation": "freeze", "subset": subset, "metric": metric, "layer": layer}
        | {"value": layer + 0.5, "low": layer, "high": layer + 1.0}
        for subset in ("all", "clean_correct")
        for metric in ("kl", "correct")
        for layer in range(2)
    ]
    summary = [
        {"relation": relation, "unit": unit, "kind": unit, "layer": layer}
        | {"importance": value * (layer + 1), "facts": facts}
        for relation, facts, value in (("capitals", 3, 1.0), ("months", 1, 5.0))
        for unit in ("attention", "ffn", "head")
        for layer in range(2)
    ]
    tables = collection(
        tmp_path,
        [
            Made(INTRINSIC_DIMENSION, dimensions, owner | {"dataset": "remarks"}),
            Made(STATISTICS, statistics, owner),
            Made(CURVES, curves, owner | {"task": "capitals"}),
            Made(LAYER_SUMMARY, summary, owner),
        ],
    )
    frame = anatomy_frame(tables, "m", ["remarks"], "capitals")
    found = {
        (study, series): own["value"].tolist()
        for (study, series), own in frame.groupby(["study", "series"])
    }
    assert found[("geometry", "remarks")] == [1.0, 11.0]
    # The nearer end of each neuron: 0.25, 0.25, 0.25 and 0.3.
    assert found[("neurons", "up")] == pytest.approx([0.2625, 0.2625])
    assert found[("patching", "freeze")] == [0.5, 1.5]
    # Every fact counts once: (3 * 1 + 1 * 5) / 4.
    assert found[("facts", "ffn")] == found[("facts", "attention")] == [2.0, 4.0]
    assert set(frame["about"]) == {
        "remarks",
        "all neurons",
        "capitals: correct",
        "capitals, months",
    }
    curve = frame[frame["study"] == "patching"]
    assert curve[["low", "high"]].to_numpy().tolist() == [[0.0, 1.0], [1.0, 2.0]]
    assert np.isnan(frame.loc[frame["study"] == "facts", "low"]).all()


def test_studies_that_did_not_run_are_left_out(tmp_path: Path) -> None:
    rows = [{"layer": 0, "neuron": 0, "matrix": "down", "cosine_positive": 0.5}]
    tables = collection(
        tmp_path,
        [
            Made(STATISTICS, rows, {"model": "m"}),
            Made(LAYER_SUMMARY, [], {"model": "other"}),
        ],
    )
    frame = anatomy_frame(tables, "m", [], None)
    assert frame[["study", "series"]].to_numpy().tolist() == [["neurons", "down"]]
