"""The toxicity study's figures show the columns they name, and captions their tables' numbers."""

import itertools
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from llm_anatomy.figures.exhibit import PALETTE, Exhibit
from llm_anatomy.figures.toxicity import (
    ablations,
    detection,
    early_exit,
    few_labels,
    labels,
    maps,
    negatives,
    question,
    toxicity_figures,
)
from llm_anatomy.tables.detectors import SHIFT
from llm_anatomy.tables.toxicity import (
    ABLATIONS,
    DUPLICATES,
    EARLY_EXIT,
    FOLDS,
    HARD_NEGATIVES,
    HUB_METRICS,
    LABELS,
    MAPS,
    METRICS,
    PREDICTIONS,
    SELF_TRAINING,
)
from llm_anatomy.toxicity.claims import ToxicityScope
from matplotlib.axes import Axes

from tests.unit.figures.drawn import (
    bands,
    bars,
    by_title,
    colour,
    colour_bars,
    dots,
    draws,
    error_bars,
    figure_legend,
    image,
    legend,
    line_of,
    lines,
    panels,
    points,
    rows_shown,
    says,
    words,
)
from tests.unit.figures.tables import Made, Rows, collection, filled

LOGISTIC, FOREST = "logistic_regression", "random_forest"
# Feature set, classifier, value, low, high: one label.
ONE_LABEL = [
    ("spline", LOGISTIC, 0.91, 0.88, 0.93),
    ("spline", FOREST, 0.95, 0.9, 0.97),
    ("length", LOGISTIC, 0.61, 0.55, 0.66),
    ("tfidf_words", LOGISTIC, 0.87, 0.84, 0.9),
    ("spline_first_2_layers", LOGISTIC, 0.83, 0.8, 0.86),
    ("spline_first_2_layers", FOREST, 0.79, 0.7, 0.82),
    ("spline_first_2_layers", "none", 0.11, None, None),
]
# Feature set, classifier, label, value: two labels, of which forests are tried on one.
TWO_LABELS = [
    ("spline", LOGISTIC, "common", 0.9),
    ("spline", LOGISTIC, "rare", 0.72),
    ("spline", FOREST, "common", 0.65),
    ("length", LOGISTIC, "common", 0.5),
    ("length", LOGISTIC, "rare", 0.3),
]
# Training, classifier: ROC-AUC from 5, 10 and 100 % of the labels.
FEW = {
    ("labelled_only", LOGISTIC): [0.75, 0.87, 0.9],
    ("self_training", LOGISTIC): [0.8, 0.85, 0.91],
    ("labelled_only", FOREST): [0.5, 0.6, 0.7],
    ("self_training", FOREST): [0.9, 0.95, 0.4],
}
RATES = [0.05, 0.1, 1.0]
PARTS = {
    (LOGISTIC, "layer"): [0.6, 0.8, 0.55],
    (LOGISTIC, "first_layers"): [0.61, 0.82, 0.93],
    (FOREST, "layer"): [0.71, 0.72, 0.73],
    (FOREST, "first_layers"): [0.74, 0.75, 0.76],
}
GROUPS = ["1", "2", "1-4", "5-7"]
FEATURES = {LOGISTIC: [0.84, 0.85, 0.88, 0.66], FOREST: [0.51, 0.52, 0.53, 0.54]}
# Value, low, high.
NEGATIVES = {
    ("spline", "hard"): (0.8, 0.75, 0.82),
    ("spline", "easy"): (0.97, 0.96, 0.99),
    ("spline", "both"): (0.86, 0.81, 0.9),
    ("length", "hard"): (0.52, 0.48, 0.57),
    ("length", "easy"): (0.94, 0.91, 0.95),
    ("length", "both"): (0.7, 0.6, 0.73),
}
# Twelve texts, of which the first six are rude: in order on one map, by turns on the other.
RUDE = [i < 6 for i in range(12)]
PLACES = {
    "pca": [(float(i), 0.5) for i in range(12)],
    "tsne": [(float(2 * i if i < 6 else 2 * i - 11), -3.0) for i in range(12)],
}
OWN = {"zeta": {"model": "m", "dataset": "zeta"}, "alpha": {"model": "m", "dataset": "alpha"}}


def scored(rows: Rows) -> Rows:
    """ROC-AUC, beside another metric that nothing may show."""
    other = {"metric": "average_precision", "value": 0.001, "low": 0.0, "high": 0.002}
    return [row | more for row in rows for more in ({"metric": "roc_auc"}, other)]


