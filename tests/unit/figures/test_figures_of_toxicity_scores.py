"""ROC curves are the table's metrics, and the texts shown are the ones that were most wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.figures.exhibit import PALETTE, Exhibit
from llm_anatomy.figures.toxicity_scores import most_wrong, roc_curves, score_exhibits
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import METRICS, PREDICTIONS
from llm_anatomy.toxicity.roc import GRID, mean_roc
from sklearn.metrics import roc_auc_score

from tests.unit.figures.drawn import by_title, colour, draws, line_of, panels, rows_shown, says
from tests.unit.figures.tables import Made, collection, filled

LINEAR, FOREST = "logistic_regression", "random_forest"
OWNER = {"model": "m", "dataset": "remarks"}
N_TEXTS = 80


def scores() -> list[dict]:
    """Scores of two labels, two feature sets and a classifier that nothing may show."""
    random = np.random.default_rng(0)
    rows = []
    for label in ("rude", "rare"):
        truth = random.uniform(size=N_TEXTS) < (0.5 if label == "rude" else 0.2)
        for features, classifier in (("length", LINEAR), ("spline", LINEAR), ("spline", FOREST)):
            drawn = np.clip(0.4 * truth + random.uniform(0, 0.6, N_TEXTS), 0, 1)
            rows += [
                {"text_id": f"t{i}", "label": label, "truth": bool(truth[i]), "fold": i % 4}
                | {"feature_set": features, "classifier": classifier, "score": drawn[i]}
                for i in range(N_TEXTS)
            ]
    return rows


ROWS = scores()
RATES = [
    {"label": label, "feature_set": features, "classifier": classifier}
    | {"metric": metric, "value": value}
    for label, scale in (("rude", 1.0), ("rare", 0.5))
    for features, classifier in (("spline", LINEAR), ("length", LINEAR), ("spline", FOREST))
    for metric, value in (
        ("roc_auc", 0.9),
        ("tpr_at_fpr_0.01", 0.25 * scale),
        ("tpr_at_fpr_0.1", 0.75 * scale),
    )
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exhibit]:
    texts = [{"text_id": f"t{i}", "text": str(i)} for i in range(N_TEXTS)]
    made = [
        Made(PREDICTIONS, ROWS, OWNER),
        Made(METRICS, RATES, OWNER),
        Made(TEXTS, texts, {"dataset": "remarks"}),
    ]
    folder: Path = tmp_path_factory.mktemp("tables")
    return by_title(score_exhibits(collection(folder, made), "m", "remarks"))


ROC, WRONG = "ROC curves: remarks (m)", "The texts that were most wrong: remarks (m)"


def own(label: str, features: str) -> pd.DataFrame:
    frame = pd.DataFrame(ROWS)
    return frame[
        (frame["label"] == label)
        & (frame["feature_set"] == features)
        & (frame["classifier"] == LINEAR)
    ]


@draws(roc_curves)
def test_a_panel_for_every_label_and_a_curve_for_every_feature_set(
    shown: dict[str, Exhibit],
) -> None:
    axes = panels(shown[ROC])
    assert [axis.get_title() for axis in axes] == ["rude", "rare"]
    for axis, label in zip(axes, ("rude", "rare"), strict=True):
        for number, features in enumerate(("spline", "length")):
            rows, line = own(label, features), line_of(axis, features)
            assert colour(line) == PALETTE[number]
            areas, pairs = [], []
            for _, fold in rows.groupby("fold"):
                areas.append(roc_auc_score(fold["truth"], fold["score"]))
                pairs.append(fold["truth"].sum() * (~fold["truth"]).sum())
            drawn = np.trapezoid(line.get_ydata(), line.get_xdata())
            assert drawn == pytest.approx(np.average(areas, weights=pairs), abs=0.01)
    rates = rows_shown(shown[ROC], filled(METRICS, RATES))
    assert set(rates["metric"]) == {"tpr_at_fpr_0.01", "tpr_at_fpr_0.1"}
    assert len(rates) == 8


@says(roc_curves)
def test_the_caption_names_the_rates_at_the_strictest_limit(shown: dict[str, Exhibit]) -> None:
    caption = shown[ROC].caption
    assert "logistic regression on 2 feature sets" in caption
    assert (
        "At a false-positive rate of 0.01 the spline features find: rude 25%, rare 12%" in caption
    )


@draws(most_wrong)
@says(most_wrong)
def test_the_texts_farthest_from_the_truth_are_shown_with_their_words(
    shown: dict[str, Exhibit],
) -> None:
    exhibit = shown[WRONG]
    rows = rows_shown(exhibit, filled(PREDICTIONS, ROWS))
    all_rows = pd.concat([own("rude", "spline"), own("rare", "spline")])
    errors = (all_rows["score"] - all_rows["truth"]).abs().sort_values(ascending=False)
    found = (rows["score"] - rows["truth"]).abs()
    assert found.tolist() == pytest.approx(errors.iloc[:12].tolist())
    assert exhibit.beside is not None
    assert exhibit.beside.columns == ("text",)
    assert f"{int((errors > 0.5).sum())} of 160 scores" in exhibit.caption
    assert f"by {errors.iloc[0]:.3f}" in exhibit.caption


def test_a_fold_without_a_class_counts_nothing() -> None:
    truth = np.array([True, False, True, False, True, True])
    folds = np.array([0, 0, 0, 0, 1, 1])
    score = np.array([0.9, 0.1, 0.2, 0.5, 0.3, 0.4])
    assert mean_roc(score, truth, folds) == pytest.approx(mean_roc(score[:4], truth[:4], folds[:4]))
    assert np.isnan(mean_roc(score[4:], truth[4:], folds[4:])).all()


def test_scores_of_two_folds_are_not_compared() -> None:
    """Each fold ranks perfectly on a scale of its own; pooled they would not."""
    truth = np.array([True, False, True, False])
    curve = mean_roc(np.array([0.9, 0.8, 0.2, 0.1]), truth, np.array([0, 0, 1, 1]))
    assert np.trapezoid(curve, GRID) == pytest.approx(1.0)
