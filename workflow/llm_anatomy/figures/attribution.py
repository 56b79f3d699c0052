"""Figures of unit attribution: what share of the behaviour the best units carry."""

from collections.abc import Iterable, Iterator
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from llm_anatomy.figures.exhibit import FULL_WIDTH, PALETTE, Exhibit
from llm_anatomy.statistics.intervals import CONFIDENCE
from llm_anatomy.tables.attribution import AGREEMENT_WITH_EXACT, AREAS, FAITHFULNESS
from llm_anatomy.tables.collection import Collection

KINDS = {"ffn_neuron": "FFN neurons", "attention_neuron": "attention neurons", "head": "heads"}
# Share of the units that the caption tells of.
TOLD = 0.01


def unit_exhibits(tables: Collection, model: str) -> Iterator[Exhibit]:
    """Faithfulness by share of units, and how scores agree with exact losses."""
    relations = [o["relation"] for o in tables.owners(FAITHFULNESS, model=model)]
    for relation in relations:
        yield from faithfulness_exhibit(tables, model, relation)
        yield from agreement_exhibit(tables, model, relation)


def faithfulness_exhibit(tables: Collection, model: str, relation: str) -> Iterator[Exhibit]:
    """Keeping and removing the best units of every ranking (papers/attribution, section 3.5)."""
    frame = tables.frame(FAITHFULNESS, model=model, relation=relation)
    if frame.empty:
        return
    # Of heads, which some methods do not rank, as of neurons, in one order of colours.
    kinds, methods = list(frame["kind"].unique()), list(frame["method"].unique())
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(FULL_WIDTH, 3.6), sharey=True, squeeze=False
    )
    for axis, kind in zip(axes[0], kinds, strict=True):
        # More rankings than colours: those of the second round have dots.
        for number, method in enumerate(methods):
            colour, marker = PALETTE[number % len(PALETTE)], "." if number >= len(PALETTE) else ""
            for side, style in (("keep", "-"), ("remove", ":")):
                own = frame[
                    (frame["kind"] == kind) & (frame["method"] == method) & (frame["side"] == side)
                ]
                if own.empty:
                    continue
                label = _words(method) if side == "keep" else None
                axis.plot(
                    own["share"],
                    own["faithfulness"],
                    style,
                    color=colour,
                    marker=marker,
                    label=label,
                )
                if side == "keep":
                    axis.fill_between(
                        own["share"], own["low"], own["high"], color=colour, alpha=0.15, lw=0
                    )
        axis.axhline(1, color="0.7", lw=0.8, zorder=0)
        axis.axhline(0, color="0.7", lw=0.8, zorder=0)
        axis.set(xscale="log", xlabel=f"share of {KINDS[kind]}", title=KINDS[kind])
    axes[0][0].set_ylabel("faithfulness")
    handles, labels = _legend(axes[0])
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    areas = tables.frame(AREAS, model=model, relation=relation)
    told = " ".join(_told(frame, areas, kind) for kind in kinds)
    yield Exhibit(
        title=f"What share of the behaviour the best units carry: {relation} ({model})",
        caption="Solid: the best units of each ranking are kept, all others exchanged; dotted: the "
        "best are exchanged, all others kept. 1 is the whole model, 0 the model with every unit "
        f"exchanged; shaded: {CONFIDENCE:.0%} intervals over facts. Rankings were made on other "
        f"facts. {told}",
        figure=f"faithfulness-{relation}-{model}.png",
        drawn=figure,
        table=tables.path(AREAS, model=model, relation=relation),
        columns=("kind", "method", "cpr", "cpr_low", "cpr_high", "cmd", "enough", "facts"),
    )


def agreement_exhibit(tables: Collection, model: str, relation: str) -> Iterator[Exhibit]:
    """How every score agrees with the exact losses of exchanged units, in all layers."""
    frame = tables.frame(AGREEMENT_WITH_EXACT, model=model, relation=relation)
    whole = frame[frame["layer"] == -1]
    if whole.empty:
        return
    best = whole.dropna(subset=["spearman"]).sort_values("spearman", kind="stable")
    told = "; ".join(
        f"{KINDS[row['kind']]}: {_words(row['method'])} ({row['spearman']:.2f} over "
        f"{row['units']} units)"
        for row in best.drop_duplicates("kind", keep="last").to_dict("records")
    )
    yield Exhibit(
        title=f"Scores against exact losses: {relation} ({model})",
        caption="Units were exchanged one by one, with all else recomputed, and each score held "
        f"against what the answer then lost. Highest rank correlation: {told}.",
        table=tables.path(AGREEMENT_WITH_EXACT, model=model, relation=relation),
        rows=tuple(whole.index),
        columns=("kind", "method", "units", "spearman", "slope", "same_sign", "recall_10"),
    )


def _told(frame: pd.DataFrame, areas: pd.DataFrame, kind: str) -> str:
    best = areas[areas["kind"] == kind].sort_values("cpr", kind="stable").iloc[-1]
    own = frame[
        (frame["kind"] == kind)
        & (frame["method"] == best["method"])
        & (frame["share"] == TOLD)
        & (frame["side"] == "keep")
    ].iloc[0]
    return (
        f"{KINDS[kind][0].upper() + KINDS[kind][1:]}: the largest area (CPR "
        f"{best['cpr']:.2f}) has {_words(best['method'])}, whose best {TOLD:.0%} alone carry "
        f"{own['faithfulness']:.1%} [{own['low']:.1%}, {own['high']:.1%}]."
    )


def _legend(axes: Iterable[Axes]) -> tuple[list[Any], list[str]]:
    """Every ranking once, whichever panels show it."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def _words(method: str) -> str:
    return method.replace("_", " ")
