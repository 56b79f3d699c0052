"""Figures of the facts study: tables in, PNG files and exhibits out."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from llm_anatomy.facts.claims import FactsScope
from llm_anatomy.figures.attribution import unit_exhibits
from llm_anatomy.figures.exhibit import (
    DIVERGING,
    FULL_WIDTH,
    PALETTE,
    SEQUENTIAL,
    Exhibit,
)
from llm_anatomy.figures.fact_case import case_exhibits
from llm_anatomy.figures.fact_lists import list_exhibits
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.facts import (
    CURVE,
    FACTS,
    KNOCK_OUT_SUMMARY,
    LAYER_SUMMARY,
    METHOD_LAYERS,
    QUERY_NEURONS,
    SHARED_NEURONS,
)

SHOWN = 12


def facts_figures(tables: Collection, scope: FactsScope) -> Iterator[Exhibit]:
    """Every exhibit of the study, model by model."""
    for model in scope.models:
        yield from layer_exhibit(tables, model, scope)
        yield from head_exhibit(tables, model)
        yield from curve_exhibit(tables, model, scope)
        yield from method_exhibit(tables, model)
        yield from knock_out_exhibits(tables, model)
        yield from query_exhibit(tables, model)
        yield from shared_exhibit(tables, model)
        yield from case_exhibits(tables, model)
        yield from unit_exhibits(tables, model)
        yield from list_exhibits(tables, model, scope)


def layer_exhibit(tables: Collection, model: str, scope: FactsScope) -> Iterator[Exhibit]:
    """Importance of attention and FFN layers per relation (Tables 3 and 4, Figures 4 and 5)."""
    frame = tables.frame(LAYER_SUMMARY, model=model)
    whole = frame[frame["unit"].isin(["attention", "ffn"])]
    if whole.empty:
        return
    relations = list(whole["relation"].unique())
    name = f"layers-{model}.png"
    figure, axes = plt.subplots(2, 1, figsize=(FULL_WIDTH, 1.4 + 0.5 * len(relations)), sharex=True)
    limit = float(whole["importance"].abs().max())
    for axis, unit in zip(axes, ("attention", "ffn"), strict=True):
        grid = whole[whole["unit"] == unit].pivot(
            index="relation", columns="layer", values="importance"
        )
        sns.heatmap(
            grid.loc[relations],
            ax=axis,
            cmap=DIVERGING,
            vmin=-limit,
            vmax=limit,
            cbar_kws={"label": "nat"},
        )
        axis.set(ylabel="", xlabel="layer" if unit == "ffn" else "", title=unit)
    sums = whole.groupby(["relation", "unit"])["importance"].sum().unstack()
    counts = whole.groupby("relation")["facts"].max()
    said = "; ".join(
        f"{r}: attention {sums.loc[r, 'attention']:.2f}, FFN {sums.loc[r, 'ffn']:.2f} "
        f"({counts[r]} fact{'s' if counts[r] > 1 else ''})"
        for r in relations
    )
    errors = tables.joined(FACTS, model=model, relation=scope.relations)["telescoping_error"]
    worst = float(errors.max())
    best = whole.sort_values("importance", ascending=False, kind="stable").head(SHOWN)
    yield Exhibit(
        title=f"Which layers bring the answer about ({model})",
        caption="Log-probability increase of the answer by each layer's attention and FFN "
        f"(Eq. 13), mean over facts. Summed over layers, in nat: {said}. On every fact the "
        "layers' sum is what the model's own log-probability gains over the embedding, up to "
        f"{worst:.1g} nat.\n\nThe paper saw attention ahead for languages, capitals and "
        "countries (Llama-7B: 6.28 against 1.74 for languages) and FFN ahead for numbers "
        "(2.22 against 5.60).",
        figure=name,
        drawn=figure,
        table=tables.path(LAYER_SUMMARY, model=model),
        rows=tuple(best.index),
        columns=("relation", "unit", "layer", "importance", "facts"),
    )


def head_exhibit(tables: Collection, model: str) -> Iterator[Exhibit]:
    """Importance of every head, mean over relations (Table 10)."""
    frame = tables.frame(LAYER_SUMMARY, model=model)
    heads = frame[frame["unit"] == "head"]
    if heads.empty:
        return
    relations = list(heads["relation"].unique())
    name = f"heads-{model}.png"
    figure, axes = plt.subplots(
        1, len(relations), figsize=(FULL_WIDTH, 3.4), sharey=True, squeeze=False
    )
    limit = float(heads["importance"].abs().max())
    for axis, relation in zip(axes[0], relations, strict=True):
        own = heads[heads["relation"] == relation]
        grid = own.pivot(index="layer", columns="head", values="importance").astype(float)
        axis.imshow(grid, aspect="auto", cmap=DIVERGING, vmin=-limit, vmax=limit)
        axis.set(title=relation, xlabel="head")
    axes[0][0].set_ylabel("layer")
    figure.colorbar(axes[0][0].images[0], ax=axes[0], label="nat")
    best = heads.sort_values("importance", ascending=False, kind="stable").groupby("relation")
    said = "; ".join(
        f"{relation}: " + ", ".join(_head_names(best.get_group(relation).head(3)))
        for relation in relations
    )
    top = heads.sort_values("importance", ascending=False, kind="stable").head(SHOWN)
    yield Exhibit(
        title=f"Which heads bring the answer about ({model})",
        caption=f"Log-probability increase of the answer by every head. Best, as layer_head: "
        f"{said}.\n\nThe paper saw related types share heads (Llama-7B 23_12 is first for "
        "languages, capitals and countries).",
        figure=name,
        drawn=figure,
        table=tables.path(LAYER_SUMMARY, model=model),
        rows=tuple(top.index),
        columns=("relation", "layer", "head", "importance"),
    )


def _head_names(heads: pd.DataFrame) -> list[str]:
    pairs = zip(heads["layer"], heads["head"], strict=True)
    return [f"{int(layer)}_{int(head)}" for layer, head in pairs]


def curve_exhibit(tables: Collection, model: str, scope: FactsScope) -> Iterator[Exhibit]:
    """Why the logarithm is the better scale (Fig. 3)."""
    every = tables.each(CURVE, model=model, relation=scope.relations)
    frames = {owner["relation"]: frame for owner, frame in every if len(frame)}
    if not frames:
        return
    name = f"curve-{model}.png"
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 2.6))
    for relation, frame in frames.items():
        axes[0].plot(frame["share"], frame["logprob"], label=relation)
        axes[1].plot(frame["share"], frame["probability"], label=relation)
    axes[0].set(xlabel="share of the way from $h^0$ to $h^L$", ylabel="log p (nat)")
    axes[1].set(xlabel="share of the way from $h^0$ to $h^L$", ylabel="p")
    axes[1].legend()
    mean = pd.concat(frames.values()).groupby("share").mean()
    half = mean.loc[mean.index[len(mean) // 2]]
    end = mean.iloc[-1]
    yield Exhibit(
        title=f"Why log-probability is the scale ({model})",
        caption="Log-probability and probability of the answer on the straight line from the "
        "embedding to the final state, mean over facts. Half-way the log-probability has risen "
        f"from {mean['logprob'].iloc[0]:.1f} to {half['logprob']:.1f} of {end['logprob']:.1f}, "
        f"the probability from {mean['probability'].iloc[0]:.3f} to {half['probability']:.3f} of "
        f"{end['probability']:.3f}.\n\n"
        "The paper saw the same on Llama-7B: log p rises evenly, p stays near 0 for the first "
        "40 % of the way, so an increase in p can only credit the last layers.",
        figure=name,
        drawn=figure,
        table=tables.path(CURVE, model=model, relation=next(iter(frames))),
        rows=(),
    )


def method_exhibit(tables: Collection, model: str) -> Iterator[Exhibit]:
    """Where the neurons of every method lie (Fig. 2)."""
    frame = tables.frame(METHOD_LAYERS, model=model)
    if frame.empty:
        return
    name = f"methods-{model}.png"
    mean = frame.groupby(["method", "layer"], sort=False)["share"].mean().reset_index()
    methods = list(mean["method"].unique())
    columns = 3
    height = -(-len(methods) // columns)
    figure, axes = plt.subplots(
        height, columns, figsize=(FULL_WIDTH, 1.5 * height), sharex=True, sharey=True, squeeze=False
    )
    for axis, method in zip(axes.flat, methods, strict=False):
        own = mean[mean["method"] == method]
        axis.bar(own["layer"], own["share"], color=PALETTE[0])
        axis.set_title(method.replace("_", " "))
    for axis in axes.flat[len(methods) :]:
        axis.set_visible(False)
    figure.supxlabel("layer", fontsize=9)
    figure.supylabel("share of selected neurons", fontsize=9)
    centre = {
        m: float(np.average(part["layer"], weights=part["share"]))
        for m in methods
        for part in [mean[mean["method"] == m]]
    }
    said = ", ".join(f"{m.replace('_', ' ')} {value:.1f}" for m, value in centre.items())
    yield Exhibit(
        title=f"Where each method finds its neurons ({model})",
        caption="Layers of the FFN neurons that each method ranks best, mean over relations. "
        f"Mean layer: {said}.\n\nThe paper saw probability increase pick the last layers alone "
        "and log-probability increase spread over the deeper half.",
        figure=name,
        drawn=figure,
        table=tables.path(METHOD_LAYERS, model=model),
        rows=(),
    )


def knock_out_exhibits(tables: Collection, model: str) -> Iterator[Exhibit]:
    """What is left of the answers (Tables 2, 7, 11 and 13)."""
    frame = tables.frame(KNOCK_OUT_SUMMARY, model=model)
    if frame.empty:
        return
    shown = ["ffn", "value_neurons", "query_neurons", "attention_layers", "ffn_layers", "layers"]
    units = frame[frame["selection"].isin(shown)]
    labels = units["selection"].str.replace("_", " ") + ": " + units["method"].str.replace("_", " ")
    name = f"knock-out-{model}.png"
    figure, axis = plt.subplots(figsize=(FULL_WIDTH, 0.8 + 0.26 * labels.nunique()))
    means = units.assign(label=labels).groupby("label", sort=False)["prob_decrease"]
    # Relations stand beside each other in place of at random: the same tables draw one picture.
    sns.stripplot(
        data=units.assign(label=labels),
        y="label",
        x="prob_decrease",
        hue="relation",
        dodge=True,
        jitter=False,
        ax=axis,
    )
    axis.set(xlabel="decrease of the answer's probability (%)", ylabel="")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    said = "; ".join(f"{label} {value:.1f} %" for label, value in means.mean().items())
    yield Exhibit(
        title=f"What switching neurons off does ({model})",
        caption="Relative decrease of the answer's mean probability, a point per relation. "
        f"Mean over relations: {said}.\n\nThe paper saw log-probability increase hurt most "
        "(Llama-7B: MRR 0.551 to 0.312), random neurons nothing.",
        figure=name,
        drawn=figure,
        table=tables.path(KNOCK_OUT_SUMMARY, model=model),
        rows=tuple(units.index),
        columns=(
            "relation",
            "selection",
            "method",
            "facts",
            "mrr",
            "probability",
            "prob_decrease",
        ),
    )
    heads = frame[(frame["selection"] == "heads") & (frame["method"] != "random")]
    if heads.empty:
        return
    grid = heads.pivot(index="heads_of", columns="relation", values="prob_decrease")
    grid = grid.reindex(index=heads["heads_of"].unique(), columns=heads["relation"].unique())
    name = f"transfer-{model}.png"
    figure, axis = plt.subplots(figsize=(FULL_WIDTH * 0.75, 0.9 + 0.45 * len(grid)))
    sns.heatmap(
        grid, annot=True, fmt=".0f", cmap=SEQUENTIAL, ax=axis, cbar_kws={"label": "decrease (%)"}
    )
    axis.set(xlabel="evaluated on", ylabel="heads of")
    # Upright names of neighbouring rows run into each other.
    axis.tick_params(axis="y", rotation=0)
    yield Exhibit(
        title=f"Whose heads are whose ({model})",
        caption="Relative decrease of the answers' mean probability (%) when the best 1 % of "
        "heads of one relation are switched off and another is evaluated.\n\nThe paper saw "
        "related types (language, capital, country) share heads: 33 to 61 % across them, 0 to "
        "17 % elsewhere.",
        figure=name,
        drawn=figure,
        table=tables.path(KNOCK_OUT_SUMMARY, model=model),
        rows=tuple(heads.index),
        columns=("relation", "heads_of", "facts", "mrr_decrease", "prob_decrease"),
    )


def query_exhibit(tables: Collection, model: str) -> Iterator[Exhibit]:
    """What activates value neurons: layers (Tables 6 and 14) and neurons by depth (Fig. 8)."""
    frame = tables.frame(LAYER_SUMMARY, model=model)
    layers = frame[frame["unit"].isin(["query_ffn", "query_attention"])]
    queries = tables.frame(QUERY_NEURONS, model=model)
    if layers.empty:
        return
    name = f"queries-{model}.png"
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 2.8))
    mean = layers.groupby(["unit", "kind", "layer"])["importance"].mean().reset_index()
    for at, (unit, style) in enumerate((("query_ffn", "-"), ("query_attention", "--"))):
        for k, kind in enumerate(("attention", "ffn")):
            own = mean[(mean["unit"] == unit) & (mean["kind"] == kind)]
            label = f"{kind} → {('FFN', 'attention')[at]} neurons"
            axes[0].plot(own["layer"], own["importance"], style, color=PALETTE[k], label=label)
    axes[0].set(xlabel="layer", ylabel="query score (nat)")
    axes[0].legend(fontsize=6.5)
    last = int(layers["layer"].max())
    facts = max(1, queries.groupby(["relation", "example_id"]).ngroups)
    for k, (also, label) in enumerate(((False, "query only"), (True, "query and value"))):
        found = queries[queries["also_value"] == also]["layer"].value_counts()
        counts = found.reindex(range(last + 1), fill_value=0) / facts
        axes[1].plot(counts.index, counts, color=PALETTE[k], label=label)
    axes[1].set(xlabel="layer", ylabel="query neurons per fact")
    axes[1].legend()
    both = float(queries["also_value"].mean()) * 100 if len(queries) else float("nan")
    best = layers.sort_values("importance", ascending=False, kind="stable").head(SHOWN)
    yield Exhibit(
        title=f"What activates the value neurons ({model})",
        caption="Left: shares of earlier layers in the value neurons' inner products with "
        "their subkeys, weighted by importance. Right: query FFN neurons of attention value "
        f"neurons by layer; {both:.1f} % of them are value neurons too.\n\nThe paper saw "
        "query-only neurons far outnumber query-value ones and fall off at 60 % of the depth.",
        figure=name,
        drawn=figure,
        table=tables.path(LAYER_SUMMARY, model=model),
        rows=tuple(best.index),
        columns=("relation", "unit", "kind", "layer", "importance"),
    )


def shared_exhibit(tables: Collection, model: str) -> Iterator[Exhibit]:
    """Neurons that most facts of a relation share (Table 8)."""
    frame = tables.frame(SHARED_NEURONS, model=model)
    if frame.empty:
        return
    counts = frame.groupby(["relation", "role"]).size().rename("neurons").reset_index()
    said = "; ".join(f"{row.relation}, {row.role}: {row.neurons}" for row in counts.itertuples())
    rows = frame.groupby(["relation", "role"], sort=False).head(3).index
    yield Exhibit(
        title=f"Neurons that facts share ({model})",
        caption="FFN neurons that are among the best of more than half of a relation's facts: "
        f"{said}. Shown are the three most frequent.\n\nThe paper counted, of 300, 13 to 95 "
        "shared value neurons and 1 to 44 shared query neurons on Llama-7B.",
        table=tables.path(SHARED_NEURONS, model=model),
        rows=tuple(rows),
    )
