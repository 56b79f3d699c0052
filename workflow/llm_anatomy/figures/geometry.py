"""Figures of the geometry study: tables in, figures and captions out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from llm_anatomy.figures.exhibit import FULL_WIDTH, PALETTE, SEQUENTIAL, Exhibit, save_figure
from llm_anatomy.geometry.inserts import FIRST_PREFIX, weighted_changes
from llm_anatomy.geometry.spline import FEATURE_NAMES

# One colour per dataset everywhere in this study; further datasets start again from the first.
MARKERS = {
    "none": "*",
    "unrelated": "o",
    "related": "^",
    "length_matched": "s",
    "shuffled": "X",
    "random": "P",
}
# Changes below this share of the largest are drawn in the darkest colour.
DARKEST = 1e-3


def feature_profiles(
    features: Mapping[str, pd.DataFrame], model: str, source: Path, folder: Path
) -> Exhibit:
    """Mean active share and mean distance per layer, for every dataset."""
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 2.8))
    widest, spread = 0, -1.0
    profiles = {}
    for index, (dataset, table) in enumerate(features.items()):
        colour = PALETTE[index % len(PALETTE)]
        for axis, feature in zip(axes, (1, 6), strict=True):
            values = _layer_columns(table, feature)
            _band(axis, values, dataset, colour)
        profiles[dataset] = _layer_columns(table, 1).mean(axis=0)
    if len(profiles) > 1:
        stacked = np.stack(list(profiles.values()))
        gaps = stacked.max(axis=0) - stacked.min(axis=0)
        widest, spread = int(gaps.argmax()), float(gaps.max())
    for axis, name in zip(axes, (FEATURE_NAMES[0], FEATURE_NAMES[5]), strict=True):
        axis.set(xlabel="layer", ylabel=name)
    axes[1].set_yscale("log")
    axes[0].legend()
    first = next(iter(profiles.values()))
    caption = (
        f"Features 1 and 6 of {model}, per layer: mean over the texts of a dataset, with the "
        f"middle 90 % of texts shaded. In the first layer {first[0]:.0%} of the gate's units are "
        f"active on average, in the last {first[-1]:.0%} ({next(iter(profiles))})."
    )
    if len(profiles) > 1:
        caption += (
            f" The datasets' mean active shares differ most in layer {widest}, by {spread:.1%}."
        )
    caption += (
        "\n\nThe paper classifies texts by these numbers; its features 1 to 4 (active share) carry "
        "almost everything, the distances (5 to 7) little."
    )
    return _exhibit(figure, folder, f"features-{model}.png", "Spline features", caption, source)


def dimension_profiles(
    dimensions: Mapping[str, pd.DataFrame], model: str, source: Path, folder: Path
) -> Exhibit:
    """Intrinsic dimension per layer for every dataset, both thresholds."""
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 2.8))
    notes = []
    for index, (dataset, table) in enumerate(dimensions.items()):
        colour = PALETTE[index % len(PALETTE)]
        # Where every token is counted, the last one speaks for its text.
        last = table[table["position"] == table.groupby("text_id")["position"].transform("max")]
        for axis, threshold in zip(axes, ("relative", "absolute"), strict=True):
            part = last[last["threshold"] == threshold]
            values = part.pivot(index="text_id", columns="layer", values="dimension").to_numpy(
                float
            )
            _band(axis, values, dataset, colour)
            if threshold == "relative":
                notes.append(
                    f"{dataset} {values[:, 0].mean():.0f} and {values[:, -1].mean():.0f} "
                    f"(mean length {part.groupby('text_id')['n_tokens'].first().mean():.0f} tokens)"
                )
    for axis, threshold in zip(axes, ("relative", "absolute"), strict=True):
        axis.set(xlabel="layer", ylabel="intrinsic dimension", title=f"{threshold} threshold")
        axis.set_yscale("log")
    axes[0].legend()
    caption = (
        f"Intrinsic dimension of {model} at the last token, summed over heads: mean over texts, "
        f"with the middle 90 % shaded. Relative threshold, first and last layer: "
        f"{'; '.join(notes)}."
        "\n\nIn the paper's released numbers (Llama-2-7B-chat) the first layer's dimension grows "
        "with the context length alone and the last layer's does not."
    )
    return _exhibit(
        figure, folder, f"dimension-{model}.png", "Attention intrinsic dimension", caption, source
    )


def prompt_scatter(
    prompts: pd.DataFrame,
    dimension: pd.DataFrame,
    outcomes: pd.DataFrame,
    model: str,
    source: Path,
    folder: Path,
) -> Exhibit:
    """Last-layer dimension against context length, coloured by what the answer was judged to be."""
    relative = dimension[dimension["threshold"] == "relative"]
    last = relative[relative["layer"] == relative["layer"].max()]
    table = prompts.merge(last, on="prompt_id")
    table["outcome"] = judgements(table["prompt_id"], outcomes)
    formats, categories = _formats(table), table["category"].unique()
    names = sorted(table["outcome"].unique())
    colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    figure, grid = plt.subplots(
        len(formats),
        len(categories),
        figsize=(FULL_WIDTH, 2.3 * len(formats)),
        squeeze=False,
        sharey="row",
    )
    for row, form in enumerate(formats):
        for column, category in enumerate(categories):
            axis = grid[row, column]
            part = table[(table["format"] == form) & (table["category"] == category)]
            for (condition, outcome), points in part.groupby(["condition", "outcome"]):
                axis.scatter(
                    points["context_length"],
                    points["dimension"],
                    marker=MARKERS[str(condition)],
                    color=colours[str(outcome)],
                    s=28,
                    alpha=0.85,
                )
            axis.set_title(f"{category}, {form}")
            axis.set_xlabel("context length")
        grid[row, 0].set_ylabel("last-layer dimension")
    handles = [
        Line2D([], [], marker=MARKERS[c], color="grey", linestyle="", label=c.replace("_", " "))
        for c in table["condition"].unique()
    ] + [Line2D([], [], marker="o", color=colours[n], linestyle="", label=n) for n in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5))
    means = table[table["format"] == formats[0]].groupby("condition")["dimension"].mean()
    listed = ", ".join(f"{c.replace('_', ' ')} {means[c]:.0f}" for c in MARKERS if c in means)
    counts = table["outcome"].value_counts()
    judged = ", ".join(f"{counts[name]} {name}" for name in names)
    answers = (
        f"The answers to all {len(table)} prompts, judged by the trained classifiers: {judged}."
        if len(outcomes)
        else "The answers are not judged: the configuration has no dataset to train a classifier "
        "of answers on (geometry.prompts.scorers)."
    )
    caption = (
        f"Intrinsic dimension of {model}'s last layer (relative threshold) against the length of "
        f"the prompt. Means over {formats[0]} prompts: {listed}. {answers} The three controls have "
        "about as many tokens as the related prefix of the same step."
        "\n\nThe paper (Fig. 4, Llama-2-7B-chat, judged by hand): related sentences raise the "
        "dimension to 123-152 and make the answer toxic, unrelated ones leave it at 75-95 and "
        "safe; its prompts have no controls, and condition and outcome coincide."
    )
    return _exhibit(
        figure,
        folder,
        f"prompts-{model}.png",
        "Intrinsic dimension against the prompt",
        caption,
        source,
    )


def judgements(prompt_ids: pd.Series, outcomes: pd.DataFrame) -> pd.Series:
    """What every answer was called: the outcomes whose scores reach their thresholds."""
    if outcomes.empty:
        return pd.Series("not judged", index=prompt_ids.index)
    names = list(dict.fromkeys(outcomes["outcome"]))
    positive = outcomes[outcomes["positive"]]
    called = positive.groupby("prompt_id")["outcome"].agg(" and ".join)
    return prompt_ids.map(called).fillna("neither" if len(names) > 1 else f"not {names[0]}")


def correlation_profiles(
    correlations: pd.DataFrame, model: str, source: Path, folder: Path
) -> Exhibit:
    """Correlation of intrinsic dimension with length, topic and outcome, layer by layer."""
    table = correlations[correlations["threshold"] == "relative"]
    formats = _formats(table)
    figure, axes = plt.subplots(
        1, len(formats), figsize=(FULL_WIDTH, 2.8), squeeze=False, sharey=True
    )
    for axis, form in zip(axes[0], formats, strict=True):
        part = table[table["format"] == form]
        for index, (variable, values) in enumerate(part.groupby("variable", sort=False)):
            column = "pearson" if variable == "context_length" else "partial"
            label = str(variable).replace("_", " ")
            label += "" if variable == "context_length" else " (length held fixed)"
            axis.plot(values["layer"], values[column], color=PALETTE[index], label=label)
        axis.axhline(0, color="grey", linewidth=0.8)
        axis.set(xlabel="layer", title=f"{form} prompts", ylim=(-1, 1))
    axes[0, 0].set_ylabel("correlation with dimension")
    axes[0, 0].legend(fontsize=7)
    raw = table[table["format"] == formats[0]]
    length = raw[raw["variable"] == "context_length"].set_index("layer")["pearson"]
    related = raw[raw["variable"] == "related"].set_index("layer")["partial"]
    caption = (
        f"How the intrinsic dimension of {model}'s layers (relative threshold) goes with other "
        f"variables over prompts. {formats[0].capitalize()} prompts: Pearson r with context length "
        f"is {length.iloc[0]:.2f} in the first and {length.iloc[-1]:.2f} in the last layer."
    )
    if related.notna().any():
        best = int(related.index[int(related.abs().argmax())])
        caption += (
            f" With length held fixed, the link with a related prefix is strongest in layer {best} "
            f"(r = {related[best]:.2f})."
        )
    caption += (
        "\n\nThe paper's released numbers (Llama-2-7B-chat, 50 prompts): r with context length "
        "0.98 in layer 1, 0.26 in the last layer."
    )
    return _exhibit(
        figure,
        folder,
        f"correlations-{model}.png",
        "What intrinsic dimension goes with",
        caption,
        source,
    )


def insert_maps(
    prefixes: pd.DataFrame, starts: pd.DataFrame, model: str, source: Path, folder: Path
) -> Exhibit:
    """Heat maps of the change of feature 1 between neighbouring prefixes, one per document."""
    documents = list(starts["document"].unique())
    figure, axes = plt.subplots(
        len(documents), 1, figsize=(FULL_WIDTH, 1.7 * len(documents)), squeeze=False
    )
    firsts = starts[starts["feature"] == 1].set_index("document")
    image = None
    for axis, document in zip(axes[:, 0], documents, strict=True):
        part = prefixes[prefixes["document"] == document]
        values = part.pivot(index="position", columns="layer", values="f1").to_numpy(float)
        changes = weighted_changes(values[:, :, None])[FIRST_PREFIX:, :, 0]
        # Layers differ in scale; every layer is drawn against its own largest change.
        largest = changes.max(axis=0)
        scaled = changes / np.where(largest > 0, largest, 1)
        image = axis.imshow(
            np.log10(np.maximum(scaled, DARKEST)).T,
            aspect="auto",
            origin="lower",
            cmap=SEQUENTIAL,
            extent=(FIRST_PREFIX - 0.5, len(values) - 0.5, -0.5, values.shape[1] - 0.5),
            interpolation="nearest",
        )
        for edge in ("start", "end"):
            axis.axvline(firsts[edge][document] - 0.5, color="white", linestyle="--", linewidth=1.2)
        axis.set(ylabel="layer", title=document)
    axes[-1, 0].set_xlabel("token")
    if image is not None:
        figure.colorbar(image, ax=list(axes[:, 0]), label="log10 of change / layer's largest")
    ranks = "; ".join(
        f"{name}: {int(row['rank'])} of {int(row['windows'])}" for name, row in firsts.iterrows()
    )
    caption = (
        f"Change of feature 1 (mean active share) from one prefix to the next, in {model}; dashed "
        "lines enclose the inserted passage. Changes are multiplied by the prefix length and drawn "
        "against each layer's largest, and all prefixes come from one forward pass. Rank of the "
        f"change at the passage's beginning among all windows of the document: {ranks}."
        "\n\nThe paper shows such maps for toxic passages in clean documents, without a number. "
        "The shipped passages are mild insults."
    )
    return _exhibit(
        figure, folder, f"inserts-{model}.png", "Where an inserted passage begins", caption, source
    )


def theory_checks(
    hull: pd.DataFrame, regions: pd.DataFrame, model: str, source: Path, folder: Path
) -> Exhibit:
    """Rank against the bound, and the error of the region's map, layer by layer."""
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 2.8))
    by_layer = hull.groupby("layer")[["count", "rank", "relative_count"]].mean()
    for index, (column, label) in enumerate(
        (
            ("count", "bound: tokens attended to"),
            ("rank", "rank of their values"),
            ("relative_count", "intrinsic dimension (relative)"),
        )
    ):
        axes[0].plot(by_layer.index, by_layer[column], color=PALETTE[index], label=label)
    axes[0].set(xlabel="layer", ylabel="dimensions", yscale="log")
    axes[0].legend(fontsize=7)
    for index, activation in enumerate(("model", "relu")):
        errors = regions[regions["activation"] == activation].groupby("layer")
        for column, style in (("reconstruction_error", "-"), ("neighbour_error", ":")):
            label = {"model": "as it is", "relu": "with ReLU"}[activation]
            label += "" if style == "-" else ", towards a boundary"
            axes[1].plot(errors[column].median(), style, color=PALETTE[index], label=label)
    axes[1].set(xlabel="layer", ylabel="relative error of the region's map", yscale="log")
    axes[1].legend(fontsize=7)
    smooth = regions[regions["activation"] == "model"]["reconstruction_error"]
    exact = regions[regions["activation"] == "relu"]["reconstruction_error"]
    gated = bool(regions["gated"].iloc[0])
    caption = (
        f"Left: Theorem 3.2 at the last tokens of {hull['text_id'].nunique()} texts in {model}. "
        f"The rank of the values that are attended to minus the bound is at most "
        f"{int((hull['rank'] - hull['count']).max())}, and the attention output is "
        f"rebuilt from them with an error of at most {hull['hull_error'].max():.1e}. Right: the "
        f"MLP against the map of its input's region. With ReLU the map is exact (error at most "
        f"{exact.max():.1e}); with the model's own activation the median error is "
        f"{smooth.median():.2f}."
    )
    caption += (
        " The MLP is gated, so the map of a region is a product of two affine maps."
        if gated
        else " The MLP has no gate, so the map of a region is affine."
    )
    caption += (
        "\n\nThe paper states both as theorems for piecewise affine models and treats smooth "
        "activations as soft versions; it gives no errors."
    )
    return _exhibit(figure, folder, f"theory-{model}.png", "The theory, checked", caption, source)


