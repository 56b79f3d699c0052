"""The patching study's figures show the columns they name, and captions their tables' numbers."""

from collections.abc import Iterator
from importlib.resources import files

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from llm_anatomy.config.patching import ArithmeticTask, PatchingSettings, RelationTask
from llm_anatomy.figures.exhibit import PALETTE, Exhibit
from llm_anatomy.figures.patching import (
    clean_predictions,
    outcome_curves,
    patching_figures,
    score_curves,
    switch_heat_map,
    switch_on_relative_depth,
)
from llm_anatomy.patching.claims import PatchingScope
from llm_anatomy.tables.patching import CURVES, DEPTHS, EXAMPLES, INTAKE, PAIRS, SWEEPS

from tests.unit.figures.drawn import (
    bands,
    by_title,
    colour,
    colour_bars,
    draws,
    figure_legend,
    image,
    legend,
    levels,
    line_of,
    lines,
    panels,
    rows_shown,
    says,
    words,
)
from tests.unit.figures.tables import Made, Rows, collection, filled

# Manipulation, strength, metric: values at layers 0 to 3.
CAPITALS = {
    ("noise", None, "correct"): [0.1, 0.5, 0.7, 0.8],
    ("noise", None, "kl"): [4.0, 3.0, 2.0, 0.5],
    ("angle", 60.0, "correct"): [0.2, 0.15, 0.3, 0.6],
    ("angle", 60.0, "kl"): [5.0, 3.5, 1.5, 0.25],
    ("switch", None, "original"): [0.05, 0.2, 0.5, 0.75],
    ("switch", None, "modified"): [0.9, 0.6, 0.24, 0.12],
    ("switch", None, "neither"): [0.05, 0.2, 0.26, 0.13],
    ("switch", None, "kl"): [9.0, 8.0, 7.0, 6.0],
    ("swap", None, "original"): [0.01, 0.01, 0.02, 0.02],
    ("swap", None, "modified"): [0.02, 0.02, 0.01, 0.01],
    ("swap", None, "neither"): [0.97, 0.98, 0.97, 0.97],
}
OTHER = {
    ("switch", None, "original"): [0.0, 0.1, 0.3, 0.4],
    ("switch", None, "modified"): [0.8, 0.7, 0.5, 0.48],
    ("switch", None, "neither"): [0.2, 0.2, 0.2, 0.12],
}
SUMS = {
    ("noise", None, "exact_match"): [0.3, 0.35, 0.4, 0.45],
    ("noise", None, "f1"): [0.9, 0.9, 0.9, 0.9],
    ("noise", None, "kl"): [1.0, 0.75, 0.5, 0.25],
}
# Manipulation, strength, subset, metric, quantity, layer, depth, low, high.
DEPTH_ROWS = [
    ("switch", None, "clean_correct", "original", "crossover", 3, 0.75, 3, 3),
    ("switch", None, "all", "original", "crossover", 1, 0.25, 1, 3),
    ("switch", None, "all", "original", "transition_width", 1, 0.25, 0, 2),
    ("noise", None, "clean_correct", "correct", "drop_free_10", 0, 0.0, 0, 0),
    ("noise", None, "all", "kl", "drop_free_10", 1, 0.25, 0, 0),
    ("noise", None, "all", "correct", "drop_free_20", 1, 0.25, 0, 0),
    ("noise", None, "all", "correct", "drop_free_10", 2, 0.5, 1, 3),
    ("angle", 60.0, "all", "correct", "drop_free_10", None, None, None, None),
]
NO_CROSSOVER = [("switch", None, "all", "original", "crossover", None, None, None, None)]
LAYERS = (2, 0, 3, 1)  # not in order


def curves(values: dict, **more: object) -> Rows:
    return [
        {"manipulation": manipulation, "strength": strength, "metric": metric, "layer": layer}
        | {"subset": subset, "depth": layer / 4, "layers": 4, "value": scale * of[layer]}
        | {"low": scale * of[layer] - 0.01, "high": scale * of[layer] + 0.02}
        | more
        for subset, scale in (("clean_correct", 0.5), ("all", 1.0))
        for (manipulation, strength, metric), of in values.items()
        for layer in LAYERS
    ]