def metrics_of_one() -> Rows:
    names = ("feature_set", "classifier", "value", "low", "high")
    rows = [dict(zip(names, row, strict=True)) for row in ONE_LABEL]
    return scored([row | {"label": "rude", "n_test": 12, "n_folds": 3} for row in rows])


def metrics_of_two() -> Rows:
    names = ("feature_set", "classifier", "label", "value")
    rows = [dict(zip(names, row, strict=True)) for row in TWO_LABELS]
    return scored([row | {"n_test": 4, "n_folds": 5} for row in rows])


def few_rows() -> Rows:
    rows = [
        {"training": training, "classifier": classifier, "label": label, "label_rate": rate}
        | {"value": value * scale, "low": value * scale - 0.02, "high": value * scale + 0.03}
        for label, scale in (("rude", 1.0), ("other", 0.5))
        for (training, classifier), values in FEW.items()
        for rate, value in zip(RATES, values, strict=True)
    ]
    return scored(rows)


def ablation_rows() -> Rows:
    rows = []
    for label, scale in (("rude", 1.0), ("other", 0.5)):
        for (classifier, kind), values in PARTS.items():
            # Not in the order of the layers.
            for layer in (2, 0, 1):
                rows.append({"kind": kind, "layer": layer, "value": scale * values[layer]})
                rows[-1] |= {"features": "1-7", "classifier": classifier, "label": label}
        for classifier, values in FEATURES.items():
            for features, value in zip(GROUPS, values, strict=True):
                kind = "features" if "-" in features else "feature"
                rows.append({"kind": kind, "features": features, "value": scale * value})
                rows[-1] |= {"classifier": classifier, "label": label}
    return scored(rows)


def negative_rows() -> Rows:
    rows = [
        {"feature_set": features, "negatives": kind, "value": value, "low": low, "high": high}
        | {"dataset": "zeta", "easy": "alpha", "label": "rude", "classifier": LOGISTIC}
        for (features, kind), (value, low, high) in NEGATIVES.items()
    ]
    return scored(rows)


def study() -> Iterator[Made]:
    zeta, alpha = OWN["zeta"], OWN["alpha"]
    folds = [{"text_id": f"t{i}", "label": "rude", "truth": truth} for i, truth in enumerate(RUDE)]
    yield Made(FOLDS, folds, {"dataset": "zeta"})
    # Scores of single texts have figures, and tests, of their own.
    yield Made(PREDICTIONS, [], OWN["zeta"])
    positive = {"common": {"u0", "u1", "u3"}, "rare": {"u1"}}
    folds = [
        {"text_id": text, "label": label, "truth": text in positive[label]}
        for label in ("rare", "common")
        for text in ("u0", "u1", "u2", "u3")
    ]
    yield Made(FOLDS, folds, {"dataset": "alpha"})
    # Scores of single texts have figures, and tests, of their own.
    yield Made(PREDICTIONS, [], OWN["alpha"])
    yield Made(METRICS, metrics_of_one(), zeta)
    yield Made(METRICS, metrics_of_two(), alpha)
    row = {"feature_set": "hub:public", "classifier": "none", "label": "rude"}
    row |= {"value": 0.89, "low": 0.85, "high": 0.92, "n_test": 12, "n_folds": 3}
    yield Made(HUB_METRICS, scored([row]), {"dataset": "zeta", "classifier": "public"})
    yield Made(HUB_METRICS, [], {"dataset": "alpha", "classifier": "public"})
    yield Made(SELF_TRAINING, few_rows(), zeta)
    yield Made(SELF_TRAINING, [], alpha)
    yield Made(ABLATIONS, ablation_rows(), zeta)
    yield Made(ABLATIONS, [], alpha)
    places = [
        {"text_id": f"t{i}", "method": method, "x": x, "y": y}
        for method, at in PLACES.items()
        for i, (x, y) in enumerate(at)
    ]
    yield Made(MAPS, places, zeta)
    places = [{"text_id": f"u{i}", "method": "pca", "x": i, "y": 2 * i} for i in range(4)]
    yield Made(MAPS, places, alpha)
    yield Made(HARD_NEGATIVES, negative_rows(), zeta | {"easy": "alpha"})
    timed = [("features", 9, 1.25), ("plain", 9, 1.0), ("features", 2, 0.375)]
    rows = [{"what": w, "n_layers": n, "share_of_plain": s, "n_texts": 7} for w, n, s in timed]
    yield Made(EARLY_EXIT, rows, zeta)
    used = {"zeta": [True, False, False], "alpha": [True, True]}
    for dataset, flags in used.items():
        rows = [{"label": f"l{i}", "used": use, "n_texts": 40} for i, use in enumerate(flags)]
        yield Made(LABELS, rows, {"dataset": dataset})
        yield Made(DUPLICATES, [{"similarity": 1.0}] * (7 * len(flags)), {"dataset": dataset})
    yield Made(SHIFT, [], {"model": "m"})


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exhibit]]:
    tables = collection(tmp_path_factory.mktemp("toxicity"), study())
    scope = ToxicityScope(
        models=["m"],
        datasets=["zeta", "alpha"],
        hub_classifiers=["public"],
        comparisons=[("zeta", "alpha")],
        compared=[],
    )
    yield by_title(toxicity_figures(tables, scope))
    plt.close("all")


