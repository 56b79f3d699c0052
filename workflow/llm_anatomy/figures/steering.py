"""Figures of steering: a concept's direction beside its neuron, by what they cost in fluency."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from llm_anatomy.figures.exhibit import FULL_WIDTH, PALETTE, Exhibit
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.directions import DIRECTIONS, EQUAL_FLUENCY, STEERING

COLOURS = {"direction": PALETTE[0], "clamp": PALETTE[1]}
STYLES = {"concept": "-", "random": ":", "permuted": "--"}
NAMES = {"direction": "direction", "clamp": "best neuron"}
# What fits above a panel; longer prompts go on below.
TITLE_CHARACTERS = 40
CONTROLS = {"random": "random direction or neuron", "permuted": "direction of shuffled labels"}


def steering_figures(tables: Collection, models: Sequence[str]) -> Iterator[Exhibit]:
    """The exhibit of every model that was steered."""
    for model in models:
        if tables.has(STEERING, model=model):
            fluent = tables.frame(EQUAL_FLUENCY, model=model)
            made = tables.frame(DIRECTIONS, model=model)
            shown = steering_figure(tables.frame(STEERING, model=model), fluent, made, model)
            yield replace(shown, table=tables.path(STEERING, model=model))


def steering_figure(
    steering: pd.DataFrame, fluent: pd.DataFrame, directions: pd.DataFrame, model: str
) -> Exhibit:
    """Probability of the concept against perplexity of the held text, dose by dose."""
    named = steering[["concept", "prompt"]].drop_duplicates()
    targets = list(zip(named["concept"], named["prompt"], strict=True))
    figure, axes = plt.subplots(1, len(targets), figsize=(FULL_WIDTH, 3.1), squeeze=False)
    said = []
    for axis, (concept, prompt) in zip(axes[0], targets, strict=True):
        own = steering[(steering["concept"] == concept) & (steering["prompt"] == prompt)]
        clean = own[own["method"] == "none"].iloc[0]
        # Doses that are added or set; what is projected out stands alone.
        doses = own[own["operation"].isin(["add", "set"])]
        for (method, role), rows in doses.groupby(["method", "role"], sort=False):
            # In the order of the doses: perplexity need not rise with them.
            rows = rows.sort_values("dose")
            axis.plot(
                rows["perplexity"],
                rows["probability"],
                STYLES[str(role)],
                marker="o",
                ms=2.5,
                color=COLOURS[str(method)],
            )
        removed = own[(own["operation"] == "project_out") & (own["role"] == "concept")]
        axis.plot(removed["perplexity"], removed["probability"], "x", color=COLOURS["direction"])
        axis.axhline(clean["probability"], color="0.6", lw=0.8)
        axis.axvline(clean["perplexity"], color="0.6", lw=0.8)
        axis.set_xscale("log")
        axis.set_yscale("log")
        # Less than a decade of perplexities would be named tick by tick, one over the other.
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_title(fill(f"“{prompt} …”", TITLE_CHARACTERS), fontsize=8)
        axis.set(xlabel="perplexity of held text", ylabel=f"p({concept})")
        bounds = fluent[(fluent["concept"] == concept) & (fluent["prompt"] == prompt)]
        for ratio, rows in bounds.groupby("perplexity_ratio"):
            gains = rows.set_index(["method", "role"])["logprob_gain"]
            said.append(
                f"{concept} within {ratio:g} times the clean perplexity: direction "
                f"{gains['direction', 'concept']:+.2f}, neuron {gains['clamp', 'concept']:+.2f}, "
                f"random direction {gains['direction', 'random']:+.2f}, shuffled labels "
                f"{gains['direction', 'permuted']:+.2f}, random neuron "
                f"{gains['clamp', 'random']:+.2f}"
            )
    handles = [Line2D([], [], color=COLOURS[m], label=name) for m, name in NAMES.items()]
    handles += [
        Line2D([], [], color="0.3", ls=STYLES[role], label=name) for role, name in CONTROLS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    caption = (
        f"{model}: the next token while the difference of class means is added to what a block "
        "reads, at all positions (blue), or the concept's best neuron is set to a value (orange); "
        "a point is a dose, lines join doses in their order, a cross is the direction projected "
        f"out. {_made_of(directions)} Up and left is better: the concept is likely and the held "
        "text stays fluent. Gain in nats of the best dose that is added or set (what is "
        f"subtracted or projected out does not count): {'; '.join(said)}. Grey: the clean model."
        "\n\nArditi et al. (2024) add one direction at "
        "one layer of chat models, after which nearly all harmless prompts are refused."
    )
    return Exhibit(
        f"Steering {model} by directions and by neurons",
        caption,
        figure=f"{model}-steering.png",
        rows=(),
        drawn=figure,
    )


def _made_of(directions: pd.DataFrame) -> str:
    """Layers, neurons and texts of the directions, in sentences."""
    said = []
    for row in directions.to_dict("records"):
        texts = row["positive"] + row["negative"]
        one = (
            f"{row['concept']}: block {row['layer']}, neuron {row['neuron_layer']}/"
            f"{row['neuron']}, {texts} texts ({row['source']})"
        )
        set_aside = {
            "cut at the longest length": row["positive_cut"] + row["negative_cut"],
            "without the label left out": row["unlabelled"],
            "more not read": row["unread"],
        }
        counts = [f"{count} {what}" for what, count in set_aside.items() if count]
        said.append(", ".join([one, *counts]))
    return f"{'; '.join(said)}."