def depths(rows: list) -> Rows:
    names = ("manipulation", "strength", "subset", "metric", "quantity")
    names = (*names, "layer", "depth", "low", "high")
    return [dict(zip(names, row, strict=True)) | {"layers": 4} for row in rows]


def capital_sweep() -> Rows:
    rows = [
        {"manipulation": "noise", "example_id": "France", "correct": False},
        {"manipulation": "none", "example_id": "Spain", "correct": True},
        {"manipulation": "none", "example_id": "Italy", "correct": False},
        {"manipulation": "none", "example_id": "France", "correct": True},
    ]
    return [row | {"prediction": f"answer {i}"} for i, row in enumerate(rows)]


def sum_sweep() -> Rows:
    return [
        {"manipulation": "none", "example_id": f"s{i}", "correct": i < 5}
        | {"exact_match": float(i < 10), "f1": 0.5 + 0.25 * (i < 5)}
        for i in range(25)
    ]


def study() -> Iterator[Made]:
    used = [("task", True, None)] * 3
    aside = [("task", False, "no_answer")] * 2 + [("task", False, "not_sampled")]
    switch = [("switch", True, None)] * 2 + [("switch", False, "no_donor")] * 5
    intake = [
        dict(zip(("scope", "used", "category"), row, strict=True))
        for row in (*used, *aside, *switch)
    ]
    # Two manipulations each miss tokens of the first example, one of them those of another, too.
    missing = [("e1", False, "no_position"), ("e1", True, "fewer_positions")]
    intake += [
        dict(zip(("example_id", "used", "category"), row, strict=True)) | {"scope": "positions"}
        for row in (*missing, ("e2", False, "no_position"))
    ]
    pairs = ["equal_length"] * 3 + ["last_token"] * 2
    for model, values, rows, baseline in (
        ("m", CAPITALS, DEPTH_ROWS, 0.8125),
        ("n", OTHER, NO_CROSSOVER, 0.4375),
    ):
        own = {"model": model, "task": "capitals"}
        found = curves(values, baseline=baseline, chance=0.125, examples=16)
        yield Made(CURVES, found, own)
        yield Made(DEPTHS, depths(rows), own)
        yield Made(INTAKE, intake, own)
        yield Made(EXAMPLES, [{"answer_tokens": n} for n in (1, 3, 2)], own)
        yield Made(SWEEPS, capital_sweep(), own)
        yield Made(PAIRS, [{"alignment": name} for name in pairs], own)
        own = {"model": model, "task": "sums"}
        found = curves(SUMS, baseline=0.4, examples=25) if model == "m" else []
        yield Made(CURVES, found, own)
        yield Made(DEPTHS, [], own)
        yield Made(INTAKE, [{"scope": "task", "used": True}] * 25, own)
        yield Made(EXAMPLES, [{"answer_tokens": 2}] * 25, own)
        yield Made(SWEEPS, sum_sweep(), own)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exhibit]]:
    tables = collection(tmp_path_factory.mktemp("patching"), study())
    tasks = [
        RelationTask(name="capitals", relation="capitals", keep=["France"]),
        ArithmeticTask(name="sums"),
    ]
    scope = PatchingScope(models=["m", "n"], patching=PatchingSettings(tasks=tasks))
    yield by_title(patching_figures(tables, scope))
    plt.close("all")


def spread(values: list[float]) -> list[tuple[float, float, float]]:
    return [(k, value - 0.01, value + 0.02) for k, value in enumerate(values)]


