"""Figures of the toxicity study: tables in, figures and captions out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm_anatomy.figures.detectors import detector_figures, shift_figures
from llm_anatomy.figures.exhibit import FULL_WIDTH, PALETTE, SEQUENTIAL, Exhibit
from llm_anatomy.figures.toxicity_scores import readable, score_exhibits
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import TableSchema
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
    SELF_TRAINING,
)
from llm_anatomy.toxicity.claims import ToxicityScope
from llm_anatomy.toxicity.maps import shared_neighbours

LINEAR = "logistic_regression"
SHORT = {
    LINEAR: "logistic",
    "random_forest": "forest",
    "gradient_boosting": "boosting",
}
# What the paper reports, by what a dataset's labels are.
PAPER_DETECTION = {
    "toxicity": "The paper reports 0.992 (Llama-2-7B) and 0.985 (Mistral-7B) on its own mixture of "
    "sources, without baselines for length, words or hidden states.",
    "domains": "The paper reports 0.991 to 1.000 per domain (Mistral-7B) and 0.996 to 1.000 "
    "(Llama-2-7B), without baselines.",
    "kinds": "The paper's question nearest to this one is Jigsaw's six labels, which harmless "
    "comments lack too; its released tables have means of 0.911 to 0.931.",
}
# A map with more classes than colours lumps the rarest together.
MOST_CLASSES = 9
NO_CLASS = "none of these"


@dataclass(frozen=True)
class Subject:
    """What an exhibit is about and made from."""

    model: str
    dataset: str
    table: Path

    def exhibit(
        self, figure: Figure, kind: str, title: str, caption: str, rows: Sequence[int] = ()
    ) -> Exhibit:
        """Describe a figure."""
        name = f"{kind}-{self.model}-{self.dataset}.png"
        return Exhibit(title, caption, name, self.table, rows=tuple(rows), drawn=figure)


def toxicity_figures(tables: Collection, scope: ToxicityScope) -> Iterator[Exhibit]:
    """Every exhibit of the study: models, dataset by dataset, then the datasets' labels."""
    first = scope.datasets[0]
    for model in scope.models:
        for dataset in scope.datasets:
            yield from dataset_exhibits(tables, model, dataset, scope)
        for dataset, easy in scope.comparisons:
            owner = {"model": model, "dataset": dataset, "easy": easy}
            subject = Subject(model, dataset, tables.path(HARD_NEGATIVES, **owner))
            yield negatives(tables.frame(HARD_NEGATIVES, **owner), easy, subject)
        for dataset in scope.compared:
            yield from detector_figures(tables, model, dataset)
        yield from shift_figures(tables, model)
        owner = {"model": model, "dataset": first}
        subject = Subject(model, first, tables.path(EARLY_EXIT, **owner))
        yield early_exit(tables.frame(EARLY_EXIT, **owner), tables.frame(METRICS, **owner), subject)
    for dataset in scope.datasets:
        pairs = len(tables.frame(DUPLICATES, ["similarity"], dataset=dataset))
        subject = Subject(scope.models[0], dataset, tables.path(LABELS, dataset=dataset))
        yield labels(tables.frame(LABELS, dataset=dataset), pairs, subject)


def dataset_exhibits(
    tables: Collection, model: str, dataset: str, scope: ToxicityScope
) -> Iterator[Exhibit]:
    """Exhibits of one model and dataset; an experiment that was left out has none."""
    owner = {"model": model, "dataset": dataset}

    def subject(schema: TableSchema) -> Subject:
        return Subject(model, dataset, tables.path(schema, **owner))

    split = tables.frame(FOLDS, dataset=dataset)
    hub = tables.joined(HUB_METRICS, dataset=dataset, classifier=scope.hub_classifiers)
    yield detection(tables.frame(METRICS, **owner), hub, split, subject(METRICS))
    yield from score_exhibits(tables, model, dataset)
    if len(parts := tables.frame(ABLATIONS, **owner)):
        yield ablations(parts, subject(ABLATIONS))
    if len(few := tables.frame(SELF_TRAINING, **owner)):
        yield few_labels(few, subject(SELF_TRAINING))
    if len(placed := tables.frame(MAPS, **owner)):
        yield maps(placed, split, subject(MAPS))