def scorer_exhibit(scorers: pd.DataFrame, source: Path) -> Exhibit:
    """How far the answer classifiers can be trusted."""
    listed = "; ".join(
        f"{row.outcome}: ROC-AUC {row.roc_auc:.2f} on {row.n_used} texts of {row.dataset}"
        for row in scorers.itertuples()
    )
    return Exhibit(
        title="The classifiers that judge the answers",
        caption=(
            f"Out of fold, on the labelled texts that they were trained on. {listed}. Their texts "
            "are not this model's answers, so scores on answers are less certain than these "
            "numbers. The paper judged its 50 answers by hand."
        ),
        table=source,
    )


def _exhibit(
    figure: Figure, folder: Path, name: str, title: str, caption: str, source: Path
) -> Exhibit:
    save_figure(figure, folder / name)
    return Exhibit(title=title, caption=caption, figure=name, table=source, rows=())


def _formats(table: pd.DataFrame) -> list[str]:
    """Formats of the prompts, the paper's raw text first."""
    return sorted(table["format"].unique(), key=lambda form: form != "raw")


def _layer_columns(table: pd.DataFrame, feature: int) -> np.ndarray:
    """One feature of every layer, [texts, layers]."""
    names: Sequence[str] = [c for c in table.columns if c.endswith(f"_f{feature}")]
    return table[list(names)].to_numpy(float)


def _band(axis: Axes, values: np.ndarray, label: str, colour: str) -> None:
    """Mean over texts per layer, with the middle 90 % shaded."""
    layers = np.arange(values.shape[1])
    low, high = np.quantile(values, [0.05, 0.95], axis=0)
    axis.fill_between(layers, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.plot(layers, values.mean(axis=0), color=colour, label=label)