@draws(clean_predictions)
@says(clean_predictions)
def test_clean_answers_are_shown_with_the_kept_subject_first(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["capitals: what m answers without manipulation"]
    assert (
        "Of 6 examples read, 3 are used and the others set aside (2 no answer, 1 not sampled). "
        "2 of them lack positions that a manipulation lists or describes. Clean share correct "
        "0.667. An answer is right here when its first token is: 2 of 3 answers have more tokens, "
        "of which nothing is read; with max_new_tokens: 3 whole answers are. Shown: 3 of 3 "
    ) in exhibit.caption
    rows = rows_shown(exhibit, filled(SWEEPS, capital_sweep()))
    assert rows["example_id"].tolist() == ["France", "Spain", "Italy"]
    assert rows["prediction"].tolist() == ["answer 3", "answer 1", "answer 2"]
    assert list(rows.columns)[2:] == ["correct", "gold_rank", "gold_logprob"]


@draws(clean_predictions)
@says(clean_predictions)
def test_twenty_of_many_answers_are_shown(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["sums: what m answers without manipulation"]
    assert (
        "Of 25 examples read, 25 are used. Clean exact match 0.400 and F1 0.550. Shown: 20 of 25"
    ) in exhibit.caption
    assert list(exhibit.rows) == list(range(20))


@draws(score_curves)
def test_scores_stand_left_and_divergences_right(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["capitals: manipulating previous tokens at layer k of m"]
    left, right = panels(exhibit)
    for panel, metric in ((left, "correct"), (right, "kl")):
        expected = {"noise": CAPITALS["noise", None, metric]}
        expected["angle 60°"] = CAPITALS["angle", 60.0, metric]
        found = {name: at for name, at in lines(panel).items() if len(at) == 4}
        assert found == {name: list(enumerate(values)) for name, values in expected.items()}
        for (name, values), (tint, band) in zip(expected.items(), bands(panel), strict=True):
            assert tint == colour(line_of(panel, name))
            assert band == spread(values)
    assert words(left)[1:] == ("manipulated layer k", "share correct")
    assert words(right)[1:] == ("manipulated layer k", "KL from clean (nat)")
    assert levels(left) == [0.8125, 0.125]
    assert lines(left)["clean"][0][1] == 0.8125
    assert lines(left)["chance"][0][1] == 0.125
    assert list(figure_legend(exhibit)) == ["noise", "angle 60°", "clean", "chance"]


@draws(score_curves)
@says(score_curves)
def test_the_first_score_is_shown_and_chance_where_it_is_known(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["sums: manipulating previous tokens at layer k of m"]
    left, right = panels(exhibit)
    assert lines(left)["noise"] == list(enumerate(SUMS["noise", None, "exact_match"]))
    assert lines(right)["noise"] == list(enumerate(SUMS["noise", None, "kl"]))
    assert left.get_ylabel() == "exact match"
    assert list(figure_legend(exhibit)) == ["noise", "clean"]
    assert "Left: exact match over 25 examples when" in exhibit.caption
    assert "sums: manipulating previous tokens at layer k of n" not in shown


@says(score_curves)
def test_layers_without_a_drop_are_said(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["capitals: manipulating previous tokens at layer k of m"]
    assert "Left: share correct over 16 examples when previous tokens are" in exhibit.caption
    assert "at layer k of 4; bands" in exhibit.caption
    assert (
        "within 10 % of the clean 0.812: noise from k = 2 on; angle 60° from no layer on. Right"
    ) in exhibit.caption
    rows = rows_shown(exhibit, filled(DEPTHS, depths(DEPTH_ROWS)))
    assert rows.index.tolist() == [6, 7]
    assert list(rows.columns)[:4] == ["manipulation", "strength", "metric", "quantity"]


@draws(outcome_curves)
def test_outcomes_are_those_of_the_first_switch(shown: dict[str, Exhibit]) -> None:
    (panel,) = panels(shown["capitals: original, donor's or neither answer of m"])
    expected = {"original answer": "original", "donor's answer": "modified", "neither": "neither"}
    for (label, metric), (tint, band) in zip(expected.items(), bands(panel), strict=True):
        values = CAPITALS["switch", None, metric]
        assert lines(panel)[label] == list(enumerate(values))
        assert tint == colour(line_of(panel, label))
        assert band == spread(values)
    named = legend(panel.get_legend())
    assert [named[label] for label in expected] == [PALETTE[0], PALETTE[1], PALETTE[7]]
    assert list(named) == [*expected, "clean"]
    assert levels(panel) == [0.8125]
    assert words(panel)[1:] == ("switched layer k", "share of examples")


@says(outcome_curves)
def test_where_the_original_answer_is_ahead_and_neither_is_given(
    shown: dict[str, Exhibit],
) -> None:
    caption = shown["capitals: original, donor's or neither answer of m"].caption
    assert (
        "16 examples, of which the clean model gets 0.812 right; the original answer is ahead "
        "from k = 1 of 4 on (0.25 of the depth, 95 % interval 1 to 3). "
        "Neither answer is given most often at k = 2 (0.260). In"
    ) in caption
    caption = shown["capitals: original, donor's or neither answer of n"].caption
    assert (
        "gets 0.438 right; the original answer never stays ahead of the donor's in 4 layers. "
        "Neither"
    ) in caption


@draws(switch_heat_map)
def test_whose_answer_is_an_image_by_layer(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["capitals: whose answer, when the subject is switched at layer k"]
    for panel, model, values in zip(panels(exhibit), "mn", (CAPITALS, OTHER), strict=True):
        original, donor = (values["switch", None, name] for name in ("original", "modified"))
        assert image(panel) == [list(pair) for pair in zip(original, donor, strict=True)]
        assert panel.images[0].origin == "lower"
        assert panel.images[0].get_clim() == (0.0, 0.9)
        assert [text.get_text() for text in panel.get_xticklabels()] == [
            "original\nanswer",
            "donor's\nanswer",
        ]
        assert [text.get_text() for text in panel.get_yticklabels()] == ["0", "1", "2", "3"]
        assert words(panel) == (model, "", "switched layer k")
    assert colour_bars(exhibit) == ["share of examples"]


@says(switch_heat_map)
def test_crossovers_and_pairs_are_said(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["capitals: whose answer, when the subject is switched at layer k"]
    assert (
        " m: the original answer is ahead from k = 1 of 4 on (0.25 of the depth, 95 % interval "
        "1 to 3). n: the original answer never stays ahead of the donor's in 4 layers. Pairs by "
        "alignment of the two subjects' tokens: 3 equal length, 2 last token; 5 examples set aside."
    ) in exhibit.caption
    rows = rows_shown(exhibit, filled(DEPTHS, depths(DEPTH_ROWS)))
    assert rows.index.tolist() == [0, 1, 2]
    assert rows["layer"].tolist() == [3, 1, 1]


@draws(switch_on_relative_depth)
def test_curves_beside_the_papers_are_relative_to_their_maximum(
    shown: dict[str, Exhibit],
) -> None:
    exhibit = shown["capitals: the switch beside the paper's models, on relative depth"]
    with files("llm_anatomy.patching").joinpath("switch_capitals_paper.csv").open() as file:
        paper = pd.read_csv(file, comment="#")
    for panel, outcome, count, title in zip(
        panels(exhibit),
        ("modified", "original"),
        ("mod_count_of_194", "orig_count_of_194"),
        ("donor's answer", "original answer"),
        strict=True,
    ):
        assert panel.get_title() == title
        assert panel.get_xlabel() == "switched layer, k / number of layers"
        for model, values in (("m", CAPITALS), ("n", OTHER)):
            own = values["switch", None, outcome]
            assert lines(panel)[model] == [
                (k / 4, pytest.approx(v / max(own))) for k, v in enumerate(own)
            ]
        for model, own in paper.groupby("model"):
            top = own[count].max()
            assert lines(panel)[f"{model} (paper)"] == [
                (layer / 32, pytest.approx(found / top))
                for layer, found in zip(own["layer"], own[count], strict=True)
            ]
    assert panels(exhibit)[0].get_ylabel() == "share, relative to its maximum"
    named = figure_legend(exhibit)
    assert list(named)[-2:] == ["m", "n"]
    assert [named["m"], named["n"]] == list(PALETTE[:2])
    assert len(named) == 5


@says(switch_on_relative_depth)
def test_crossovers_are_said_beside_the_papers(shown: dict[str, Exhibit]) -> None:
    caption = shown["capitals: the switch beside the paper's models, on relative depth"].caption
    assert " m: the original answer is ahead from k = 1 of 4 on (0.25 of the depth" in caption
    assert " n: the original answer never stays ahead of the donor's in 4 layers." in caption


def test_files_have_the_names_of_their_figures_and_tables(shown: dict[str, Exhibit]) -> None:
    made = [(e.figure, "/".join(e.table.parts[-3:])) for e in shown.values() if e.figure]
    assert made == [
        ("curves_m_capitals.png", "m/capitals/depths.parquet"),
        ("outcomes_m_capitals.png", "m/capitals/curves.parquet"),
        ("outcomes_n_capitals.png", "n/capitals/curves.parquet"),
        ("switch_capitals.png", "m/capitals/depths.parquet"),
        ("switch_paper_capitals.png", "m/capitals/curves.parquet"),
        ("curves_m_sums.png", "m/sums/depths.parquet"),
    ]
