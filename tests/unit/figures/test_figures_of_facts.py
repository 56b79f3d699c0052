"""The facts study's figures show the columns they name, and captions their tables' numbers."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from llm_anatomy.facts.claims import FactsScope
from llm_anatomy.figures.exhibit import PALETTE, Exhibit
from llm_anatomy.figures.fact_case import attention_exhibit, contrast_exhibit, neuron_exhibit
from llm_anatomy.figures.facts import (
    curve_exhibit,
    facts_figures,
    head_exhibit,
    knock_out_exhibits,
    layer_exhibit,
    method_exhibit,
    query_exhibit,
    shared_exhibit,
)
from llm_anatomy.tables.attribution import AGREEMENT_WITH_EXACT, FAITHFULNESS
from llm_anatomy.tables.fact_case import CASE_ATTENTION, CASE_CONTRASTS, CASE_STUDY
from llm_anatomy.tables.facts import (
    CURVE,
    FACTS,
    FACTS_INTAKE,
    KNOCK_OUT_SUMMARY,
    LAYER_SUMMARY,
    METHOD_LAYERS,
    QUERY_NEURONS,
    SHARED_NEURONS,
)

from tests.unit.figures.drawn import (
    bars,
    by_title,
    colour,
    colour_bars,
    dots,
    draws,
    heat,
    image,
    legend,
    line_of,
    lines,
    panels,
    rows_shown,
    says,
    words,
)
from tests.unit.figures.tables import Made, collection, filled, grid

# Not in the order of the alphabet, as a user may list them; a third relation is left out.
RELATIONS = ("months", "capitals")
LAYERS = {
    ("months", "attention"): [0.5, -0.25, 1.0, 2.0],
    ("months", "ffn"): [0.125, 0.75, -2.5, 0.375],
    ("capitals", "attention"): [0.0625, 0.1, 0.1875, 0.25],
    ("capitals", "ffn"): [4.0, -5.0, 1.5, 2.75],
}
HEADS = {
    "months": [[0.5, 3.0], [-6.0, 1.0], [2.0, 0.25], [0.1, 0.2]],
    "capitals": [[0.6, -0.3], [0.7, 0.8], [0.0, 5.0], [0.35, 0.9]],
}
# Query scores of layers 0 to 3, and of the embedding, which no line shows.
QUERIES = {
    ("months", "query_ffn", "attention"): [1.0, 2.0, 3.0, 4.0],
    ("capitals", "query_ffn", "attention"): [3.0, 4.0, 5.0, 8.0],
    ("months", "query_ffn", "ffn"): [0.5, 0.25, 0.75, 1.5],
    ("capitals", "query_ffn", "ffn"): [1.5, 0.75, 0.25, 2.5],
    ("months", "query_attention", "attention"): [-1.0, 0.0, 1.0, 2.0],
    ("capitals", "query_attention", "attention"): [-3.0, 2.0, 3.0, 4.0],
    ("months", "query_attention", "ffn"): [7.0, 6.0, 5.0, 5.0],
    ("capitals", "query_attention", "ffn"): [9.0, 7.0, 6.0, 9.0],
}
COUNTS = {"months": 1, "capitals": 3}
SHARES = [0.0, 0.25, 0.5, 0.75, 1.0]
CURVES = {
    "months": ([-9.0, -8.0, -5.0, -2.0, -1.0], [0.002, 0.01, 0.05, 0.2, 0.5]),
    "capitals": ([-7.0, -6.0, -4.0, -3.0, -2.0], [0.004, 0.02, 0.07, 0.3, 0.7]),
}
METHODS = {
    ("months", "log_increase"): [0.1, 0.2, 0.3, 0.4],
    ("capitals", "log_increase"): [0.3, 0.2, 0.3, 0.2],
    ("months", "prob_increase"): [0.0, 0.0, 0.0, 1.0],
    ("capitals", "prob_increase"): [0.0, 0.0, 0.5, 0.5],
    ("months", "norm"): [0.7, 0.1, 0.1, 0.1],
    ("capitals", "norm"): [0.5, 0.3, 0.1, 0.1],
    ("months", "random"): [0.25, 0.25, 0.25, 0.25],
    ("capitals", "random"): [0.25, 0.35, 0.15, 0.25],
}
# Relation, selection, method, whose heads, decrease of the probability.
KNOCK_OUT = [
    ("months", "none", "none", None, 99.0),
    ("months", "ffn", "log_increase", None, 60.0),
    ("capitals", "ffn", "log_increase", None, 20.0),
    ("numbers", "ffn", "log_increase", None, 10.0),
    ("months", "query_neurons", "log_increase", None, 90.0),
    ("capitals", "query_neurons", "log_increase", None, 75.0),
    ("months", "ffn_layers", "random", None, -3.0),
    ("capitals", "ffn_layers", "random", None, 1.0),
    ("months", "heads", "importance", "months", 50.0),
    ("capitals", "heads", "importance", "months", 11.0),
    ("months", "heads", "importance", "capitals", 7.0),
    ("capitals", "heads", "importance", "capitals", 44.0),
    ("capitals", "heads", "random", "capitals", 88.0),
]
QUERY_ROWS = [
    ("months", "m0", 0, False),
    ("months", "m0", 1, False),
    ("months", "m0", 1, True),
    ("capitals", "c0", 1, False),
    ("capitals", "c0", 3, False),
    ("capitals", "c1", 3, False),
    ("capitals", "c1", 2, True),
    ("capitals", "c1", 3, True),
]
SHARED = [("months", "value", 5), ("months", "query", 1), ("capitals", "value", 2)]
# Layer, head, position, attention, importance.
ATTENTION = [
    (7, 2, 0, 0.625, -0.5),
    (7, 2, 1, 0.375, 0.25),
    (3, 11, 0, 0.125, 0.75),
    (3, 11, 1, 0.875, -1.5),
]
CONTRASTS = {
    ("Bonn", "attention"): [1.0, 2.0, 4.0],
    ("Bonn", "ffn"): [-0.5, 0.25, -1.0],
    ("Rome", "attention"): [0.5, 0.5, -3.0],
    ("Rome", "ffn"): [8.0, 0.125, 0.125],
}


def layer_rows() -> list[dict]:
    rows = []
    for (relation, unit), values in LAYERS.items():
        own = {"relation": relation, "unit": unit, "kind": unit, "facts": COUNTS[relation]}
        rows += [own | row for row in grid(layer=range(4), importance=values)]
    for relation, layers in HEADS.items():
        own = {"relation": relation, "unit": "head", "kind": "attention"}
        for layer, values in enumerate(layers):
            rows += [own | {"layer": layer} | r for r in grid(head=range(2), importance=values)]
    for (relation, unit, kind), values in QUERIES.items():
        own = {"relation": relation, "unit": unit}
        rows.append(own | {"kind": "embedding", "layer": -1, "importance": 40.0})
        rows += [own | {"kind": kind} | r for r in grid(layer=range(4), importance=values)]
    return rows


def case_rows() -> list[dict]:
    units = ["ffn_neuron"] * 10 + ["layer"] + ["attention_neuron"] * 2 + ["query_neuron"] * 9
    return list(grid(unit=units, index=range(len(units)), top_tokens=[f"t{i}" for i in range(22)]))


def study() -> Iterator[Made]:
    own = {"model": "m"}
    errors = {"months": [2e-6, 1e-6], "capitals": [7e-6], "numbers": [0.5]}
    for relation, values in errors.items():
        rows = [{"telescoping_error": value} for value in values]
        yield Made(FACTS, rows, own | {"relation": relation})
        # Lists of facts have tests of their own.
        yield Made(FACTS_INTAKE, [], own | {"relation": relation})
    for relation, (logprob, probability) in CURVES.items():
        rows = list(grid(share=SHARES, logprob=logprob, probability=probability))
        yield Made(CURVE, rows, own | {"relation": relation})
    yield Made(LAYER_SUMMARY, layer_rows(), own)
    yield Made(
        METHOD_LAYERS,
        [
            {"relation": relation, "method": method} | row
            for (relation, method), shares in METHODS.items()
            for row in grid(layer=range(4), share=shares)
        ],
        own,
    )
    names = ("relation", "selection", "method", "heads_of", "prob_decrease")
    knocked = [dict(zip(names, row, strict=True)) for row in KNOCK_OUT]
    yield Made(KNOCK_OUT_SUMMARY, knocked, own)
    names = ("relation", "example_id", "layer", "also_value")
    yield Made(QUERY_NEURONS, [dict(zip(names, row, strict=True)) for row in QUERY_ROWS], own)
    shared = [
        {"relation": relation, "role": role, "neuron": neuron}
        for relation, role, count in SHARED
        for neuron in range(count)
    ]
    yield Made(SHARED_NEURONS, shared, own)
    names = ("layer", "head", "position", "attention", "importance")
    looks = [dict(zip(names, row, strict=True)) for row in ATTENTION]
    looks = [r | {"position_token": ("The", "Rhine")[r["position"]]} for r in looks]
    looks = [r | {"top_tokens": f"says {r['importance']}"} for r in looks]
    yield Made(CASE_ATTENTION, looks, own)
    contrasts = [
        {"contrast": contrast, "kind": kind} | row
        for (contrast, kind), values in CONTRASTS.items()
        for row in grid(layer=range(3), importance=values)
    ]
    yield Made(CASE_CONTRASTS, contrasts, own)
    yield Made(CASE_STUDY, case_rows(), own)
    # What units carry is drawn, and tested, apart; a relation with too few facts has nothing.
    for schema in (FAITHFULNESS, AGREEMENT_WITH_EXACT):
        yield Made(schema, [], own | {"relation": "months"})


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exhibit]]:
    tables = collection(tmp_path_factory.mktemp("facts"), study())
    yield by_title(
        facts_figures(tables, FactsScope(seed=0, models=["m"], relations=list(RELATIONS)))
    )
    plt.close("all")


def table_of(schema: object) -> list[dict]:
    (rows,) = [made.rows for made in study() if made.schema is schema]
    return rows


@draws(layer_exhibit)
def test_layers_are_heat_maps_of_importance_by_relation(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Which layers bring the answer about (m)"]
    upper, lower = panels(exhibit)
    for panel, unit in ((upper, "attention"), (lower, "ffn")):
        cells = heat(panel)
        assert list(cells.columns) == ["0", "1", "2", "3"]
        assert list(cells.index) == list(RELATIONS)
        for relation in RELATIONS:
            assert cells.loc[relation].tolist() == LAYERS[relation, unit]
        assert panel.collections[0].get_clim() == (-5.0, 5.0)
    assert words(upper) == ("attention", "", "")
    assert words(lower) == ("ffn", "layer", "")
    assert colour_bars(exhibit) == ["nat", "nat"]


@says(layer_exhibit)
def test_sums_over_layers_stand_beside_their_kind(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Which layers bring the answer about (m)"]
    assert (
        "Summed over layers, in nat: months: attention 3.25, FFN -1.25 (1 fact); "
        "capitals: attention 0.60, FFN 3.25 (3 facts). "
    ) in exhibit.caption
    assert "gains over the embedding, up to 7e-06 nat." in exhibit.caption
    assert exhibit.columns == ("relation", "unit", "layer", "importance", "facts")
    values = rows_shown(exhibit, filled(LAYER_SUMMARY, layer_rows()))["importance"].tolist()
    every = sorted((value for own in LAYERS.values() for value in own), reverse=True)
    assert values == every[:12]
    assert Path(exhibit.table).name == "layer_summary.parquet"


@draws(head_exhibit)
def test_heads_are_images_of_importance_by_layer(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Which heads bring the answer about (m)"]
    first, second = panels(exhibit)
    assert words(first) == ("months", "head", "layer")
    assert words(second) == ("capitals", "head", "")
    assert image(first) == HEADS["months"]
    assert image(second) == HEADS["capitals"]
    assert first.images[0].get_clim() == second.images[0].get_clim() == (-6.0, 6.0)
    assert colour_bars(exhibit) == ["nat"]


@says(head_exhibit)
def test_the_three_best_heads_are_named_by_layer_and_head(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Which heads bring the answer about (m)"]
    assert "months: 0_1, 2_0, 1_1; capitals: 2_1, 3_1, 1_1.\n" in exhibit.caption
    values = rows_shown(exhibit, filled(LAYER_SUMMARY, layer_rows()))
    every = [value for own in HEADS.values() for pair in own for value in pair]
    assert values["importance"].tolist() == sorted(every, reverse=True)[:12]
    assert values.iloc[0].tolist() == ["capitals", 2, 1, 5.0]
    assert exhibit.columns == ("relation", "layer", "head", "importance")


@draws(curve_exhibit)
def test_curves_show_log_probability_left_and_probability_right(shown: dict[str, Exhibit]) -> None:
    left, right = panels(shown["Why log-probability is the scale (m)"])
    for panel, at in ((left, 0), (right, 1)):
        expected = {r: list(zip(SHARES, CURVES[r][at], strict=True)) for r in RELATIONS}
        assert lines(panel) == expected
    assert words(left)[1:] == ("share of the way from $h^0$ to $h^L$", "log p (nat)")
    assert words(right)[1:] == ("share of the way from $h^0$ to $h^L$", "p")
    named = legend(right.get_legend())
    assert list(named) == list(RELATIONS)
    assert all(named[r] == colour(line_of(panel, r)) for r in RELATIONS for panel in (left, right))


@says(curve_exhibit)
def test_half_way_is_the_mean_of_the_relations(shown: dict[str, Exhibit]) -> None:
    caption = shown["Why log-probability is the scale (m)"].caption
    assert "log-probability has risen from -8.0 to -4.5 of -1.5," in caption
    assert "the probability from 0.003 to 0.060 of 0.600." in caption


@draws(method_exhibit)
def test_bars_are_a_methods_shares_averaged_over_relations(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Where each method finds its neurons (m)"]
    expected = {
        "log increase": [0.2, 0.2, 0.3, 0.3],
        "prob increase": [0.0, 0.0, 0.25, 0.75],
        "norm": [0.6, 0.2, 0.1, 0.1],
        "random": [0.25, 0.3, 0.2, 0.25],
    }
    assert [panel.get_title() for panel in panels(exhibit)] == list(expected)
    for panel, heights in zip(panels(exhibit), expected.values(), strict=True):
        assert bars(panel) == [
            (pytest.approx(at), pytest.approx(height)) for at, height in enumerate(heights)
        ]
    assert exhibit.drawn.get_supxlabel() == "layer"
    assert exhibit.drawn.get_supylabel() == "share of selected neurons"


@says(method_exhibit)
def test_mean_layers_are_weighted_by_the_shares(shown: dict[str, Exhibit]) -> None:
    caption = shown["Where each method finds its neurons (m)"].caption
    # 0.2 + 2·0.3 + 3·0.3; 2·0.25 + 3·0.75; 0.2 + 2·0.1 + 3·0.1; 0.3 + 2·0.2 + 3·0.25
    assert "Mean layer: log increase 1.7, prob increase 2.8, norm 0.7, random 1.4" in caption


@draws(knock_out_exhibits)
def test_a_dot_is_one_relations_decrease(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["What switching neurons off does (m)"]
    (panel,) = panels(exhibit)
    labels = [text.get_text() for text in panel.get_yticklabels()]
    assert labels == ["ffn: log increase", "query neurons: log increase", "ffn layers: random"]
    named = legend(panel.get_legend())
    assert list(named) == [*RELATIONS, "numbers"]
    relation = {tint: name for name, tint in named.items()}
    found = {(relation[tint], labels[round(y)]): x for tint, x, y in dots(panel)}
    assert found == {
        (name, f"{selection.replace('_', ' ')}: {method.replace('_', ' ')}"): value
        for name, selection, method, _, value in KNOCK_OUT
        if selection in ("ffn", "query_neurons", "ffn_layers")
    }
    assert words(panel)[1:] == ("decrease of the answer's probability (%)", "")


@says(knock_out_exhibits)
def test_decreases_are_averaged_over_relations(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["What switching neurons off does (m)"]
    assert (
        "Mean over relations: ffn: log increase 30.0 %; query neurons: log increase 82.5 %; "
        "ffn layers: random -1.0 %.\n"
    ) in exhibit.caption
    rows = rows_shown(exhibit, filled(KNOCK_OUT_SUMMARY, table_of(KNOCK_OUT_SUMMARY)))
    assert rows["prob_decrease"].tolist() == [60.0, 20.0, 10.0, 90.0, 75.0, -3.0, 1.0]


@draws(knock_out_exhibits)
def test_a_row_is_whose_heads_and_a_column_where_they_are_missed(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Whose heads are whose (m)"]
    (panel,) = panels(exhibit)
    cells = heat(panel)
    assert list(cells.index) == list(cells.columns) == list(RELATIONS)
    assert cells.to_numpy().tolist() == [[50.0, 11.0], [7.0, 44.0]]
    assert [text.get_text() for text in panel.texts] == ["50", "11", "7", "44"]
    assert words(panel)[1:] == ("evaluated on", "heads of")
    assert colour_bars(exhibit) == ["decrease (%)"]
    rows = rows_shown(exhibit, filled(KNOCK_OUT_SUMMARY, table_of(KNOCK_OUT_SUMMARY)))
    assert rows["prob_decrease"].tolist() == [50.0, 11.0, 7.0, 44.0]
    assert list(rows.columns) == ["relation", "heads_of", "facts", "mrr_decrease", "prob_decrease"]


@draws(query_exhibit)
def test_query_scores_are_lines_by_kind_and_neurons_left(shown: dict[str, Exhibit]) -> None:
    left, _ = panels(shown["What activates the value neurons (m)"])
    expected = {
        "attention → FFN neurons": ([2.0, 3.0, 4.0, 6.0], PALETTE[0], "-"),
        "ffn → FFN neurons": ([1.0, 0.5, 0.5, 2.0], PALETTE[1], "-"),
        "attention → attention neurons": ([-2.0, 1.0, 2.0, 3.0], PALETTE[0], "--"),
        "ffn → attention neurons": ([8.0, 6.5, 5.5, 7.0], PALETTE[1], "--"),
    }
    assert lines(left) == {k: list(enumerate(v)) for k, (v, _, _) in expected.items()}
    for label, (_, tint, style) in expected.items():
        assert (colour(line_of(left, label)), line_of(left, label).get_linestyle()) == (tint, style)
    assert list(legend(left.get_legend())) == list(expected)
    assert words(left)[1:] == ("layer", "query score (nat)")


@draws(query_exhibit)
def test_query_neurons_are_counted_per_fact_right(shown: dict[str, Exhibit]) -> None:
    _, right = panels(shown["What activates the value neurons (m)"])
    expected = {"query only": [1, 2, 0, 2], "query and value": [0, 1, 1, 1]}
    for label, counts in expected.items():
        # Three facts: m0, c0, c1.
        assert lines(right)[label] == [(i, pytest.approx(n / 3)) for i, n in enumerate(counts)]
    assert list(legend(right.get_legend())) == list(expected)
    assert words(right)[1:] == ("layer", "query neurons per fact")


@says(query_exhibit)
def test_share_of_query_neurons_that_are_value_neurons(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["What activates the value neurons (m)"]
    assert "by layer; 37.5 % of them are value neurons too." in exhibit.caption
    rows = rows_shown(exhibit, filled(LAYER_SUMMARY, layer_rows()))
    every = [v for own in QUERIES.values() for v in own] + [40.0] * len(QUERIES)
    assert rows["importance"].tolist() == sorted(every, reverse=True)[:12]
    assert list(rows.columns) == ["relation", "unit", "kind", "layer", "importance"]


@draws(shared_exhibit)
@says(shared_exhibit)
def test_shared_neurons_are_counted_and_three_of_each_shown(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Neurons that facts share (m)"]
    assert ": capitals, value: 2; months, query: 1; months, value: 5. Shown" in exhibit.caption
    rows = rows_shown(exhibit, filled(SHARED_NEURONS, table_of(SHARED_NEURONS)))
    assert rows[["relation", "role", "neuron"]].to_numpy().tolist() == [
        ["months", "value", 0],
        ["months", "value", 1],
        ["months", "value", 2],
        ["months", "query", 0],
        ["capitals", "value", 0],
        ["capitals", "value", 1],
    ]


@draws(attention_exhibit)
def test_where_heads_look_and_what_that_brings(shown: dict[str, Exhibit]) -> None:
    left, right = panels(shown["Case study: where the best heads look (m)"])
    assert words(left) == ("attention", "", "layer_head")
    assert words(right) == ("importance", "", "")
    for panel, cells in (
        (left, [[0.625, 0.375], [0.125, 0.875]]),
        (right, [[-0.5, 0.25], [0.75, -1.5]]),
    ):
        found = heat(panel)
        assert found.to_numpy().tolist() == cells
        assert list(found.columns) == ["The", "Rhine"]
    assert list(heat(left).index) == ["7_2", "3_11"]
    assert left.collections[0].get_clim() == (0, 0.875)
    assert right.collections[0].get_clim() == (-1.5, 1.5)


@says(attention_exhibit)
def test_the_strongest_head_is_named_with_its_token(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Case study: where the best heads look (m)"]
    assert "is head 3_11 at 'The' with 0.75 nat, which writes says 0.75." in exhibit.caption
    rows = rows_shown(exhibit, filled(CASE_ATTENTION, table_of(CASE_ATTENTION)))
    assert rows["importance"].tolist() == [0.75, 0.25, -0.5, -1.5]


@draws(contrast_exhibit)
def test_contrasts_are_lines_of_attention_and_ffn(shown: dict[str, Exhibit]) -> None:
    first, second = panels(shown["Case study: what tells the answer apart (m)"])
    for panel, contrast in ((first, "Bonn"), (second, "Rome")):
        assert lines(panel) == {
            kind: list(enumerate(CONTRASTS[contrast, kind])) for kind in ("attention", "ffn")
        }
    assert words(first) == ("against 'Bonn'", "layer", "nat")
    assert words(second) == ("against 'Rome'", "layer", "")
    assert legend(first.get_legend()) == {"attention": PALETTE[0], "ffn": PALETTE[1]}


@says(contrast_exhibit)
def test_contrasts_are_summed_by_kind(shown: dict[str, Exhibit]) -> None:
    caption = shown["Case study: what tells the answer apart (m)"].caption
    assert "Bonn: attention 7.00, FFN -1.25; Rome: attention -2.00, FFN 8.25." in caption


@draws(neuron_exhibit)
@says(neuron_exhibit)
def test_eight_neurons_of_every_kind_say_their_tokens(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Case study: what the neurons say (m)"]
    rows = rows_shown(exhibit, filled(CASE_STUDY, case_rows()))
    assert rows["index"].tolist() == [*range(8), 11, 12, *range(13, 21)]
    assert "bottom_tokens" not in rows
    assert rows["top_tokens"].iloc[0] == "t0"


def test_files_have_the_names_of_their_figures_and_tables(shown: dict[str, Exhibit]) -> None:
    files = {exhibit.figure: Path(exhibit.table).name for exhibit in shown.values()}
    assert files == {
        "layers-m.png": "layer_summary.parquet",
        "heads-m.png": "layer_summary.parquet",
        "curve-m.png": "curve.parquet",
        "methods-m.png": "method_layers.parquet",
        "knock-out-m.png": "knock_out_summary.parquet",
        "transfer-m.png": "knock_out_summary.parquet",
        "queries-m.png": "layer_summary.parquet",
        "case-attention-m.png": "case_attention.parquet",
        "case-contrasts-m.png": "case_contrasts.parquet",
        None: "case_study.parquet",
    }
