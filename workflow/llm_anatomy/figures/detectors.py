"""Figures of the comparison of detectors: which to use, and whether its probabilities are true."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from llm_anatomy.figures.exhibit import FULL_WIDTH, PALETTE, SEQUENTIAL, Exhibit
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.detectors import DETECTORS, OPERATING_POINTS, RELIABILITY, SHIFT, SUBGROUPS

NAMES = {
    "first_token": "first answer token",
    "token_states": "token states",
    "tfidf": "TF-IDF",
    "spline_and_state": "spline and mean state",
    "spline_extended": "spline, further statistics",
}
CLASSIFIERS = {
    "logistic_regression": "",
    "sparse_logistic": ", sparse",
    "attention_probe": ", attention",
    "max_probe": ", max",
}
COLUMNS = 4


def detector_figures(tables: Collection, model: str, dataset: str) -> Iterator[Exhibit]:
    """The exhibits of one model and dataset, on the label with most positive texts."""
    owner = {"model": model, "dataset": dataset}
    metrics, points, bins = (
        tables.frame(schema, **owner) for schema in (DETECTORS, OPERATING_POINTS, RELIABILITY)
    )
    label = metrics.sort_values("n_positive", ascending=False, kind="stable")["label"].iloc[0]
    metrics, points, bins = (table[table["label"] == label] for table in (metrics, points, bins))
    about = f"{dataset} on {model}, label {label}"
    yield detectors(metrics, points, about, f"{model}-{dataset}", tables.path(DETECTORS, **owner))
    if len(bins):
        errors = metrics[metrics["metric"] == "calibration_error"]
        chance = metrics[metrics["metric"] == "calibration_error_by_chance"]
        path = tables.path(RELIABILITY, **owner)
        yield reliability(bins, errors, chance, about, f"{model}-{dataset}", path)
    groups = tables.frame(SUBGROUPS, **owner)
    groups = groups[groups["label"] == label]
    if len(groups):
        areas = metrics[metrics["metric"] == "roc_auc"]
        path = tables.path(SUBGROUPS, **owner)
        yield subgroups(groups, areas, about, f"{model}-{dataset}", path)


def shift_figures(tables: Collection, model: str) -> Iterator[Exhibit]:
    """Where detectors trained on one data set stand on another; none where no label is shared."""
    table = tables.frame(SHIFT, model=model)
    areas = table[table["metric"] == "roc_auc"]
    # Labels of other names that count as one (`toxicity.shift.same`) make one matrix.
    if (areas["label"] != areas["test_label"]).any():
        parts = [(", ".join(dict.fromkeys(areas["label"])), areas)]
    else:
        parts = [(str(label), own) for label, own in areas.groupby("label", sort=False)]
    for label, own in parts:
        away = own[own["train"] != own["test"]]["value"]
        if away.notna().any():
            yield shift(own, model, label, tables.path(SHIFT, model=model))


def shift(areas: pd.DataFrame, model: str, label: str, table: Path) -> Exhibit:
    """ROC-AUC by training and test data set, one panel for every feature set."""
    features = list(dict.fromkeys(areas["feature_set"]))
    names = list(dict.fromkeys([*areas["train"], *areas["test"]]))
    figure, axes = plt.subplots(
        1,
        len(features),
        figsize=(FULL_WIDTH, 1.2 + 0.45 * len(names)),
        sharey=True,
        squeeze=False,
    )
    for axis, feature in zip(axes[0], features, strict=True):
        own = areas[areas["feature_set"] == feature]
        cells = own.pivot_table(index="train", columns="test", values="value")
        _heat(axis, cells.reindex(index=names, columns=names))
        axis.set(title=_readable(feature), xlabel="tested on")
    axes[0][0].set_ylabel("trained on")
    spline = areas[areas["feature_set"] == features[0]]
    empty = spline[spline["value"].isna()]
    home = spline[spline["train"] == spline["test"]]["value"]
    away = spline[spline["train"] != spline["test"]]["value"].dropna()
    caption = (
        f"{model}, label {label}: ROC-AUC of detectors trained on one data set and tested on "
        f"another; on the diagonal out of fold. {_readable(features[0]).capitalize()} features "
        f"reach {home.mean():.3f} at home and {away.mean():.3f} away, at worst {away.min():.3f}. "
        f"Copies and groups that both sides share are left out ({areas['n_left_out'].max()} texts "
        "at most)."
    )
    if len(empty):
        caption += f" {len(empty)} pairs share so much that nothing, or one class alone, is left."
    return Exhibit(
        f"Trained here, tested there: {label}",
        caption,
        f"shift-{model}-{label.replace(', ', '-')}.png",
        table,
        ("train", "test", "test_label", "feature_set", "value", "low", "high", "n_train", "n_test"),
        tuple(int(i) for i in spline.index),
        drawn=figure,
    )


def subgroups(
    groups: pd.DataFrame, areas: pd.DataFrame, about: str, names: str, table: Path
) -> Exhibit:
    """ROC-AUC within every group of texts, for every detector, beside that of all texts."""
    own = groups.assign(name=_names(groups), group=groups["column"] + ": " + groups["group"])
    order = dict.fromkeys(own["group"])
    cells = own.pivot_table(
        index="name", columns="group", values="subgroup_auc", sort=False, dropna=False
    ).reindex(columns=list(order))
    whole = pd.Series(areas["value"].to_numpy(float), _names(areas))
    cells.insert(0, "all texts", whole.reindex(cells.index))
    figure, axis = plt.subplots(figsize=(FULL_WIDTH, 1.4 + 0.3 * len(cells)))
    _heat(axis, cells)
    axis.tick_params(axis="x", rotation=30)
    known = own[own["false_positive_rate"].notna()]
    caption = (
        f"{about}. ROC-AUC within groups of texts, inside test folds; groups with fewer than 20 "
        "texts of a class have none. "
    )
    if len(known):
        worst = known.sort_values("false_positive_rate", kind="stable").iloc[-1]
        caption += (
            f"At the threshold for {worst['wanted_rate']:.1%} false alarms over all texts, most "
            f"fall on {worst['group']}, by {worst['name']}: {worst['false_positive_rate']:.1%} "
            f"({worst['false_positive_low']:.1%} to {worst['false_positive_high']:.1%}). "
        )
    caption += (
        "A detector that learned a text's length tells less within a third of the lengths; compare "
        "the row `length`."
    )
    return Exhibit(
        "Inside groups of texts",
        caption,
        f"subgroups-{names}.png",
        table,
        (
            *("feature_set", "classifier", "column", "group", "n_texts", "n_positive"),
            *("subgroup_auc", "subgroup_low", "subgroup_high", "bpsn_auc", "bnsp_auc"),
            *("false_positive_rate", "true_positive_rate"),
        ),
        tuple(int(i) for i in own.index),
        drawn=figure,
    )


def _heat(axis: Axes, cells: pd.DataFrame) -> None:
    """Cells between 0.5 and 1, each with its number."""
    axis.imshow(cells.to_numpy(float), vmin=0.5, vmax=1, cmap=SEQUENTIAL, aspect="auto")
    axis.set_xticks(range(cells.shape[1]), [str(name) for name in cells.columns])
    axis.set_yticks(range(len(cells)), [str(name) for name in cells.index])
    for (row, column), value in np.ndenumerate(cells.to_numpy(float)):
        if not np.isnan(value):
            ink = "black" if value > 0.75 else "white"
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, size=7)


def _readable(feature_set: str) -> str:
    return NAMES.get(feature_set, feature_set.replace("_", " "))


def detectors(
    metrics: pd.DataFrame, points: pd.DataFrame, about: str, names: str, table: Path
) -> Exhibit:
    """ROC-AUC of every detector, and what it finds at each wanted rate of false alarms."""
    areas = metrics[metrics["metric"] == "roc_auc"]
    order = areas.sort_values("value", kind="stable")
    heights = {name: height for height, name in enumerate(_names(order))}
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(FULL_WIDTH, 0.9 + 0.27 * len(heights)), sharey=True
    )
    for name, row in zip(_names(order), order.to_dict("records"), strict=True):
        left.plot([row["low"], row["high"]], [heights[name]] * 2, color=PALETTE[7], lw=1.2)
        colour = PALETTE[0] if row["feature_set"].startswith("spline") else PALETTE[7]
        left.plot(row["value"], heights[name], "o", color=colour, ms=5)
    left.axvline(0.5, color="0.7", linewidth=0.8)
    left.set_yticks(range(len(heights)), list(heights))
    left.set(xlabel="ROC-AUC, out of fold")
    rates = sorted(points["wanted_rate"].unique())
    for index, rate in enumerate(rates):
        own = points[points["wanted_rate"] == rate]
        places = np.array([heights[name] for name in _names(own)]) + 0.2 * (
            index - (len(rates) - 1) / 2
        )
        found = own["true_positive_rate"]
        errors = [found - own["true_positive_low"], own["true_positive_high"] - found]
        right.errorbar(
            found,
            places,
            xerr=np.clip(errors, 0, None),
            fmt="o",
            ms=3.5,
            lw=1,
            color=PALETTE[index],
            label=f"{rate:.1%} wanted",
        )
    right.set(xlabel="share of positives found", xlim=(0, 1))
    right.legend(title="false alarms", loc="lower right")
    shown = [int(i) for i in order.index[::-1]]
    caption = f"{about}. {advice(metrics)}{_ends(areas)}\n\n{_alarms(points)}"
    return Exhibit(
        "Which detector to use",
        caption,
        f"detectors-{names}.png",
        table,
        ("feature_set", "classifier", "value", "low", "high", "pass_share", "n_cut"),
        tuple(shown),
        drawn=figure,
    )


def advice(metrics: pd.DataFrame) -> str:
    """Which detector to use, and what the spline features add to it."""
    areas = metrics[metrics["metric"] == "roc_auc"].reset_index(drop=True)
    best = areas.iloc[int(areas["value"].to_numpy(float).argmax())]
    close = areas[areas["value"] >= best["low"]]
    cheap = close.sort_values(["pass_share", "value"], ascending=[True, False]).iloc[0]
    said = (
        f"The largest ROC-AUC has {_name(best)}: {best['value']:.3f} ({best['low']:.3f} to "
        f"{best['high']:.3f}). Of those whose value lies in that interval, {_name(cheap)} costs "
        f"least ({cheap['value']:.3f}, {cheap['pass_share']:.2f} of a plain pass): use it, unless "
        "the difference matters more than the pass."
    )
    gain = metrics[metrics["metric"] == "gain_over_state"]
    if len(gain):
        row = gain.iloc[0]
        sure = row["low"] > 0 or row["high"] < 0
        said += (
            f" Beside the {_readable(row['beyond'])}, the best of the stored ones in the inner "
            f"folds, spline features change the ROC-AUC by {row['value']:+.3f} "
            f"({row['low']:+.3f} to {row['high']:+.3f}, bootstrap over texts)"
            f"{'' if sure else ', which is no difference that these texts show'}."
        )
    return said


def _ends(areas: pd.DataFrame) -> str:
    """What detectors beside each other do not read of the same texts; nothing if all read all."""
    if not areas["n_cut"].any():
        return ""
    by_count = areas.groupby("n_cut", sort=True)
    parts = [f"{count} for {', '.join(_names(own))}" for count, own in by_count]
    return (
        f" Detectors do not read the end of long texts; of {areas['n_test'].max()} texts they lose "
        f"that of {'; '.join(parts)}."
    )


def _alarms(points: pd.DataFrame) -> str:
    said = "Thresholds are set on training texts that did not train the detector. "
    for rate, own in points.groupby("wanted_rate"):
        sets, needed = int(own["n_negative_sets"].max()), int(own["negatives_needed"].iloc[0])
        low, high = own["false_positive_rate"].min(), own["false_positive_rate"].max()
        said += f"Of {float(str(rate)):.1%} wanted, {low:.1%} to {high:.1%} were realised"
        few = f"; {sets} sets of negatives cannot show this rate, {needed} could"
        said += f"{few if sets < needed else ''}. "
    return said + (
        "Lines are exact intervals, copies and groups counted once; they hold training and "
        "thresholds fixed."
    )


def reliability(
    bins: pd.DataFrame,
    errors: pd.DataFrame,
    chance: pd.DataFrame,
    about: str,
    names: str,
    table: Path,
) -> Exhibit:
    """Share of positives against calibrated probability, one panel for every detector."""
    parts = list(bins.groupby(["feature_set", "classifier"], sort=False))
    rows = -(-len(parts) // COLUMNS)
    figure, axes = plt.subplots(
        rows,
        COLUMNS,
        figsize=(FULL_WIDTH, 0.6 + 1.6 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axis, (_, own) in zip(axes.ravel(), parts, strict=False):
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        share = own["positive_share"]
        axis.errorbar(
            own["probability"],
            share,
            yerr=np.clip([share - own["low"], own["high"] - share], 0, None),
            fmt="o-",
            ms=3,
            lw=1,
            color=PALETTE[0],
        )
        axis.set_title(_name(own.iloc[0]), fontsize=8)
    for axis in axes.ravel()[len(parts) :]:
        axis.set_visible(False)
    figure.supxlabel("calibrated probability", fontsize=9)
    figure.supylabel("share of positives", fontsize=9)
    ordered = errors.sort_values("value", kind="stable")
    least, worst = ordered.iloc[0], ordered.iloc[-1]
    caption = (
        f"{about}. Texts in bins of equal count, by the probability that Platt's two numbers make "
        f"of a score, set on texts that neither train nor test. Calibration is off by "
        f"{least['value']:.3f} on average for {_name(least)} and {worst['value']:.3f} for "
        f"{_name(worst)}, where chance alone gives {chance['value'].min():.3f} to "
        f"{chance['value'].max():.3f}. Bars are exact intervals."
    )
    return Exhibit(
        "Are the probabilities true?",
        caption,
        f"reliability-{names}.png",
        table,
        rows=(),
        drawn=figure,
    )


def _names(rows: pd.DataFrame) -> list[str]:
    return [_name(row) for _, row in rows.iterrows()]


def _name(row: "pd.Series[str]") -> str:
    return _readable(row["feature_set"]) + CLASSIFIERS[row["classifier"]]