def by_name(panel: Axes) -> dict[str, list[list[tuple[float, float]]]]:
    """Lines of every row of the figure, as (x, height above the row), by what stands beside it."""
    names = [text.get_text() for text in panel.get_yticklabels()]
    found: dict[str, list] = {name: [] for name in names}
    for line in panel.get_lines():
        heights = [y for _, y in points(line)]
        if heights == [0, 1]:
            continue  # where chance lies
        row = round(float(np.mean(heights)))
        found[names[row]].append([(x, round(y - row, 9)) for x, y in points(line)])
    return found


@draws(detection)
def test_one_label_has_a_dot_and_an_interval(shown: dict[str, Exhibit]) -> None:
    (panel,) = panels(shown["Detection: zeta"])
    found = by_name(panel)
    names = {
        "spline, logistic": 0,
        "spline, forest": 1,
        "length, logistic": 2,
        "TF-IDF words, logistic": 3,
        "spline first 2 layers, logistic": 4,
        "spline first 2 layers, forest": 5,
        "spline first 2 layers": 6,
    }
    assert list(found)[::-1] == [*names, "public"]
    for name, row in names.items():
        *_, value, low, high = ONE_LABEL[row]
        interval = [] if low is None else [[(low, 0), (high, 0)]]
        assert found[name] == [*interval, [(value, 0)]], name
    assert found["public"] == [[(0.85, 0), (0.92, 0)], [(0.89, 0)]]
    assert panel.get_xlabel() == "ROC-AUC, out of fold"
    tints = {round(points(x)[0][1]): colour(x) for x in panel.get_lines() if len(points(x)) == 1}
    splines = [name.startswith("spline") for name in found]
    assert [tints[i] == PALETTE[0] for i in range(len(found))] == splines


@draws(detection)
def test_several_labels_have_a_dot_each_and_a_bar_at_their_mean(shown: dict[str, Exhibit]) -> None:
    (panel,) = panels(shown["Detection: alpha"])
    found = by_name(panel)
    bar = [pytest.approx(-0.3), pytest.approx(0.3)]
    for name, (values, mean) in {
        "spline, logistic": ([0.9, 0.72], 0.81),
        "length, logistic": ([0.5, 0.3], 0.4),
    }.items():
        spots, across = found[name]
        assert spots == [(value, 0) for value in values]
        assert across == [(pytest.approx(mean), height) for height in bar]
    assert found["spline, forest"] == [[(0.65, 0)]]
    assert panel.get_xlim()[0] == pytest.approx(0.28)


@says(detection)
def test_what_spline_features_and_the_best_of_the_others_reach(shown: dict[str, Exhibit]) -> None:
    one, two = shown["Detection: zeta"].caption, shown["Detection: alpha"].caption
    assert one.startswith("zeta on m, 12 texts, ")
    assert "(3 folds, the same for all). Label rude; lines are bootstrap intervals" in one
    assert (
        "Spline features with logistic regression reach 0.910, the best of the others (public) "
        "0.890. Text length alone reaches 0.610.\n\nThe paper reports 0.992"
    ) in one
    assert "(5 folds, the same for all). Dots are the 2 labels, each against the rest" in two
    assert "tried on the 1 most common labels alone. " in two
    assert (
        "reach 0.810, the best of the others (length, logistic) 0.400. Text length alone reaches "
        "0.400.\n\nThe paper's question nearest to this one"
    ) in two


@says(detection)
def test_the_rows_shown_are_areas_of_every_label(shown: dict[str, Exhibit]) -> None:
    rows = rows_shown(shown["Detection: zeta"], filled(METRICS, metrics_of_one()))
    assert rows["value"].tolist() == [row[2] for row in ONE_LABEL]
    rows = rows_shown(shown["Detection: alpha"], filled(METRICS, metrics_of_two()))
    assert rows["value"].tolist() == [row[3] for row in TWO_LABELS]
    assert set(rows["label"]) == {"common", "rare"}


