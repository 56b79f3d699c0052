"""Figures of the geometry study's prompts: their intrinsic dimension, and what goes with it."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D

from llm_anatomy.figures.chat import with_chat
from llm_anatomy.figures.exhibit import FULL_WIDTH, PALETTE, Exhibit
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.geometry import (
    PROMPT_CORRELATIONS,
    PROMPT_DIMENSION,
    PROMPT_OUTCOMES,
    PROMPTS,
    SCORERS,
)

MARKERS = {
    "none": "*",
    "unrelated": "o",
    "related": "^",
    "length_matched": "s",
    "shuffled": "X",
    "random": "P",
}


def prompt_exhibits(tables: Collection, model: str) -> Iterator[Exhibit]:
    """Every exhibit of a model's prompts."""
    scatter = prompt_scatter(
        tables.frame(PROMPTS, model=model),
        tables.frame(PROMPT_DIMENSION, model=model),
        tables.frame(PROMPT_OUTCOMES, model=model),
        model,
        tables.path(PROMPT_DIMENSION, model=model),
    )
    yield with_chat(scatter, tables.provenance(PROMPTS, model=model))
    scorers = tables.frame(SCORERS, model=model)
    if len(scorers):
        yield scorer_exhibit(scorers, tables.path(SCORERS, model=model))
    yield correlation_profiles(
        tables.frame(PROMPT_CORRELATIONS, model=model),
        model,
        tables.path(PROMPT_CORRELATIONS, model=model),
    )


def prompt_scatter(
    prompts: pd.DataFrame,
    dimension: pd.DataFrame,
    outcomes: pd.DataFrame,
    model: str,
    source: Path,
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
    return Exhibit(
        "Intrinsic dimension against the prompt",
        caption,
        figure=f"prompts-{model}.png",
        table=source,
        rows=(),
        drawn=figure,
    )


def judgements(prompt_ids: pd.Series, outcomes: pd.DataFrame) -> pd.Series:
    """What every answer was called: the outcomes whose scores reach their thresholds."""
    if outcomes.empty:
        return pd.Series("not judged", index=prompt_ids.index)
    names = list(dict.fromkeys(outcomes["outcome"]))
    positive = outcomes[outcomes["positive"]]
    called = positive.groupby("prompt_id")["outcome"].agg(" and ".join)
    # Without any positive answer the column would be one of numbers.
    return (
        prompt_ids.map(called)
        .astype(object)
        .fillna("neither" if len(names) > 1 else f"not {names[0]}")
    )


def correlation_profiles(correlations: pd.DataFrame, model: str, source: Path) -> Exhibit:
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
    return Exhibit(
        "What intrinsic dimension goes with",
        caption,
        figure=f"correlations-{model}.png",
        table=source,
        rows=(),
        drawn=figure,
    )


def scorer_exhibit(scorers: pd.DataFrame, source: Path) -> Exhibit:
    """How far the answer classifiers can be trusted."""
    listed = "; ".join(
        f"{row.outcome}: ROC-AUC {row.roc_auc:.2f} on {row.n_used} texts of {row.dataset}"
        for row in scorers.itertuples()
    )
    return Exhibit(
        title="The classifiers that judge the answers",
        caption=(
            "Out of fold, over pairs of texts inside a fold, on the labelled texts that they were "
            f"trained on. {listed}. Their texts are not this model's answers, so scores on answers "
            "are less certain than these numbers. The paper judged its 50 answers by hand."
        ),
        table=source,
    )


def _formats(table: pd.DataFrame) -> list[str]:
    """Formats of the prompts, the paper's raw text first."""
    return sorted(table["format"].unique(), key=lambda form: form != "raw")
