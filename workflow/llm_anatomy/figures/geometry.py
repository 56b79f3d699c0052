"""Figures of the geometry study: tables in, figures and captions out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm_anatomy.figures.exhibit import FULL_WIDTH, PALETTE, SEQUENTIAL, Exhibit
from llm_anatomy.figures.geometry_prompts import prompt_exhibits
from llm_anatomy.geometry.claims import GeometryScope
from llm_anatomy.geometry.inserts import FIRST_PREFIX, weighted_changes
from llm_anatomy.geometry.spline import FEATURE_NAMES
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import TableSchema
from llm_anatomy.tables.geometry import (
    HULL_CHECKS,
    INSERT_STARTS,
    INTRINSIC_DIMENSION,
    PREFIX_FEATURES,
    REGION_CHECKS,
    SPLINE_FEATURES,
)

# Changes below this share of the largest are drawn in the darkest colour.
DARKEST = 1e-3


def geometry_figures(tables: Collection, scope: GeometryScope) -> Iterator[Exhibit]:
    """Every exhibit of the study, model by model; the first dataset's table stands for all.

    A dataset has one colour everywhere.
    """
    for model in scope.models:
        first = {"model": model, "dataset": scope.datasets[0]}
        yield feature_profiles(
            _by_dataset(tables, SPLINE_FEATURES, model, scope.datasets),
            model,
            tables.path(SPLINE_FEATURES, **first),
        )
        yield dimension_profiles(
            _by_dataset(tables, INTRINSIC_DIMENSION, model, scope.datasets),
            model,
            tables.path(INTRINSIC_DIMENSION, **first),
        )
        starts = tables.frame(INSERT_STARTS, model=model)
        if not starts.empty:
            yield insert_maps(
                tables.frame(PREFIX_FEATURES, model=model),
                starts,
                model,
                tables.path(INSERT_STARTS, model=model),
            )
        yield from prompt_exhibits(tables, model)
        yield theory_checks(
            _of_all_texts(tables, HULL_CHECKS, model, scope.datasets),
            _of_all_texts(tables, REGION_CHECKS, model, scope.datasets),
            model,
            tables.path(HULL_CHECKS, **first),
        )


def feature_profiles(features: Mapping[str, pd.DataFrame], model: str, source: Path) -> Exhibit:
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
    return _exhibit(figure, f"features-{model}.png", "Spline features", caption, source)


def dimension_profiles(dimensions: Mapping[str, pd.DataFrame], model: str, source: Path) -> Exhibit:
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
        figure, f"dimension-{model}.png", "Attention intrinsic dimension", caption, source
    )


def insert_maps(prefixes: pd.DataFrame, starts: pd.DataFrame, model: str, source: Path) -> Exhibit:
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
            # One colour bar stands for all documents.
            vmin=np.log10(DARKEST),
            vmax=0,
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
        figure, f"inserts-{model}.png", "Where an inserted passage begins", caption, source
    )


def theory_checks(hull: pd.DataFrame, regions: pd.DataFrame, model: str, source: Path) -> Exhibit:
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
    return _exhibit(figure, f"theory-{model}.png", "The theory, checked", caption, source)


def _exhibit(figure: Figure, name: str, title: str, caption: str, source: Path) -> Exhibit:
    return Exhibit(title, caption, figure=name, table=source, rows=(), drawn=figure)


def _by_dataset(
    tables: Collection, schema: TableSchema, model: str, datasets: Sequence[str]
) -> dict[str, pd.DataFrame]:
    return {
        owner["dataset"]: frame
        for owner, frame in tables.each(schema, model=model, dataset=datasets)
    }


def _of_all_texts(
    tables: Collection, schema: TableSchema, model: str, datasets: Sequence[str]
) -> pd.DataFrame:
    """Tables of all datasets in one, with text ids that stay apart."""
    joined = tables.joined(schema, model=model, dataset=datasets)
    return joined.assign(text_id=joined["dataset"] + "/" + joined["text_id"])


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