@pytest.mark.parametrize(
    ("truths", "asked"),
    [
        ({"rude": [True, False]}, "toxicity"),
        ({"law": [True, False], "code": [False, True]}, "domains"),
        ({"rude": [True, False], "threat": [True, False]}, "kinds"),
    ],
)
def test_labels_say_what_a_dataset_asks(truths: dict, asked: str) -> None:
    rows = [
        {"text_id": str(i), "label": label, "truth": truth}
        for label, values in truths.items()
        for i, truth in enumerate(values)
    ]
    assert question(filled(FOLDS, rows)) == asked


@draws(few_labels)
def test_scores_are_lines_over_the_share_of_labels(shown: dict[str, Exhibit]) -> None:
    (panel,) = panels(shown["Few labels: zeta"])
    expected = {
        "logistic, labelled only": FEW["labelled_only", LOGISTIC],
        "logistic, self training": FEW["self_training", LOGISTIC],
        "forest, labelled only": FEW["labelled_only", FOREST],
        "forest, self training": FEW["self_training", FOREST],
    }
    assert lines(panel) == {n: list(zip(RATES, v, strict=True)) for n, v in expected.items()}
    for (name, values), (tint, band) in zip(expected.items(), bands(panel), strict=True):
        assert tint == colour(line_of(panel, name))
        assert band == [(r, v - 0.02, v + 0.03) for r, v in zip(RATES, values, strict=True)]
    assert list(legend(panel.get_legend()).values()) == list(PALETTE[:4])
    assert words(panel)[1:] == ("share of training texts with a label", "ROC-AUC")
    assert [text.get_text() for text in panel.get_xticklabels()] == ["5%", "10%", "100%"]