def question(folds: pd.DataFrame) -> str:
    """What a dataset's labels ask: `toxicity` (one), `domains` (exclusive) or `kinds` (several)."""
    if folds["label"].nunique() == 1:
        return "toxicity"
    exclusive = (folds.groupby("text_id")["truth"].sum() == 1).all()
    return "domains" if exclusive else "kinds"


def detection(
    metrics: pd.DataFrame, hub: pd.DataFrame, folds: pd.DataFrame, subject: Subject
) -> Exhibit:
    """ROC-AUC of every feature set and classifier, with intervals; one dot per label.

    `hub` holds the same metrics of public classifiers; the exhibit's rows are those of `metrics`.
    """
    own_areas = metrics[metrics["metric"] == "roc_auc"]
    areas = pd.concat([own_areas, hub[hub["metric"] == "roc_auc"]], ignore_index=True)
    areas["name"] = [
        f"{readable(f)}, {SHORT[c]}" if c in SHORT else readable(f)
        for f, c in zip(areas["feature_set"], areas["classifier"], strict=True)
    ]
    names = list(dict.fromkeys(areas["name"]))
    labels = list(dict.fromkeys(areas["label"]))
    figure, axis = plt.subplots(figsize=(FULL_WIDTH, 0.6 + 0.26 * len(names)))
    for index, name in enumerate(names):
        own = areas[areas["name"] == name]
        colour = PALETTE[0] if own["feature_set"].iloc[0].startswith("spline") else PALETTE[7]
        _dots(axis, own, len(names) - 1 - index, colour)
    axis.set_yticks(range(len(names)), names[::-1])
    axis.axvline(0.5, color="0.7", linewidth=0.8)
    axis.set(xlabel="ROC-AUC, out of fold", xlim=(min(0.45, areas["value"].min() - 0.02), 1.01))
    mean = areas.groupby("name", sort=False)["value"].mean()
    linear = f"{readable('spline')}, {SHORT[LINEAR]}"
    others = mean[[n for n in mean.index if not n.startswith("spline")]]
    caption = (
        f"{subject.dataset} on {subject.model}, {areas['n_test'].max()} texts, every text scored "
        "by a classifier that did not see it, and ranked among those of its own fold "
        f"({areas['n_folds'].iloc[0]} folds, the same for all). "
    )
    if len(labels) > 1:
        caption += f"Dots are the {len(labels)} labels, each against the rest; bars their mean. "
        fewest = int(areas.groupby("name")["label"].nunique().min())
        if fewest < len(labels):
            caption += f"Forests and boosting are tried on the {fewest} most common labels alone. "
    else:
        caption += (
            f"Label {labels[0]}; lines are bootstrap intervals over texts, drawn within folds. "
        )
    if linear in mean.index:
        caption += f"Spline features with logistic regression reach {mean[linear]:.3f}"
        if len(others):
            best = str(others.idxmax())
            caption += f", the best of the others ({best}) {others.max():.3f}"
        caption += ". "
    if "length, logistic" in mean.index:
        caption += f"Text length alone reaches {mean['length, logistic']:.3f}."
    caption += f"\n\n{PAPER_DETECTION[question(folds)]}"
    title = f"Detection: {subject.dataset}"
    return subject.exhibit(figure, "detection", title, caption, [int(i) for i in own_areas.index])


