"""Figures of grids: what states say and restore, by layer and position."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from llm_anatomy.figures.exhibit import DIVERGING, FULL_WIDTH, PALETTE, SEQUENTIAL, Exhibit
from llm_anatomy.statistics.intervals import CONFIDENCE
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.facts import FACTS
from llm_anatomy.tables.grids import LENS_GRID, TRACED_FACTS, TRACING_EFFECTS

# Roles in the order of a prompt.
ROLES = ("first subject", "middle subject", "last subject", "first after", "further", "last")
# Those whose effects are drawn layer by layer.
DRAWN = ("last subject", "last")
# What brings everything back by construction, behind the last layer at the latest.
CERTAIN = "the last position's own state"
RESTORED = {"state": "state", "attention": "attention", "ffn": "FFN"}


def grid_exhibits(tables: Collection, model: str) -> Iterator[Exhibit]:
    """Of every relation the lens on one fact, and average effects as map and by layer."""
    for owner in tables.owners(LENS_GRID, model=model):
        relation = owner["relation"]
        yield from lens_exhibit(tables, model, relation)
        yield from tracing_exhibit(tables, model, relation)
        yield from effect_exhibit(tables, model, relation)


def lens_exhibit(tables: Collection, model: str, relation: str) -> Iterator[Exhibit]:
    """The logit lens on the relation's first fact, layer by position."""
    frame = tables.frame(LENS_GRID, model=model, relation=relation)
    if frame.empty:
        return
    example = frame["example_id"].iloc[0]
    own = frame[frame["example_id"] == example]
    ranks = own.pivot(index="layer", columns="position", values="rank").sort_index(ascending=False)
    words = own.pivot(index="layer", columns="position", values="top_token").loc[ranks.index]
    names = own[own["layer"] == -1].sort_values("position")["position_token"]
    figure, axis = plt.subplots(figsize=(FULL_WIDTH, 1.2 + 0.19 * len(ranks)))
    sns.heatmap(
        np.log10(ranks),
        ax=axis,
        cmap=f"{SEQUENTIAL}_r",
        vmin=0,
        annot=words.map(_visible),
        fmt="",
        annot_kws={"size": 6},
        yticklabels=[str(layer) if layer >= 0 else "embedding" for layer in ranks.index],
        cbar_kws={"label": "log10 of the answer's rank"},
    )
    axis.set_xticklabels([_visible(name) for name in names])
    axis.set(xlabel="position", ylabel="layer")
    fact = tables.frame(FACTS, model=model, relation=relation).set_index("example_id").loc[example]
    last = own[own["position"] == own["position"].max()].sort_values("layer")
    first = last[last["rank"] == 1]["layer"]
    said = (
        f"At the last position it is first from {_place(int(first.min()))} at the earliest."
        if len(first)
        else "At the last position it is first at no layer."
    )
    yield Exhibit(
        title=f"What every state would say next: {relation} ({model})",
        caption=f"Logit lens on “{fact['prompt']}”: in each cell the most likely next token, "
        f"coloured by the rank of the answer, “{fact['answer']}”. {said}",
        figure=f"lens-{relation}-{model}.png",
        drawn=figure,
        table=tables.path(LENS_GRID, model=model, relation=relation),
        rows=(),
    )


