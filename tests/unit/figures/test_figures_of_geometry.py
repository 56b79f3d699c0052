"""The geometry study's figures show the columns they name, and captions their tables' numbers."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from llm_anatomy.figures.exhibit import PALETTE, Exhibit
from llm_anatomy.figures.geometry import (
    dimension_profiles,
    feature_profiles,
    geometry_figures,
    insert_maps,
    theory_checks,
)
from llm_anatomy.figures.geometry_prompts import (
    MARKERS,
    correlation_profiles,
    judgements,
    prompt_scatter,
    scorer_exhibit,
)
from llm_anatomy.geometry.claims import GeometryScope
from llm_anatomy.tables.geometry import (
    HULL_CHECKS,
    INSERT_STARTS,
    INTRINSIC_DIMENSION,
    PREFIX_FEATURES,
    PROMPT_CORRELATIONS,
    PROMPT_DIMENSION,
    PROMPT_OUTCOMES,
    PROMPTS,
    REGION_CHECKS,
    SCORERS,
    SPLINE_FEATURES,
)
from matplotlib.collections import PathCollection
from matplotlib.markers import MarkerStyle

from tests.unit.figures.drawn import (
    bands,
    by_title,
    colour,
    colour_bars,
    dots,
    draws,
    figure_legend,
    image,
    legend,
    levels,
    line_of,
    lines,
    panels,
    says,
    words,
)
from tests.unit.figures.tables import Made, Rows, collection, filled

# Not in the order of the alphabet, as a user may list them.
DATASETS = ("zeta", "alpha")
# Three texts that lie 0, 10 and 50 steps above a base: mean 20, quantiles (5 %, 95 %) 1 and 46.
STEPS = (0, 10, 50)
ACTIVE = {"zeta": [0.1, 0.05, 0.3], "alpha": [0.15, 0.45, 0.2]}
DISTANCE = {"zeta": [1.0, 7.0, 3.0], "alpha": [2.0, 5.0, 4.0]}
RELATIVE = {"zeta": [10, 25, 30], "alpha": [60, 15, 95]}
ABSOLUTE = {"zeta": [200, 300, 400], "alpha": [500, 900, 700]}
LENGTHS = {"zeta": (11, 12, 16), "alpha": (30, 31, 35)}
# Feature 1 of a document's prefixes of 1 to 12 tokens, in layers 0 and 1.
PREFIXES = {
    "letter": ([0.0] * 8 + [0.1, 0.09, 0.09, 0.14], [0.5] * 12),
    "diary": ([0.3] * 8 + [0.2, 0.3, 0.1, 0.0], [0.0] * 8 + [0.4, 0.5, 0.6, 0.7]),
}
# Category, condition, format, context length, dimension of the last layer, judged positive.
PROMPT_ROWS = [
    ("money", "none", "raw", 10, 40, ()),
    ("money", "related", "raw", 21, 90, ("harmful",)),
    ("money", "related", "chat", 33, 70, ("harmful", "refusal")),
    ("work", "related", "raw", 27, 94, ("refusal",)),
    ("work", "unrelated", "raw", 25, 52, ()),
    ("work", "length_matched", "chat", 36, 61, ()),
]
# Variable: Pearson's r and the partial correlation of layers 0 to 2.
CORRELATED = {
    ("chat", "context_length"): ([0.81, 0.62, 0.43], [0.11, 0.12, 0.13]),
    ("chat", "related"): ([0.7, 0.2, 0.7], [0.05, 0.9, 0.15]),
    ("raw", "context_length"): ([0.95, 0.6, 0.25], [-0.11, -0.12, -0.13]),
    ("raw", "related"): ([0.3, 0.35, 0.4], [0.1, 0.2, -0.55]),
}
# Of two texts and layers 0 and 1, by dataset: attended tokens, rank, relative count.
HULL = {
    "zeta": [[(10, 6, 4), (20, 12, 9)], [(14, 9, 2), (24, 19, 7)]],
    "alpha": [[(30, 28, 8), (40, 33, 15)], [(50, 41, 6), (64, 60, 5)]],
}
# Of two texts and layers 0 and 1: the map's error, and that towards a boundary.
REGIONS = {
    ("zeta", "model"): [[(0.5, 0.05), (0.9, 0.09)], [(0.1, 0.01), (0.4, 0.02)]],
    ("alpha", "model"): [[(0.2, 0.03), (0.6, 0.06)], [(0.3, 0.08), (0.7, 0.07)]],
    ("zeta", "relu"): [[(1e-9, 5e-9), (3e-9, 6e-9)], [(2e-9, 7e-9), (4e-9, 9e-9)]],
    ("alpha", "relu"): [[(8e-9, 1e-8), (6e-9, 3e-8)], [(9e-9, 2e-8), (5e-9, 4e-8)]],
}


def features(dataset: str) -> Rows:
    rows = []
    for text, step in enumerate(STEPS):
        row = {"text_id": f"t{text}"}
        for layer in range(3):
            for feature in range(1, 8):
                base = {1: ACTIVE, 6: DISTANCE}.get(feature)
                value = 1000.0 * feature if base is None else base[dataset][layer]
                row[f"l{layer}_f{feature}"] = value + step * (0.01 if feature == 1 else 1)
        rows.append(row)
    return rows


def dimensions(dataset: str) -> Rows:
    rows = []
    for text, (step, length) in enumerate(zip(STEPS, LENGTHS[dataset], strict=True)):
        for threshold, base in (("relative", RELATIVE), ("absolute", ABSOLUTE)):
            for layer in range(3):
                own = {"text_id": f"t{text}", "n_tokens": length, "layer": layer}
                own |= {"threshold": threshold, "count": 5}
                value = base[dataset][layer] + step
                rows.append(own | {"position": length - 1, "dimension": value})
                rows.append(own | {"position": 3, "dimension": 7777})
    return rows


def hulls(dataset: str) -> Rows:
    return [
        {"text_id": f"t{text}", "layer": layer, "count": count, "rank": rank}
        | {"relative_count": relative, "hull_error": rank * 1e-8, "relative_error": 0.5}
        for text, layers in enumerate(HULL[dataset])
        for layer, (count, rank, relative) in enumerate(layers)
    ]


def regions(dataset: str, gated: bool = True) -> Rows:
    return [
        {"text_id": f"t{text}", "layer": layer, "activation": activation, "gated": gated}
        | {"reconstruction_error": error, "neighbour_error": neighbour}
        for (owner, activation), texts in REGIONS.items()
        if owner == dataset
        for text, layers in enumerate(texts)
        for layer, (error, neighbour) in enumerate(layers)
    ]


def study() -> Iterator[Made]:
    for dataset in DATASETS:
        own = {"model": "m", "dataset": dataset}
        yield Made(SPLINE_FEATURES, features(dataset), own)
        yield Made(INTRINSIC_DIMENSION, dimensions(dataset), own)
        yield Made(HULL_CHECKS, hulls(dataset), own)
        yield Made(REGION_CHECKS, regions(dataset), own)
    own = {"model": "m"}
    prefixes = [
        {"document": document, "position": position, "layer": layer, "f1": value}
        | {f"f{feature}": position**2.0 for feature in range(2, 8)}
        for document, layers in PREFIXES.items()
        for layer, values in enumerate(layers)
        for position, value in enumerate(values)
    ]
    yield Made(PREFIX_FEATURES, prefixes, own)
    names = ("document", "feature", "start", "end", "rank", "windows")
    starts = [
        ("letter", 2, 1, 2, 77, 78),
        ("letter", 1, 9, 11, 3, 40),
        ("diary", 1, 8, 10, 1, 50),
        ("diary", 2, 3, 4, 88, 89),
    ]
    yield Made(INSERT_STARTS, [dict(zip(names, row, strict=True)) for row in starts], own)
    names = ("category", "condition", "format", "context_length")
    prompts = [dict(zip(names, row[:4], strict=True)) for row in PROMPT_ROWS]
    prompts = [row | {"prompt_id": f"p{i}", "step": 1} for i, row in enumerate(prompts)]
    yield Made(PROMPTS, prompts, own)
    found = [
        {"prompt_id": f"p{i}", "layer": layer, "threshold": threshold, "dimension": dimension}
        for i, row in enumerate(PROMPT_ROWS)
        for layer, threshold, dimension in (
            (2, "absolute", 555),
            (2, "relative", row[4]),
            (1, "relative", 333),
        )
    ]
    yield Made(PROMPT_DIMENSION, found, own)
    outcomes = [
        {"prompt_id": f"p{i}", "outcome": name, "positive": name in row[5]}
        for i, row in enumerate(PROMPT_ROWS)
        for name in ("harmful", "refusal")
    ]
    yield Made(PROMPT_OUTCOMES, outcomes, own)
    trained = [
        {"outcome": "harmful", "roc_auc": 0.9375, "n_used": 120, "dataset": "zeta"},
        {"outcome": "refusal", "roc_auc": 0.625, "n_used": 80, "dataset": "alpha"},
    ]
    trained = [row | {"n_rows": 500, "balanced_accuracy": 0.5} for row in trained]
    yield Made(SCORERS, trained, own)
    correlations = [
        {"format": form, "threshold": threshold, "layer": layer, "variable": variable}
        | {"pearson": sign * r, "spearman": 0.99, "partial": sign * p}
        for threshold, sign in (("absolute", -1), ("relative", 1))
        for (form, variable), values in CORRELATED.items()
        for layer, (r, p) in enumerate(zip(*values, strict=True))
    ]
    yield Made(PROMPT_CORRELATIONS, correlations, own)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exhibit]]:
    tables = collection(tmp_path_factory.mktemp("geometry"), study())
    scope = GeometryScope(seed=0, models=["m"], datasets=list(DATASETS))
    yield by_title(geometry_figures(tables, scope))
    plt.close("all")


def profile(base: list[float], step: float) -> list[tuple[float, object]]:
    """The mean of three texts that lie 0, 10 and 50 steps above a base."""
    return [(i, pytest.approx(value + 20 * step)) for i, value in enumerate(base)]


def shade(base: list[float], step: float) -> list[tuple[float, object, object]]:
    return [
        (i, pytest.approx(value + 1 * step), pytest.approx(value + 46 * step))
        for i, value in enumerate(base)
    ]


@draws(feature_profiles)
def test_profiles_are_of_features_1_and_6_by_dataset(shown: dict[str, Exhibit]) -> None:
    left, right = panels(shown["Spline features"])
    for panel, base, step in ((left, ACTIVE, 0.01), (right, DISTANCE, 1.0)):
        assert list(lines(panel)) == list(DATASETS)
        for index, (dataset, (tint, band)) in enumerate(zip(DATASETS, bands(panel), strict=True)):
            assert lines(panel)[dataset] == profile(base[dataset], step)
            assert band == shade(base[dataset], step)
            assert tint == colour(line_of(panel, dataset)) == PALETTE[index]
    assert words(left)[1:] == ("layer", "mean active share")
    assert words(right)[1:] == ("layer", "mean distance")
    assert (left.get_yscale(), right.get_yscale()) == ("linear", "log")
    assert list(legend(left.get_legend())) == list(DATASETS)


@says(feature_profiles)
def test_active_shares_of_the_first_and_last_layer(shown: dict[str, Exhibit]) -> None:
    caption = shown["Spline features"].caption
    assert "Features 1 and 6 of m, per layer" in caption
    assert "In the first layer 30% of the gate's units are active on average, " in caption
    assert "in the last 50% (zeta). " in caption
    assert "mean active shares differ most in layer 1, by 40.0%." in caption


@says(feature_profiles)
def test_one_dataset_alone_differs_from_none() -> None:
    frame = filled(SPLINE_FEATURES, features("alpha"))
    caption = feature_profiles({"alpha": frame}, "m", Path("t")).caption
    assert (
        "first layer 35% of the gate's units are active on average, in the last 40% (a" in caption
    )
    assert "differ" not in caption


@draws(dimension_profiles)
def test_dimensions_are_those_of_the_last_token(shown: dict[str, Exhibit]) -> None:
    left, right = panels(shown["Attention intrinsic dimension"])
    for panel, base in ((left, RELATIVE), (right, ABSOLUTE)):
        assert list(lines(panel)) == list(DATASETS)
        for index, (dataset, (tint, band)) in enumerate(zip(DATASETS, bands(panel), strict=True)):
            assert lines(panel)[dataset] == profile(base[dataset], 1)
            assert band == shade(base[dataset], 1)
            assert tint == colour(line_of(panel, dataset)) == PALETTE[index]
        assert panel.get_yscale() == "log"
    assert words(left) == ("relative threshold", "layer", "intrinsic dimension")
    assert words(right) == ("absolute threshold", "layer", "intrinsic dimension")
    assert list(legend(left.get_legend())) == list(DATASETS)


@says(dimension_profiles)
def test_relative_dimensions_of_the_first_and_last_layer(shown: dict[str, Exhibit]) -> None:
    caption = shown["Attention intrinsic dimension"].caption
    assert "Intrinsic dimension of m at the last token" in caption
    assert "zeta 30 and 50 (mean length 13 tokens); alpha 80 and 115 (mean length 32" in caption


@draws(insert_maps)
def test_changes_are_weighted_by_length_and_drawn_against_the_largest(
    shown: dict[str, Exhibit],
) -> None:
    exhibit = shown["Where an inserted passage begins"]
    # Prefixes of 9, 10, 11 and 12 tokens, times the change of feature 1.
    expected = {
        "letter": ([0.9, 0.1, 0.0, 0.6], 0.9, [0.0] * 4, 1.0),
        "diary": ([0.9, 1.0, 2.2, 1.2], 2.2, [3.6, 1.0, 1.1, 1.2], 3.6),
    }
    edges = {"letter": [8.5, 10.5], "diary": [7.5, 9.5]}
    for panel, (document, (first, top, second, other)) in zip(
        panels(exhibit), expected.items(), strict=True
    ):
        scaled = [[x / top for x in first], [x / other for x in second]]
        cells = [[np.log10(max(x, 1e-3)) for x in layer] for layer in scaled]
        np.testing.assert_allclose(image(panel), cells, atol=1e-9)
        assert panel.images[0].get_extent() == [7.5, 11.5, -0.5, 1.5]
        assert panel.images[0].origin == "lower"
        # One colour bar stands for all.
        assert panel.images[0].get_clim() == (-3.0, 0.0)
        assert [float(line.get_xdata()[0]) for line in panel.get_lines()] == edges[document]
        assert (panel.get_title(), panel.get_ylabel()) == (document, "layer")
    assert panels(exhibit)[-1].get_xlabel() == "token"
    assert colour_bars(exhibit) == ["log10 of change / layer's largest"]


@says(insert_maps)
def test_ranks_are_those_of_feature_1(shown: dict[str, Exhibit]) -> None:
    caption = shown["Where an inserted passage begins"].caption
    assert "one prefix to the next, in m;" in caption
    assert "of the document: letter: 3 of 40; diary: 1 of 50.\n" in caption


@draws(prompt_scatter)
def test_a_dot_is_a_prompts_length_and_last_dimension(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Intrinsic dimension against the prompt"]
    named = figure_legend(exhibit)
    answers = ("harmful", "harmful and refusal", "neither", "refusal")
    conditions = ("none", "related", "unrelated", "length_matched")
    assert list(named) == [*(c.replace("_", " ") for c in conditions), *answers]
    assert [named[answer] for answer in answers] == list(PALETTE[:4])
    for panel, (form, category) in zip(
        panels(exhibit),
        (("raw", "money"), ("raw", "work"), ("chat", "money"), ("chat", "work")),
        strict=True,
    ):
        own = [row for row in PROMPT_ROWS if (row[0], row[2]) == (category, form)]
        assert sorted(dots(panel)) == sorted(
            (named[" and ".join(row[5]) or "neither"], row[3], row[4]) for row in own
        )
        for cloud in panel.collections:
            assert isinstance(cloud, PathCollection)
            (place,) = cloud.get_offsets().tolist()
            (condition,) = [row[1] for row in own if list(row[3:5]) == place]
            mark = MarkerStyle(MARKERS[condition])
            path = mark.get_path().transformed(mark.get_transform())
            np.testing.assert_array_equal(cloud.get_paths()[0].vertices, path.vertices)
        label = "last-layer dimension" if category == "money" else ""
        assert words(panel) == (f"{category}, {form}", "context length", label)


@draws(prompt_scatter)
def test_every_condition_has_a_marker_of_its_own(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Intrinsic dimension against the prompt"]
    handles = exhibit.drawn.legends[0].legend_handles
    marks = {handle.get_label(): handle.get_marker() for handle in handles}
    assert {c: marks[c.replace("_", " ")] for c in MARKERS if c.replace("_", " ") in marks} == {
        "none": "*",
        "unrelated": "o",
        "related": "^",
        "length_matched": "s",
    }
    assert len(set(MARKERS.values())) == len(MARKERS)


@says(prompt_scatter)
def test_dimensions_are_averaged_over_raw_prompts(shown: dict[str, Exhibit]) -> None:
    caption = shown["Intrinsic dimension against the prompt"].caption
    assert "Intrinsic dimension of m's last layer" in caption
    assert "Means over raw prompts: none 40, unrelated 52, related 92. " in caption
    assert (
        "The answers to all 6 prompts, judged by the trained classifiers: 1 harmful, "
        "1 harmful and refusal, 3 neither, 1 refusal. "
    ) in caption


@pytest.mark.parametrize(
    ("names", "positive", "called"),
    [
        (("harmful", "refusal"), {("p0", "harmful"), ("p0", "refusal")}, "harmful and refusal"),
        (("harmful", "refusal"), {("p0", "refusal"), ("p1", "harmful")}, "refusal"),
        (("harmful", "refusal"), set(), "neither"),
        (("harmful",), {("p1", "harmful")}, "not harmful"),
        ((), set(), "not judged"),
    ],
)
def test_an_answer_is_called_by_the_outcomes_that_reach_their_thresholds(
    names: tuple[str, ...], positive: set, called: str
) -> None:
    outcomes = PROMPT_OUTCOMES.frame(
        {"prompt_id": p, "outcome": n, "score": 0.5, "positive": (p, n) in positive}
        for p in ("p0", "p1")
        for n in names
    )
    assert judgements(pd.Series(["p0"]), outcomes).tolist() == [called]


@says(prompt_scatter)
def test_unjudged_answers_are_said_to_be_so() -> None:
    made = {made.schema: filled(made.schema, made.rows) for made in study()}
    caption = prompt_scatter(
        made[PROMPTS], made[PROMPT_DIMENSION], PROMPT_OUTCOMES.frame([]), "m", Path("t")
    ).caption
    assert "The answers are not judged" in caption
    assert "judged by the trained classifiers" not in caption


@draws(scorer_exhibit)
@says(scorer_exhibit)
def test_classifiers_of_answers_are_listed_with_what_they_reach(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["The classifiers that judge the answers"]
    assert (
        " harmful: ROC-AUC 0.94 on 120 texts of zeta; refusal: ROC-AUC 0.62 on 80 texts of alpha. "
    ) in exhibit.caption
    assert exhibit.rows is None
    assert exhibit.columns == ()


@draws(correlation_profiles)
def test_length_is_raw_and_topic_with_length_held_fixed(shown: dict[str, Exhibit]) -> None:
    left, right = panels(shown["What intrinsic dimension goes with"])
    for panel, form in ((left, "raw"), (right, "chat")):
        assert lines(panel) == {
            "context length": list(enumerate(CORRELATED[form, "context_length"][0])),
            "related (length held fixed)": list(enumerate(CORRELATED[form, "related"][1])),
        }
        assert levels(panel) == [0.0]
        assert panel.get_ylim() == (-1.0, 1.0)
    assert words(left) == ("raw prompts", "layer", "correlation with dimension")
    assert words(right) == ("chat prompts", "layer", "")
    assert legend(left.get_legend()) == {
        "context length": PALETTE[0],
        "related (length held fixed)": PALETTE[1],
    }


@says(correlation_profiles)
def test_correlations_of_raw_prompts_are_said(shown: dict[str, Exhibit]) -> None:
    caption = shown["What intrinsic dimension goes with"].caption
    assert "dimension of m's layers" in caption
    assert "Raw prompts: Pearson r with context length is 0.95 in the first and 0.25 in" in caption
    assert "related prefix is strongest in layer 2 (r = -0.55)." in caption


@draws(theory_checks)
def test_rank_and_bound_are_means_over_the_texts_of_all_datasets(shown: dict[str, Exhibit]) -> None:
    left, _ = panels(shown["The theory, checked"])
    assert lines(left) == {
        "bound: tokens attended to": [(0, 26.0), (1, 37.0)],
        "rank of their values": [(0, 21.0), (1, 31.0)],
        "intrinsic dimension (relative)": [(0, 5.0), (1, 9.0)],
    }
    assert list(legend(left.get_legend()).values()) == list(PALETTE[:3])
    assert words(left)[1:] == ("layer", "dimensions")
    assert left.get_yscale() == "log"


@draws(theory_checks)
def test_errors_of_the_region_map_are_medians(shown: dict[str, Exhibit]) -> None:
    _, right = panels(shown["The theory, checked"])
    assert lines(right) == {
        label: [(layer, pytest.approx(value)) for layer, value in enumerate(values)]
        for label, values in {
            "as it is": [0.25, 0.65],
            "as it is, towards a boundary": [0.04, 0.065],
            "with ReLU": [5e-9, 4.5e-9],
            "with ReLU, towards a boundary": [8.5e-9, 1.95e-8],
        }.items()
    }
    styles = {label: line_of(right, label).get_linestyle() for label in lines(right)}
    assert list(styles.values()) == ["-", ":", "-", ":"]
    assert list(legend(right.get_legend()).values()) == [PALETTE[i] for i in (0, 0, 1, 1)]
    assert words(right)[1:] == ("layer", "relative error of the region's map")
    assert right.get_yscale() == "log"


@says(theory_checks)
def test_worst_ranks_and_errors_are_said(shown: dict[str, Exhibit]) -> None:
    caption = shown["The theory, checked"].caption
    assert "last tokens of 4 texts in m. " in caption
    assert "minus the bound is at most -2, " in caption
    assert "an error of at most 6.0e-07. " in caption
    assert (
        "(error at most 9.0e-09); with the model's own activation the median error is 0.45. "
        in (caption)
    )
    assert "The MLP is gated, so the map of a region is a product of two affine maps." in caption


@says(theory_checks)
def test_an_mlp_without_a_gate_is_called_affine() -> None:
    hull = filled(HULL_CHECKS, hulls("zeta"))
    caption = theory_checks(
        hull, filled(REGION_CHECKS, regions("zeta", gated=False)), "m", Path("t")
    ).caption
    assert "The MLP has no gate, so the map of a region is affine." in caption


def test_files_have_the_names_of_their_figures_and_tables(shown: dict[str, Exhibit]) -> None:
    files = {exhibit.figure: "/".join(exhibit.table.parts[-3:]) for exhibit in shown.values()}
    assert files == {
        "features-m.png": "m/zeta/spline_features.parquet",
        "dimension-m.png": "m/zeta/intrinsic_dimension.parquet",
        "inserts-m.png": "m/inserts/insert_starts.parquet",
        "prompts-m.png": "m/prompts/prompt_dimension.parquet",
        None: "m/prompts/answer_scorers.parquet",
        "correlations-m.png": "m/prompts/prompt_correlations.parquet",
        "theory-m.png": "m/zeta/hull_checks.parquet",
    }