def few_labels(table: pd.DataFrame, subject: Subject) -> Exhibit:
    """ROC-AUC against the share of labels, with and without self-training."""
    areas = table[table["metric"] == "roc_auc"]
    label = areas["label"].iloc[0]
    areas = areas[areas["label"] == label]
    figure, axis = plt.subplots(figsize=(FULL_WIDTH * 0.6, 2.6))
    for index, ((training, name), own) in enumerate(
        areas.groupby(["training", "classifier"], sort=False)
    ):
        colour = PALETTE[index % len(PALETTE)]
        axis.plot(
            own["label_rate"],
            own["value"],
            "o-",
            color=colour,
            ms=4,
            label=(f"{SHORT[str(name)]}, {str(training).replace('_', ' ')}"),
        )
        axis.fill_between(own["label_rate"], own["low"], own["high"], color=colour, alpha=0.15)
    axis.set(xlabel="share of training texts with a label", ylabel="ROC-AUC", xscale="log")
    rates = sorted(areas["label_rate"].unique())
    axis.set_xticks(rates, [f"{rate:.0%}" for rate in rates])
    axis.minorticks_off()
    axis.legend()
    linear = areas[areas["classifier"] == areas["classifier"].iloc[0]].set_index(
        ["training", "label_rate"]
    )["value"]
    gain = {r: linear["self_training", r] - linear["labelled_only", r] for r in rates}
    caption = (
        f"{subject.dataset} on {subject.model}, label {label}. From {rates[0]:.0%} of the labels "
        f"{SHORT[areas['classifier'].iloc[0]]} reaches "
        f"{linear['self_training', rates[0]]:.3f} with self-training, from {rates[-1]:.0%} "
        f"{linear['self_training', rates[-1]]:.3f}. Self-training changes the score by "
        f"{min(gain.values()):+.3f} to {max(gain.values()):+.3f} against the same labels alone. "
        "Bands are bootstrap intervals over texts, drawn within folds; they leave out the chance "
        "of which labels were kept.\n\nThe paper reports 0.990, 0.987 and 0.983 with 20, 10 and "
        "5 % of 36,790 labels, toxic against clean (Llama-2-7B)."
    )
    shown = [int(i) for i in areas.index]
    return subject.exhibit(figure, "few-labels", f"Few labels: {subject.dataset}", caption, shown)


def ablations(table: pd.DataFrame, subject: Subject) -> Exhibit:
    """Heat map of single layers and first layers; bars of single features and groups."""
    areas = table[table["metric"] == "roc_auc"]
    label = areas["label"].iloc[0]
    areas = areas[areas["label"] == label]
    names = list(dict.fromkeys(areas["classifier"]))
    figure, (heat, bars) = plt.subplots(
        1, 2, figsize=(FULL_WIDTH, 1.7 + 0.3 * len(names)), width_ratios=[3, 1.3]
    )
    kinds = {"layer": "layer alone", "first_layers": "first layers"}
    rows, ticks = [], []
    for kind, words in kinds.items():
        for name in names:
            own = areas[(areas["kind"] == kind) & (areas["classifier"] == name)]
            rows.append(own.sort_values("layer")["value"].to_numpy())
            ticks.append(f"{words}, {SHORT[name]}")
    image = heat.imshow(np.stack(rows), aspect="auto", cmap=SEQUENTIAL)
    heat.set_yticks(range(len(ticks)), ticks)
    heat.set(xlabel="layer")
    figure.colorbar(image, ax=heat, label="ROC-AUC", orientation="horizontal", fraction=0.1)
    parts = areas[areas["kind"].isin(["feature", "features"])]
    for index, name in enumerate(names):
        own = parts[parts["classifier"] == name]
        offset = 0.8 / len(names) * (index - (len(names) - 1) / 2)
        bars.bar(np.arange(len(own)) + offset, own["value"], 0.8 / len(names), color=PALETTE[index])
        bars.set_xticks(range(len(own)), own["features"], rotation=45)
    bars.set(xlabel="features", ylabel="ROC-AUC", ylim=(0.45, 1.0))
    first = areas[areas["classifier"] == names[0]]
    single = first[first["kind"] == "layer"].set_index("layer")["value"]
    cumulative = first[first["kind"] == "first_layers"].sort_values("layer")["value"].to_numpy()
    groups = first[first["kind"] == "features"].set_index("features")["value"]
    caption = (
        f"{subject.dataset} on {subject.model}, label {label}, {SHORT[names[0]]}: the best single "
        f"layer is {int(single.idxmax())} ({single.max():.3f}), the worst {int(single.idxmin())} "
        f"({single.min():.3f}). The first layer alone reaches {cumulative[0]:.3f}, all layers "
        f"{cumulative[-1]:.3f}. Features 1 to 4 (share of active units) reach {groups['1-4']:.3f} "
        f"together, 5 to 7 (distance to the nearest boundary) {groups['5-7']:.3f}.\n\nOn its own "
        "mixture the paper sees 0.803 with one layer and 0.992 with all (Llama-2-7B), single "
        "features 1 to 4 at 0.88 to 0.96 and 5 to 7 at 0.65 to 0.67."
    )
    shown = [int(i) for i in first[first["kind"].isin(["feature", "features"])].index]
    return subject.exhibit(figure, "ablations", f"Ablations: {subject.dataset}", caption, shown)


