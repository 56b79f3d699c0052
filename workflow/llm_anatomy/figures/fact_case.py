"""Figures of the facts study's case: where heads look, and what neurons say."""

from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns

from llm_anatomy.figures.exhibit import (
    DIVERGING,
    FULL_WIDTH,
    PALETTE,
    SEQUENTIAL,
    Exhibit,
    save_figure,
)
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.fact_case import CASE_ATTENTION, CASE_CONTRASTS, CASE_STUDY

NONE: list[Exhibit] = []
SHOWN = 12


def attention_exhibit(folder: Path, model: str, attention: Path) -> list[Exhibit]:
    """Where the case study's best heads look."""
    frame = read_table(attention, CASE_ATTENTION)
    if frame.empty:
        return NONE
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
    save_figure(figure, folder / name)
    best = frame.sort_values("importance", ascending=False, kind="stable").head(SHOWN)
    first = best.iloc[0]
    return [
        Exhibit(
            title=f"Case study: where the best heads look ({model})",
            caption="Attention from the last position and log-probability increase by source "
            f"position. The strongest is head {first['layer']}_{first['head']} at "
            f"'{first['position_token']}' with {first['importance']:.2f} nat, which writes "
            f"{first['top_tokens']}.",
            figure=name,
            table=attention,
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
    ]


def case_exhibits(folder: Path, model: str, case: Path, contrasts: Path) -> list[Exhibit]:
    """What the case study's neurons say, and what tells the answer from its contrasts."""
    frame, against = (
        read_table(case, CASE_STUDY),
        read_table(contrasts, CASE_CONTRASTS),
    )
    if frame.empty:
        return NONE
    exhibits = []
    if len(against):
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
        save_figure(figure, folder / name)
        exhibits.append(
            Exhibit(
                title=f"Case study: what tells the answer apart ({model})",
                caption="What each layer adds to log p(answer) - log p(contrast). Summed: "
                f"{'; '.join(said)}.",
                figure=name,
                table=contrasts,
                rows=(),
            )
        )
    kinds = ["ffn_neuron", "attention_neuron", "query_neuron", "query_neuron_through_head"]
    rows = frame[frame["unit"].isin(kinds)].groupby("unit", sort=False).head(8).index
    exhibits.append(
        Exhibit(
            title=f"Case study: what the neurons say ({model})",
            caption="The best neurons of the fact in tokens: what the vector that they add (with "
            "its sign) promotes and suppresses. Attention neurons are read at their source token, "
            "query neurons at the source token of the best attention neuron, once as they are and "
            "once through the head that reads them.",
            table=case,
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
    )
    return exhibits
