"""What detectors say of single texts: ROC curves, and the texts that were most wrong."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from llm_anatomy.figures.exhibit import FULL_WIDTH, PALETTE, Beside, Exhibit
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import METRICS, PREDICTIONS
from llm_anatomy.toxicity.roc import GRID, mean_roc

LINEAR = "logistic_regression"
SPLINE = "spline"
# Curves in one panel, and panels in a row; more than that cannot be told apart or read.
MOST_CURVES = 6
PANELS_IN_A_ROW = 3
WRONG_SHOWN = 12
RATE_COLUMNS = ("label", "feature_set", "metric", "value", "low", "high", "n_positive", "n_test")
WRONG_COLUMNS = ("text_id", "label", "truth", "score", "fold")


def readable(feature_set: str) -> str:
    """The name of a feature set, as figures write it."""
    if feature_set.startswith("hub:"):
        return feature_set.removeprefix("hub:")
    return feature_set.replace("_", " ").replace("tfidf", "TF-IDF")


def score_exhibits(tables: Collection, model: str, dataset: str) -> Iterator[Exhibit]:
    """The exhibits of one model and data set."""
    owner = {"model": model, "dataset": dataset}
    predictions = tables.frame(PREDICTIONS, **owner)
    linear = predictions[predictions["classifier"] == LINEAR]
    if linear.empty:
        return
    yield roc_curves(linear, tables.frame(METRICS, **owner), owner, tables.path(METRICS, **owner))
    if (linear["feature_set"] == SPLINE).any():
        texts = tables.path(TEXTS, dataset=dataset)
        yield most_wrong(linear, owner, tables.path(PREDICTIONS, **owner), texts)


def roc_curves(
    predictions: pd.DataFrame, metrics: pd.DataFrame, owner: dict[str, str], source: Path
) -> Exhibit:
    """ROC curves of the linear detectors, a panel for every label, and TPR at fixed rates."""
    labels = list(predictions["label"].unique())
    sets = list(dict.fromkeys([SPLINE, *predictions["feature_set"]]))
    sets = [name for name in sets if (predictions["feature_set"] == name).any()][:MOST_CURVES]
    across = min(len(labels), PANELS_IN_A_ROW)
    down = -(-len(labels) // across)
    figure, axes = plt.subplots(
        down,
        across,
        figsize=(FULL_WIDTH, 0.5 + 2.3 * down),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for place, axis in enumerate(axes.flat):
        axis.set_visible(place < len(labels))
    for axis, label in zip(axes.flat, labels, strict=False):
        axis.plot([0, 1], [0, 1], color="0.7", lw=0.8, ls=":")
        for number, name in enumerate(sets):
            own = predictions[
                (predictions["label"] == label) & (predictions["feature_set"] == name)
            ]
            if own.empty:
                continue
            curve = mean_roc(
                own["score"].to_numpy(), own["truth"].to_numpy(bool), own["fold"].to_numpy()
            )
            axis.plot(GRID, curve, color=PALETTE[number], lw=1.2, label=readable(name))
        axis.set_title(label)
    for axis in axes[-1]:
        axis.set_xlabel("false-positive rate")
    figure.supylabel("true-positive rate", fontsize=9)
    handles, names = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)))
    rates = metrics[
        metrics["metric"].str.startswith("tpr_at_fpr_") & (metrics["classifier"] == LINEAR)
    ]
    return Exhibit(
        title=f"ROC curves: {owner['dataset']} ({owner['model']})",
        caption=(
            f"Out-of-fold scores of logistic regression on {len(sets)} feature sets, each label "
            "against the rest; every fold has its own curve, and their mean is shown. The table "
            f"holds the true-positive rates at fixed false-positive rates. {_best(rates)}"
        ),
        figure=f"roc-{owner['model']}-{owner['dataset']}.png",
        table=source,
        columns=RATE_COLUMNS,
        rows=tuple(rates.index),
        alt=f"ROC curves of {len(labels)} labels",
        drawn=figure,
    )


def _best(rates: pd.DataFrame) -> str:
    """The spline features' rates at the strictest false-positive rate, label by label."""
    own = rates[rates["feature_set"] == SPLINE]
    if own.empty:
        return ""
    limits = own["metric"].str.removeprefix("tpr_at_fpr_").astype(float)
    strictest = own[limits == limits.min()]
    said = ", ".join(
        f"{label} {value:.0%}"
        for label, value in zip(strictest["label"], strictest["value"], strict=True)
    )
    return f"At a false-positive rate of {limits.min():g} the spline features find: {said}."


def most_wrong(
    predictions: pd.DataFrame, owner: dict[str, str], source: Path, texts: Path
) -> Exhibit:
    """The texts whose score by the spline features lies farthest from the truth."""
    own = predictions[predictions["feature_set"] == SPLINE]
    errors = (own["score"] - own["truth"].astype(float)).abs()
    worst = errors.sort_values(ascending=False, kind="stable").index[:WRONG_SHOWN]
    above = int((errors > 0.5).sum())
    return Exhibit(
        title=f"The texts that were most wrong: {owner['dataset']} ({owner['model']})",
        caption=(
            f"By logistic regression on the spline features, out of fold: {above} of {len(own)} "
            "scores lie on the wrong side of one half. Shown: the "
            f"{len(worst)} farthest from the truth, the farthest by "
            f"{float(np.max(errors)):.3f}."
        ),
        table=source,
        columns=WRONG_COLUMNS,
        rows=tuple(worst),
        beside=Beside(texts, "text_id", ("text",)),
    )