def maps(table: pd.DataFrame, folds: pd.DataFrame, subject: Subject) -> Exhibit:
    """PCA and t-SNE maps, coloured by class."""
    methods = list(dict.fromkeys(table["method"]))
    classes = _classes(folds)
    figure, axes = plt.subplots(
        1, len(methods), figsize=(FULL_WIDTH, 3.0), squeeze=False, layout="constrained"
    )
    notes = []
    for axis, method in zip(axes[0], methods, strict=True):
        own = table[table["method"] == method]
        names = own["text_id"].map(classes).fillna(NO_CLASS)
        order = sorted(names.unique(), key=lambda n: (n == NO_CLASS, n))
        for index, name in enumerate(order):
            chosen = own[names == name]
            colour = "0.75" if name == NO_CLASS else PALETTE[index % len(PALETTE)]
            axis.scatter(chosen["x"], chosen["y"], s=5, alpha=0.7, color=colour, label=name, lw=0)
        axis.set(title={"pca": "PCA", "tsne": "t-SNE"}[method], xticks=[], yticks=[])
        codes = pd.factorize(names, sort=True)[0]
        seen, expected = shared_neighbours(own[["x", "y"]].to_numpy(), codes)
        note = f"on the {'PCA' if method == 'pca' else 't-SNE'} map {seen:.0%} of a text's ten "
        note += f"nearest neighbours share its class ({expected:.0%} in a map without order)"
        notes.append(note)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, markerscale=2.5)
    caption = (
        f"{subject.dataset} on {subject.model}: every dot is a text, placed by its spline features "
        f"alone; {'; '.join(notes)}.\n\nThe paper sees domains as separate islands, and toxic and "
        "clean texts as many pure clusters with mixed zones."
    )
    return subject.exhibit(figure, "maps", f"Maps: {subject.dataset}", caption)


def negatives(table: pd.DataFrame, easy: str, subject: Subject) -> Exhibit:
    """ROC-AUC with hard, easy and both kinds of negatives."""
    areas = table[table["metric"] == "roc_auc"]
    figure, axis = plt.subplots(figsize=(FULL_WIDTH * 0.6, 2.6))
    kinds = list(dict.fromkeys(areas["negatives"]))
    for index, name in enumerate(dict.fromkeys(areas["feature_set"])):
        own = areas[areas["feature_set"] == name].set_index("negatives").loc[kinds]
        x = np.arange(len(kinds)) + 0.15 * (index - 1)
        errors = [own["value"] - own["low"], own["high"] - own["value"]]
        axis.errorbar(
            x, own["value"], np.clip(errors, 0, None), fmt="o", ms=4, label=readable(str(name))
        )
    axis.set_xticks(range(len(kinds)), [f"{kind} negatives" for kind in kinds])
    axis.set(ylabel="ROC-AUC")
    axis.legend()
    by = areas.set_index(["feature_set", "negatives"])["value"]
    caption = (
        f"{subject.dataset} on {subject.model}, label {areas['label'].iloc[0]}. With negatives of "
        f"its own source (hard) spline features reach {by['spline', 'hard']:.3f}; with the texts "
        f"of {easy} as negatives (easy) {by['spline', 'easy']:.3f}, where length alone reaches "
        f"{by['length', 'easy']:.3f}; with both {by['spline', 'both']:.3f}. Easy negatives let a "
        "classifier recognise the source instead of the label.\n\nThe paper's headline 0.992 is "
        "without clean texts of the toxic texts' source; with them it is 0.898."
    )
    title = f"Hard and easy negatives: {subject.dataset}"
    shown = [int(i) for i in areas.index]
    return subject.exhibit(figure, f"negatives-{easy}", title, caption, shown)


