"""The figures that compare detectors show the columns they name, and captions their numbers."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from llm_anatomy.figures.detectors import (
    detector_figures,
    detectors,
    reliability,
    shift,
    shift_figures,
    subgroups,
)
from llm_anatomy.figures.exhibit import PALETTE, Exhibit
from llm_anatomy.tables.detectors import (
    DETECTORS,
    OPERATING_POINTS,
    RELIABILITY,
    SHIFT,
    SUBGROUPS,
)
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from tests.unit.figures.drawn import (
    by_title,
    colour,
    draws,
    error_bars,
    image,
    panels,
    points,
    rows_shown,
    says,
    words,
)
from tests.unit.figures.tables import Made, Rows, collection, filled

LOGISTIC = "logistic_regression"
# Feature set, classifier, name in figures, ROC-AUC, low, high, share of a pass.
METHODS = [
    ("spline", LOGISTIC, "spline", 0.80, 0.77, 0.83, 1.0),
    ("tfidf", LOGISTIC, "TF-IDF", 0.86, 0.83, 0.89, 0.0),
    ("mean_state_layer_3", LOGISTIC, "mean state layer 3", 0.88, 0.85, 0.91, 0.5),
    ("first_token", "sparse_logistic", "first answer token, sparse", 0.84, 0.8, 0.87, 1.2),
    ("token_states", "max_probe", "token states, max", 0.89, 0.855, 0.92, 0.4),
    ("spline_and_state", LOGISTIC, "spline and mean state", 0.885, 0.85, 0.915, 1.0),
]
RATES = (0.001, 0.01)
# Positives found of 200 and false alarms of 400, for each rate.
FOUND = [(3 + i, 40 + 10 * i) for i in range(len(METHODS))]
FALSE = [(i % 2, 3 + i) for i in range(len(METHODS))]


# Column, group, areas of `spline` and `first_token` within it, their false alarms.
GROUPS = [
    ("length", "2 to 5 tokens", (0.55, 0.7), (0.02, 0.04)),
    ("length", "6 to 9 tokens", (0.8, None), (0.11, 0.03)),
    ("mentions", "women", (0.6, 0.65), (0.2, None)),
]
SHIFTED = {"spline": [[0.9, 0.6], [0.7, 0.8]], "tfidf": [[0.95, 0.52], [None, 0.85]]}


def grouped() -> Iterator[dict[str, object]]:
    own = {"label": "bad", "wanted_rate": 0.05}
    for index, number in enumerate((0, 3)):
        features, classifier = METHODS[number][:2]
        for column, group, areas, alarms in GROUPS:
            alarm = alarms[index]
            ends = {} if alarm is None else {"false_positive_low": alarm - 0.01}
            ends |= {} if alarm is None else {"false_positive_high": alarm + 0.02}
            row = {"feature_set": features, "classifier": classifier, "column": column}
            row |= {"group": group, "subgroup_auc": areas[index], "false_positive_rate": alarm}
            yield own | row | ends
    yield own | row | {"label": "rare", "group": "other", "subgroup_auc": 0.1}


def shifted() -> Iterator[dict[str, object]]:
    for label in ("bad", "alone"):
        for features, matrix in SHIFTED.items():
            for train, values in zip(("a", "b"), matrix, strict=True):
                for test, value in zip(("a", "b"), values, strict=True):
                    own = {"label": label, "test_label": label, "feature_set": features}
                    own |= {"train": train, "test": test}
                    if value is not None and (label == "bad" or train == test == "a"):
                        left = {"n_left_out": 3 if train != test else 0}
                        yield own | left | {"metric": "roc_auc", "value": value}
                        yield own | {"metric": "average_precision", "value": 0.1}


def study() -> Iterator[Made]:
    owner = {"model": "m", "dataset": "zeta"}
    metrics: Rows = []
    operating: Rows = []
    bins: Rows = []
    for label, positive in (("rare", 20), ("bad", 200)):
        for number, (features, classifier, _, value, low, high, share) in enumerate(METHODS):
            own = {"feature_set": features, "classifier": classifier, "label": label}
            flip = (lambda x: x) if label == "bad" else (lambda x: 1 - x)
            common = own | {"n_positive": positive, "n_test": 600, "pass_share": share}
            common["n_cut"] = {"tfidf": 0, "first_token": 75, "token_states": 75}.get(features, 4)
            ends = {"value": flip(value), "low": flip(low), "high": flip(high)}
            metrics.append(common | {"metric": "average_precision", "value": 0.1})
            metrics.append(common | {"metric": "roc_auc"} | ends)
            metrics.append(common | {"metric": "calibration_error", "value": 0.02 + number / 100})
            chance = {"metric": "calibration_error_by_chance", "value": 0.03 + number / 1000}
            metrics.append(common | chance)
            if features == "spline_and_state":
                gain = {"value": 0.005, "low": -0.002, "high": 0.012}
                gain_over = {"metric": "gain_over_state", "beyond": "mean_state_layer_3"}
                metrics.append(common | gain_over | gain)
            for place, rate in enumerate(RATES):
                found, false = FOUND[number][place], FALSE[number][place]
                operating.append(
                    own
                    | {
                        "wanted_rate": rate,
                        "true_positive_rate": flip(found / 200),
                        "true_positive_low": flip(found / 200 - 0.01),
                        "true_positive_high": flip(found / 200 + 0.02),
                        "n_negative": 4000,
                        "n_negative_sets": 400,
                        "false_positive_rate": false / 400,
                        "negatives_needed": 2995 if rate == 0.001 else 299,
                    }
                )
            for bin_ in range(3):
                p = (bin_ + 0.5) / 3
                row = {"bin": bin_, "probability": flip(p), "positive_share": p**2}
                bins.append(own | row | {"low": p**2 - 0.05, "high": p**2 + 0.1 * (number + 1)})
    yield Made(DETECTORS, metrics, owner)
    yield Made(OPERATING_POINTS, operating, owner)
    yield Made(RELIABILITY, bins, owner)
    yield Made(SUBGROUPS, list(grouped()), owner)
    yield Made(SHIFT, list(shifted()), {"model": "m"})


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exhibit]]:
    tables = collection(tmp_path_factory.mktemp("detectors"), study())
    yield by_title((*detector_figures(tables, "m", "zeta"), *shift_figures(tables, "m")))
    plt.close("all")


@draws(detectors)
def test_detectors_stand_in_order_with_intervals_and_what_they_find(
    shown: dict[str, Exhibit],
) -> None:
    left, right = panels(shown["Which detector to use"])
    ordered = sorted(METHODS, key=lambda method: method[3])
    assert [text.get_text() for text in left.get_yticklabels()] == [m[2] for m in ordered]
    lines = [line for line in left.get_lines() if [y for _, y in points(line)] != [0, 1]]
    for height, (features, _, _, value, low, high, _) in enumerate(ordered):
        interval, dot = lines[2 * height], lines[2 * height + 1]
        assert points(interval) == [(low, height), (high, height)]
        assert points(dot) == [(value, height)]
        assert colour(dot) == PALETTE[0 if features.startswith("spline") else 7]
    assert words(left)[1] == "ROC-AUC, out of fold"
    bars = [found for found in right.containers if isinstance(found, ErrorbarContainer)]
    assert [str(found.get_label()) for found in bars] == ["0.1% wanted", "1.0% wanted"]
    heights = {method[2]: height for height, method in enumerate(ordered)}
    for place, container in enumerate(bars):
        line, _, (across,) = container.lines
        for number, (x, y) in enumerate(points(line)):
            share = FOUND[number][place] / 200
            expected = heights[METHODS[number][2]] + 0.2 * (place - 0.5)
            assert (x, y) == (pytest.approx(share), pytest.approx(expected))
            ends = [float(end[0]) for end in across.get_segments()[number]]
            assert ends == pytest.approx([share - 0.01, share + 0.02])
    assert [colour(found.lines[0]) for found in bars] == list(PALETTE[:2])
    assert right.get_legend().get_title().get_text() == "false alarms"


@says(detectors)
def test_the_caption_says_which_to_use_and_what_spline_features_add(
    shown: dict[str, Exhibit],
) -> None:
    exhibit = shown["Which detector to use"]
    # TF-IDF costs least and, at 0.86, lies above 0.855.
    assert exhibit.caption.startswith(
        "zeta on m, label bad. The largest ROC-AUC has token states, max: 0.890 (0.855 to 0.920). "
        "Of those whose value lies in that interval, TF-IDF costs least (0.860, 0.00 of a plain "
        "pass): use it, unless the difference matters more than the pass. Beside the mean "
        "state layer 3, the best of the stored ones in the inner folds, spline features change the "
        "ROC-AUC by +0.005 (-0.002 to +0.012, bootstrap over texts), "
        "which is no difference that these texts show. Detectors do not read the end of long "
        "texts; of 600 texts they lose that of 0 for TF-IDF; 4 for spline"
    )
    assert "; 75 for first answer token, sparse, token states, max.\n" in exhibit.caption
    assert (
        "Of 0.1% wanted, 0.0% to 0.2% were realised; 400 sets of negatives cannot show this "
        "rate, 2995 could. Of 1.0% wanted, 0.8% to 2.0% were realised. Lines"
    ) in exhibit.caption
    rows = rows_shown(exhibit, filled(DETECTORS, next(study()).rows))
    assert rows["value"].tolist() == sorted([m[3] for m in METHODS], reverse=True)
    assert rows["pass_share"].tolist() == [
        m[6] for m in sorted(METHODS, key=lambda method: -method[3])
    ]


@draws(reliability)
@says(reliability)
def test_every_detector_has_a_panel_of_probability_and_share(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Are the probabilities true?"]
    own = [panel for panel in panels(exhibit) if panel.get_visible()]
    assert [panel.get_title() for panel in own] == [method[2] for method in METHODS]
    for number, panel in enumerate(own):
        ((found),) = error_bars(panel).values()
        for bin_, (x, y, low, high) in enumerate(found):
            p = (bin_ + 0.5) / 3
            assert (x, y) == (pytest.approx(p), pytest.approx(p**2))
            assert (low, high) == (
                pytest.approx(p**2 - 0.05),
                pytest.approx(p**2 + 0.1 * (number + 1)),
            )
        diagonal = points(panel.get_lines()[0])
        assert np.allclose(diagonal, [(0, 0), (1, 1)])
    assert (
        "Calibration is off by 0.020 on average for spline and 0.070 for spline and mean state, "
        "where chance alone gives 0.030 to 0.035."
    ) in exhibit.caption


def cells(panel: Axes) -> list[list[float | None]]:
    """A heat map's cells, None where there is no number, and the numbers written on it."""
    found = [[None if np.isnan(value) else value for value in row] for row in image(panel)]
    written = [f"{value:.2f}" for row in found for value in row if value is not None]
    assert [text.get_text() for text in panel.texts] == written
    return found