@says(few_labels)
def test_self_training_gains_what_it_adds_to_the_same_labels(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Few labels: zeta"]
    assert (
        "zeta on m, label rude. From 5% of the labels logistic reaches 0.800 with self-training, "
        "from 100% 0.910. Self-training changes the score by -0.020 to +0.050 against"
    ) in exhibit.caption
    rows = rows_shown(exhibit, filled(SELF_TRAINING, few_rows()))
    assert rows["value"].tolist() == [value for values in FEW.values() for value in values]


@draws(ablations)
def test_layers_are_cells_and_features_bars(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Ablations: zeta"]
    heat, upright = panels(exhibit)
    ticks = [text.get_text() for text in heat.get_yticklabels()]
    assert dict(zip(ticks, image(heat), strict=True)) == {
        "layer alone, logistic": PARTS[LOGISTIC, "layer"],
        "layer alone, forest": PARTS[FOREST, "layer"],
        "first layers, logistic": PARTS[LOGISTIC, "first_layers"],
        "first layers, forest": PARTS[FOREST, "first_layers"],
    }
    assert heat.get_xlabel() == "layer"
    assert colour_bars(exhibit) == ["ROC-AUC"]
    expected = [(i - 0.2, v) for i, v in enumerate(FEATURES[LOGISTIC])]
    expected += [(i + 0.2, v) for i, v in enumerate(FEATURES[FOREST])]
    assert bars(upright) == [(pytest.approx(x), y) for x, y in expected]
    # No bar covers another one.
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in upright.patches)
    assert all(end <= begin + 1e-9 for (_, end), (begin, _) in itertools.pairwise(edges))
    assert [text.get_text() for text in upright.get_xticklabels()] == GROUPS
    assert words(upright)[1:] == ("features", "ROC-AUC")


@says(ablations)
def test_the_best_layer_and_both_groups_of_features_are_said(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Ablations: zeta"]
    assert (
        "label rude, logistic: the best single layer is 1 (0.800), the worst 2 (0.550). The first "
        "layer alone reaches 0.610, all layers 0.930. Features 1 to 4 (share of active units) "
        "reach 0.880 together, 5 to 7 (distance to the nearest boundary) 0.660."
    ) in exhibit.caption
    rows = rows_shown(exhibit, filled(ABLATIONS, ablation_rows()))
    assert rows["value"].tolist() == FEATURES[LOGISTIC]


@draws(maps)
def test_a_dot_is_a_text_where_the_map_places_it(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Maps: zeta"]
    named = figure_legend(exhibit)
    assert list(named) == ["not rude", "rude"]
    for panel, (method, title) in zip(
        panels(exhibit), (("pca", "PCA"), ("tsne", "t-SNE")), strict=True
    ):
        assert panel.get_title() == title
        expected = [
            (named["rude" if rude else "not rude"], *place)
            for rude, place in zip(RUDE, PLACES[method], strict=True)
        ]
        assert sorted(dots(panel)) == sorted(expected)


@draws(maps)
def test_a_text_of_several_labels_is_of_the_rarest(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Maps: alpha"]
    named = figure_legend(exhibit)
    assert list(named) == ["common", "rare", "none of these"]
    (panel,) = panels(exhibit)
    classes = ["common", "rare", "none of these", "common"]
    expected = [(named[name], i, 2 * i) for i, name in enumerate(classes)]
    assert sorted(dots(panel)) == sorted(expected)


@says(maps)
def test_neighbours_of_a_class_are_said_map_by_map(shown: dict[str, Exhibit]) -> None:
    # Of eleven other texts the farthest is left out: of the other class where classes lie apart,
    # and for every second text where they take turns.
    assert (
        "zeta on m: every dot is a text, placed by its spline features alone; on the PCA map 50% "
        "of a text's ten nearest neighbours share its class (45% in a map without order); on the "
        "t-SNE map 45% of a text's ten"
    ) in shown["Maps: zeta"].caption


@draws(negatives)
def test_negatives_are_dots_with_intervals_side_by_side(shown: dict[str, Exhibit]) -> None:
    (panel,) = panels(shown["Hard and easy negatives: zeta"])
    kinds = ("hard", "easy", "both")
    assert [text.get_text() for text in panel.get_xticklabels()] == [
        f"{kind} negatives" for kind in kinds
    ]
    found = error_bars(panel)
    assert list(found) == list(legend_names(panel)) == ["spline", "length"]
    for index, (features, spots) in enumerate(found.items()):
        for at, (kind, spot) in enumerate(zip(kinds, spots, strict=True)):
            expected = (at + 0.15 * (index - 1), *NEGATIVES[features, kind])
            assert spot == pytest.approx(expected)
    assert panel.get_ylabel() == "ROC-AUC"


def legend_names(panel: Axes) -> list[str]:
    return [text.get_text() for text in panel.get_legend().get_texts()]


@says(negatives)
def test_each_kind_of_negatives_has_its_own_score(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Hard and easy negatives: zeta"]
    assert (
        "zeta on m, label rude. With negatives of its own source (hard) spline features reach "
        "0.800; with the texts of alpha as negatives (easy) 0.970, where length alone reaches "
        "0.940; with both 0.860."
    ) in exhibit.caption
    rows = rows_shown(exhibit, filled(HARD_NEGATIVES, negative_rows()))
    assert rows["value"].tolist() == [value for value, _, _ in NEGATIVES.values()]


@draws(early_exit)
@says(early_exit)
def test_the_first_layers_and_all_are_timed_against_the_plain_pass(
    shown: dict[str, Exhibit],
) -> None:
    exhibit = shown["Early exit"]
    assert (
        "m, 7 texts of zeta, one at a time: reading the first 2 layers takes 0.38 of a plain pass "
        "without the language-model head, reading all 9 layers 1.25. Detection from the first "
        "layers (mean ROC-AUC over labels): logistic 0.830, forest 0.790.\n"
    ) in exhibit.caption
    assert (exhibit.rows, exhibit.columns) == (None, ())


@draws(labels)
@says(labels)
@pytest.mark.parametrize(
    ("dataset", "counted"),
    [
        ("zeta", "40 texts, 1 of 3 labels used, 2 set aside. 21 pairs"),
        ("alpha", "40 texts, 2 of 2 labels used, 0 set aside. 14 pairs"),
    ],
)
def test_labels_used_and_copies_are_counted(
    shown: dict[str, Exhibit], dataset: str, counted: str
) -> None:
    exhibit = shown[f"Labels: {dataset}"]
    assert exhibit.caption.startswith(f"{dataset}: {counted} of texts are copies")
    assert (exhibit.rows, exhibit.columns) == (None, ())


def test_files_have_the_names_of_their_figures_and_tables(shown: dict[str, Exhibit]) -> None:
    files = [(e.figure, "/".join(e.table.parts[-2:])) for e in shown.values()]
    assert files == [
        ("detection-m-zeta.png", "zeta/metrics.parquet"),
        ("ablations-m-zeta.png", "zeta/ablations.parquet"),
        ("few-labels-m-zeta.png", "zeta/self_training.parquet"),
        ("maps-m-zeta.png", "zeta/maps.parquet"),
        ("detection-m-alpha.png", "alpha/metrics.parquet"),
        ("maps-m-alpha.png", "alpha/maps.parquet"),
        ("negatives-alpha-m-zeta.png", "hard_negatives/alpha.parquet"),
        (None, "zeta/early_exit.parquet"),
        (None, "zeta/labels.parquet"),
        (None, "alpha/labels.parquet"),
    ]