def early_exit(table: pd.DataFrame, metrics: pd.DataFrame, subject: Subject) -> Exhibit:
    """Time of the first layers, as a table."""
    features = table[table["what"] == "features"].sort_values("n_layers")
    first, whole = features.iloc[0], features.iloc[-1]
    areas = metrics[(metrics["metric"] == "roc_auc") & (metrics["classifier"] != "none")]
    own = areas[areas["feature_set"] == f"spline_first_{first['n_layers']}_layers"]
    scores = ", ".join(
        f"{SHORT[str(c)]} {v:.3f}"
        for c, v in own.groupby("classifier", sort=False)["value"].mean().items()
    )
    caption = (
        f"{subject.model}, {first['n_texts']} texts of {subject.dataset}, one at a time: reading "
        f"the first {first['n_layers']} layers takes {first['share_of_plain']:.2f} of a plain pass "
        f"without the language-model head, reading all {whole['n_layers']} layers "
        f"{whole['share_of_plain']:.2f}. Detection from the first layers (mean ROC-AUC over "
        f"labels): {scores or 'not measured'}.\n\nThe paper reports 0.005 s with three layers and "
        "0.061 s with all 32 (Llama-2-7B)."
    )
    return Exhibit("Early exit", caption, None, subject.table)


def labels(table: pd.DataFrame, n_pairs: int, subject: Subject) -> Exhibit:
    """Counts of every label, and what was set aside."""
    aside = table[~table["used"]]
    caption = (
        f"{subject.dataset}: {table['n_texts'].iloc[0]} texts, {int(table['used'].sum())} of "
        f"{len(table)} labels used, {len(aside)} set aside. {n_pairs} pairs of texts are copies of "
        "each other, exactly or nearly; copies stay in one fold, so none is tested by a "
        "classifier that was trained on it."
    )
    return Exhibit(f"Labels: {subject.dataset}", caption, None, subject.table)


def _classes(folds: pd.DataFrame) -> Mapping[str, str]:
    """A class per text: its value for a single label, else the rarest of its positive labels."""
    names = list(dict.fromkeys(folds["label"]))
    if len(names) == 1:
        words = {True: names[0], False: f"not {names[0]}"}
        return {t: words[v] for t, v in zip(folds["text_id"], folds["truth"], strict=True)}
    positive = folds[folds["truth"]]
    common = positive["label"].value_counts().index[:MOST_CLASSES]
    found: dict[str, str] = {}
    for label in common:
        found |= dict.fromkeys(positive["text_id"][positive["label"] == label], str(label))
    return found


def _dots(axis: Axes, own: pd.DataFrame, height: float, colour: str) -> None:
    if len(own) == 1:
        row = own.iloc[0]
        if not pd.isna(row["low"]):
            axis.plot([row["low"], row["high"]], [height, height], color=colour, lw=1.2)
        axis.plot(row["value"], height, "o", color=colour, ms=5)
        return
    axis.plot(own["value"], np.full(len(own), height), "o", color=colour, ms=3, alpha=0.6)
    axis.plot([own["value"].mean()] * 2, [height - 0.3, height + 0.3], color=colour, lw=2)