def tracing_exhibit(tables: Collection, model: str, relation: str) -> Iterator[Exhibit]:
    """Average indirect effects, layers by positions (ROME, Fig. 1 and 2)."""
    frame = tables.frame(TRACING_EFFECTS, model=model, relation=relation)
    if frame.empty:
        return
    corruptions, kinds = list(frame["corruption"].unique()), list(frame["restored"].unique())
    roles = [role for role in ROLES if role in set(frame["role"])]
    figure, axes = plt.subplots(
        len(corruptions),
        len(kinds),
        figsize=(FULL_WIDTH, 0.9 + (0.5 + 0.22 * len(roles)) * len(corruptions)),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    limit = float(frame["effect"].abs().max())
    for line, corruption in zip(axes, corruptions, strict=True):
        for axis, kind in zip(line, kinds, strict=True):
            own = frame[(frame["corruption"] == corruption) & (frame["restored"] == kind)]
            cells = own.pivot(index="role", columns="layer", values="effect")
            sns.heatmap(
                cells.reindex(roles),
                ax=axis,
                cmap=DIVERGING,
                vmin=-limit,
                vmax=limit,
                cbar=axis is line[-1],
                cbar_kws={"label": "probability"},
            )
            axis.set(xlabel="layer", ylabel="", title=f"{RESTORED[kind]}, {corruption}")
    totals = tables.frame(TRACED_FACTS, model=model, relation=relation)
    said = " ".join(_total(totals, frame, corruption) for corruption in corruptions)
    yield Exhibit(
        title=f"What one restored state brings back: {relation} ({model})",
        caption="Average indirect effect on the answer's probability of the state behind a layer, "
        f"or of what attention or the FFN adds in a window of {_window(frame)} layers around it, "
        f"restored at the positions of one role. {said}",
        figure=f"tracing-{relation}-{model}.png",
        drawn=figure,
        table=tables.path(TRACED_FACTS, model=model, relation=relation),
        columns=("example_id", "corruption", "samples", "clean", "corrupted"),
    )


def effect_exhibit(tables: Collection, model: str, relation: str) -> Iterator[Exhibit]:
    """Average indirect effects by layer, with intervals, at the subject's end and at the last."""
    frame = tables.frame(TRACING_EFFECTS, model=model, relation=relation)
    roles = [role for role in DRAWN if role in set(frame["role"])]
    if not roles:
        return
    corruptions, kinds = list(frame["corruption"].unique()), list(frame["restored"].unique())
    figure, axes = plt.subplots(
        len(corruptions),
        len(roles),
        figsize=(FULL_WIDTH, 0.8 + 2.0 * len(corruptions)),
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for line, corruption in zip(axes, corruptions, strict=True):
        for axis, role in zip(line, roles, strict=True):
            for colour, kind in zip(PALETTE, kinds, strict=False):
                own = frame[
                    (frame["corruption"] == corruption)
                    & (frame["restored"] == kind)
                    & (frame["role"] == role)
                ].sort_values("layer")
                if own.empty:
                    continue
                axis.plot(own["layer"], own["effect"], color=colour, label=RESTORED[kind])
                axis.fill_between(
                    own["layer"], own["low"], own["high"], color=colour, alpha=0.15, lw=0
                )
            axis.axhline(0, color="0.7", lw=0.8, zorder=0)
            axis.set(xlabel="layer", ylabel="probability", title=f"{role}, {corruption}")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(kinds))
    best = _largest(frame[frame["role"].isin(roles)])
    said = (
        ""
        if best is None
        else f" Beside {CERTAIN}, the largest is that of the {RESTORED[best['restored']]} at layer "
        f"{best['layer']} and the position “{best['role']}” under {best['corruption']}: "
        f"{best['effect']:.3f} [{best['low']:.3f}, {best['high']:.3f}] over {best['facts']} facts."
    )
    yield Exhibit(
        title=f"Where restoring helps, layer by layer: {relation} ({model})",
        caption=f"Average indirect effects with {CONFIDENCE:.0%} intervals over facts.{said}",
        figure=f"tracing-layers-{relation}-{model}.png",
        drawn=figure,
        table=tables.path(TRACING_EFFECTS, model=model, relation=relation),
        rows=(),
    )


def _total(totals: pd.DataFrame, effects: pd.DataFrame, corruption: str) -> str:
    own = totals[totals["corruption"] == corruption]
    of = _largest(effects[effects["corruption"] == corruption])
    said = (
        f"Under {corruption} the probability goes from {own['clean'].mean():.3f} to "
        f"{own['corrupted'].mean():.3f} over {len(own)} facts"
    )
    if of is None:
        return f"{said}."
    return (
        f"{said}; beside {CERTAIN} most comes back by the {RESTORED[of['restored']]} at layer "
        f"{of['layer']}, {of['role']}: {of['effect']:.3f}."
    )


def _largest(effects: pd.DataFrame) -> pd.Series | None:
    """The largest effect that could have been another; None where there is none.

    The state behind the last layer at the last position brings everything back by construction,
    and those before it ever less of it: their size says nothing of where an answer is made.
    """
    certain = (effects["restored"] == "state") & (effects["role"] == "last")
    left = effects[~certain].sort_values("effect", kind="stable")
    return None if left.empty else left.iloc[-1]


def _place(layer: int) -> str:
    return f"layer {layer}" if layer >= 0 else "the embedding"


def _window(frame: pd.DataFrame) -> int:
    return int(frame["window"].max())


def _visible(text: str) -> str:
    """A token as a label: spaces and line breaks to be seen, and no mathematics."""
    return text.replace("\n", "⏎").replace("$", r"\$").strip() or "␣"