@draws(subgroups)
@says(subgroups)
def test_groups_stand_beside_all_texts(shown: dict[str, Exhibit]) -> None:
    exhibit = shown["Inside groups of texts"]
    (panel,) = panels(exhibit)
    assert [text.get_text() for text in panel.get_yticklabels()] == [
        "spline",
        "first answer token, sparse",
    ]
    assert [text.get_text() for text in panel.get_xticklabels()] == [
        "all texts",
        *(f"{column}: {group}" for column, group, *_ in GROUPS),
    ]
    assert cells(panel) == [[0.80, 0.55, 0.8, 0.6], [0.84, 0.7, None, 0.65]]
    assert (
        "At the threshold for 5.0% false alarms over all texts, most fall on mentions: women, by "
        "spline: 20.0% (19.0% to 22.0%)."
    ) in exhibit.caption
    rows = rows_shown(exhibit, filled(SUBGROUPS, grouped()))
    assert set(rows["group"]) == {group for _, group, *_ in GROUPS}


@draws(shift)
@says(shift)
def test_data_sets_are_crossed_where_they_share_a_label(shown: dict[str, Exhibit]) -> None:
    assert "Trained here, tested there: alone" not in shown
    exhibit = shown["Trained here, tested there: bad"]
    left, right = panels(exhibit)
    assert (left.get_title(), right.get_title()) == ("spline", "TF-IDF")
    assert cells(left) == SHIFTED["spline"]
    assert cells(right) == SHIFTED["tfidf"]
    assert (left.get_xlabel(), left.get_ylabel()) == ("tested on", "trained on")
    assert [text.get_text() for text in left.get_xticklabels()] == ["a", "b"]
    assert (
        "Spline features reach 0.850 at home and 0.650 away, at worst 0.600. Copies and groups "
        "that both sides share are left out (3 texts at most)."
    ) in exhibit.caption
    rows = rows_shown(exhibit, filled(SHIFT, shifted()))
    assert rows["value"].tolist() == [0.9, 0.6, 0.7, 0.8]


def test_labels_of_other_names_that_count_as_one_make_one_matrix(tmp_path: Path) -> None:
    names = {"a": "bad", "b": "toxic"}
    rows = [
        row | {"label": names[str(row["train"])], "test_label": names[str(row["test"])]}
        for row in shifted()
        if row["label"] == "bad"
    ]
    tables = collection(tmp_path, [Made(SHIFT, rows, {"model": "m"})])
    (exhibit,) = shift_figures(tables, "m")
    left, right = panels(exhibit)
    assert (cells(left), cells(right)) == (SHIFTED["spline"], SHIFTED["tfidf"])
    assert exhibit.figure == "shift-m-bad-toxic.png"
    assert "m, label bad, toxic: ROC-AUC" in exhibit.caption
    plt.close("all")
