"""Figures of the facts study's case: where heads look, and what neurons say."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import seaborn as sns

from llm_anatomy.figures.exhibit import (
    DIVERGING,
    FULL_WIDTH,
    PALETTE,
    SEQUENTIAL,
    Exhibit,
)
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.fact_case import CASE_ATTENTION, CASE_CONTRASTS, CASE_STUDY

SHOWN = 12


def case_exhibits(tables: Collection, model: str) -> Iterator[Exhibit]:
    """Where the case's best heads look, what its neurons say, and what tells the answer apart."""
    yield from attention_exhibit(tables, model)
    yield from contrast_exhibit(tables, model)
    yield from neuron_exhibit(tables, model)


def attention_exhibit(tables: Collection, model: str) -> Iterator[Exhibit]:
    """Where the case study's best heads look."""
    frame = tables.frame(CASE_ATTENTION, model=model)
    if frame.empty:
        return
    label = frame["layer"].astype(str) + "_" + frame["head"].astype(str)
    order = list(label.unique())
    tokens = frame.drop_duplicates("position")["position_token"].tolist()
    name = f"case-attention-{model}.png"
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 0.9 + 0.24 * len(order)), sharey=True)
    for axis, column, colours in zip(
        axes, ("attention", "importance"), (SEQUENTIAL, DIVERGING), strict=True
    ):
        grid = frame.assign(label=label).pivot(index="label", columns="position", values=column)
        limit = float(grid.abs().max().max())
        sns.heatmap(
            grid.loc[order],
            ax=axis,
            cmap=colours,
            vmin=0 if column == "attention" else -limit,
            vmax=limit,
            xticklabels=tokens,
        )
        axis.tick_params(axis="y", rotation=0)
        axis.set(title=column, xlabel="", ylabel="layer_head" if column == "attention" else "")
    best = frame.sort_values("importance", ascending=False, kind="stable").head(SHOWN)
    first = best.iloc[0]
    yield Exhibit(
        title=f"Case study: where the best heads look ({model})",
        caption="Attention from the last position and log-probability increase by source "
        f"position. The strongest is head {first['layer']}_{first['head']} at "
        f"'{first['position_token']}' with {first['importance']:.2f} nat, which writes "
        f"{first['top_tokens']}.",
        figure=name,
        drawn=figure,
        table=tables.path(CASE_ATTENTION, model=model),
        rows=tuple(best.index),
        columns=(
            "layer",
            "head",
            "position_token",
            "attention",
            "importance",
            "top_tokens",
        ),
    )


def contrast_exhibit(tables: Collection, model: str) -> Iterator[Exhibit]:
    """What tells the case study's answer from its contrasts."""
    against = tables.frame(CASE_CONTRASTS, model=model)
    if against.empty:
        return
    name = f"case-contrasts-{model}.png"
    texts = list(against["contrast"].unique())
    figure, axes = plt.subplots(
        1, len(texts), figsize=(FULL_WIDTH, 2.4), sharey=True, squeeze=False
    )
    said = []
    for axis, text in zip(axes[0], texts, strict=True):
        own = against[against["contrast"] == text]
        for k, kind in enumerate(("attention", "ffn")):
            part = own[own["kind"] == kind]
            axis.plot(part["layer"], part["importance"], color=PALETTE[k], label=kind)
        sums = own.groupby("kind")["importance"].sum()
        said.append(f"{text}: attention {sums['attention']:.2f}, FFN {sums['ffn']:.2f}")
        axis.set(title=f"against '{text}'", xlabel="layer")
    axes[0][0].set_ylabel("nat")
    axes[0][0].legend()
    yield Exhibit(
        title=f"Case study: what tells the answer apart ({model})",
        caption="What each layer adds to log p(answer) - log p(contrast). Summed: "
        f"{'; '.join(said)}.",
        figure=name,
        drawn=figure,
        table=tables.path(CASE_CONTRASTS, model=model),
        rows=(),
    )


def neuron_exhibit(tables: Collection, model: str) -> Iterator[Exhibit]:
    """What the case study's neurons say."""
    frame = tables.frame(CASE_STUDY, model=model)
    if frame.empty:
        return
    kinds = ["ffn_neuron", "attention_neuron", "query_neuron", "query_neuron_through_head"]
    rows = frame[frame["unit"].isin(kinds)].groupby("unit", sort=False).head(8).index
    yield Exhibit(
        title=f"Case study: what the neurons say ({model})",
        caption="The best neurons of the fact in tokens: what the vector that they add (with "
        "its sign) promotes and suppresses. Attention neurons are read at their source token, "
        "query neurons at the source token of the best attention neuron, once as they are and "
        "once through the head that reads them.",
        table=tables.path(CASE_STUDY, model=model),
        rows=tuple(rows),
        columns=(
            "unit",
            "rank",
            "layer",
            "index",
            "dimension",
            "position_token",
            "through",
            "importance",
            "top_tokens",
        ),
    )
