"""Figures of the neuron study: tables in, figures and captions out."""

import math
from collections.abc import Iterator
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from llm_anatomy.figures.chat import with_chat
from llm_anatomy.figures.exhibit import FULL_WIDTH, PALETTE, SEQUENTIAL, Exhibit
from llm_anatomy.figures.neuron_pairs import MATRIX_COLOURS, agreement_figure, training_figure
from llm_anatomy.neurons.claims import NeuronScope
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import TableSchema
from llm_anatomy.tables.neurons import (
    ACTIVATION,
    AGREEMENT,
    CLAMPING,
    CONCEPTS,
    EDITS,
    FAVOURITE,
    SIGN_TESTS,
    STATISTICS,
    TRAINING,
    VOCABULARY,
)

SITE_NAMES = {"up": "up output", "gate": "gate output", "activation": "activation"}
SPECIFIC = 3


# What the map shows of tables with a row for every neuron.
TOP_COLUMNS = ("layer", "matrix", "token_id", "probability")
STATISTICS_COLUMNS = ("layer", "matrix", "entropy_positive", "kurtosis")
CONCEPT_COLUMNS = (
    "concept",
    "rank",
    "layer",
    "neuron",
    "matrix",
    "sign",
    "specificity",
    "token",
    "token_rank",
)
EDIT_COLUMNS = ("concept", "rows", "prompt", "probability", "kl", "held_kl", "smallest_cosine")
ANSWER_COLUMNS = ("condition", "value", "question", "answer", "mentions")


def neuron_figures(tables: Collection, scope: NeuronScope) -> Iterator[Exhibit]:
    """Every exhibit of the study: models, then pairs, then the fine-tune."""
    for model in scope.models:
        yield from model_exhibits(tables, model)
    for pair, owner in zip(scope.pairs, scope.pair_owners, strict=True):
        shown = agreement_figure(tables.frame(AGREEMENT, **owner), pair)
        yield replace(shown, table=tables.path(AGREEMENT, **owner))
    if scope.tuned:
        trained = tables.provenance(TRAINING, model=scope.tuned).get("trained_layers")
        shown = training_figure(tables.frame(TRAINING, model=scope.tuned), scope.tuned, trained)
        yield replace(shown, table=tables.path(TRAINING, model=scope.tuned))


def model_exhibits(tables: Collection, model: str) -> Iterator[Exhibit]:
    """Every exhibit of one model."""

    def of(schema: TableSchema, exhibit: Exhibit) -> Exhibit:
        return replace(exhibit, table=tables.path(schema, model=model))

    top = [("rank", "=", 1), ("sign", "=", 1)]
    tops = tables.frame(VOCABULARY, TOP_COLUMNS, top, model=model)
    statistics = tables.frame(STATISTICS, STATISTICS_COLUMNS, model=model)
    yield of(VOCABULARY, map_figure(tops, statistics, model))
    concepts = tables.frame(CONCEPTS, model=model)
    yield of(CONCEPTS, concept_figure(concepts, model))
    yield of(CONCEPTS, specific_neurons(concepts, model))
    yield of(CLAMPING, clamp_figure(tables.frame(CLAMPING, model=model), model))
    favourite = tables.frame(FAVOURITE, model=model)
    asked = tables.provenance(FAVOURITE, model=model)
    yield of(FAVOURITE, with_chat(favourite_figure(favourite, model), asked))
    yield of(FAVOURITE, first_answers(favourite, model))
    yield of(SIGN_TESTS, validation_figure(tables.frame(SIGN_TESTS, model=model), model))
    if tables.has(ACTIVATION, model=model):
        yield of(ACTIVATION, activation_figure(tables.frame(ACTIVATION, model=model), model))
    edits = tables.frame(EDITS, model=model)
    if len(edits):
        yield of(EDITS, removed_concepts(edits, model))


def map_figure(vocabulary: pd.DataFrame, statistics: pd.DataFrame, model: str) -> Exhibit:
    """Probability of the top token by layer, and how peaked the logits are.

    Args:
        vocabulary: Top tokens (rank 1, sign +1) of `neurons/vocabulary`.
        statistics: `neurons/statistics`.
        model: The model's name.
    """
    matrix = "up" if (vocabulary["matrix"] == "up").any() else str(vocabulary["matrix"].iloc[0])
    tops = vocabulary[vocabulary["matrix"] == matrix]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(FULL_WIDTH, 2.7))
    sns.histplot(
        x=tops["layer"],
        y=np.log10(tops["probability"].clip(lower=1e-12)),
        discrete=(True, False),
        bins=(1, 40),
        cmap=SEQUENTIAL,
        ax=left,
    )
    left.set(xlabel="layer", ylabel=f"log10 p(top token), {matrix}")
    for axis, column, label in (
        (middle, "entropy_positive", "median entropy (nats)"),
        (right, "kurtosis", "median kurtosis of the logits"),
    ):
        for name, group in statistics.groupby("matrix", sort=False):
            values = group.groupby("layer")[column].median()
            axis.plot(values.index, values, color=MATRIX_COLOURS[str(name)], label=name)
        axis.set(xlabel="layer", ylabel=label)
    right.axhline(3, color="0.6", lw=0.8, ls=":")
    right.legend()
    median, high = tops["probability"].median(), tops["probability"].quantile(0.99)
    distinct = tops["token_id"].nunique()
    caption = (
        f"{model}: every {matrix}-projection neuron decoded through the LM head. The top token has "
        f"a median probability of {median:.2g} (99th percentile {high:.2g}) over {len(tops):,} "
        f"neurons, which have {distinct:,} different top tokens. Raw rows are short, so most "
        "distributions are nearly uniform and only the ranking speaks; a kurtosis far above 3 "
        "(dotted) marks specialised neurons.\n\nThe paper reports that all top features of "
        "Llama 3.1 8B are mapped in under 10 seconds and that many neurons are specialised; it "
        "gives no distribution."
    )
    return _drawn(
        figure, f"What the neurons of {model} decode to", caption, f"{model}-vocabulary.png"
    )


def concept_figure(concepts: pd.DataFrame, model: str) -> Exhibit:
    """Closeness to the concept against closeness to other words."""
    figure, axis = plt.subplots(figsize=(FULL_WIDTH, 3.0))
    sns.scatterplot(
        concepts,
        x="hubness",
        y="cosine",
        hue="concept",
        style="matrix",
        palette=list(PALETTE[: concepts["concept"].nunique()]),
        ax=axis,
        s=28,
    )
    sns.move_legend(axis, "center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axis.set(xlabel="hubness: cosine with the nearest other words", ylabel="cosine with concept")
    best = concepts[concepts["rank"] == 1]
    named = "; ".join(
        f"{row['concept']}: layer {row['layer']}, neuron {row['neuron']}, {row['matrix']} "
        f"{row['sign']:+d} (cosine {row['cosine']:.2f}, hubness {row['hubness']:.2f})"
        for row in best.to_dict("records")
    )
    caption = (
        f"{model}: the most specific neurons of each concept. High and far left is specific: close "
        f"to the concept and to no other word. Most specific: {named}.\n\nThe paper names a dog "
        "and a California neuron of Llama 3.1 8B without their places."
    )
    return _drawn(figure, f"Neurons of concepts in {model}", caption, f"{model}-concepts.png")


def clamp_figure(clamping: pd.DataFrame, model: str) -> Exhibit:
    """Probability of the concept and perplexity over the clamped value."""
    swept = clamping[clamping["kl_target"].isna() & (clamping["operation"] == "set")]
    named = clamping[["concept", "prompt"]].drop_duplicates()
    targets = list(zip(named["concept"], named["prompt"], strict=True))
    figure, axes = plt.subplots(
        2, len(targets), figsize=(FULL_WIDTH, 4.4), squeeze=False, sharex=True
    )
    said = []
    for column, (concept, prompt) in enumerate(targets):
        top, bottom = axes[0, column], axes[1, column]
        chosen = swept[(swept["concept"] == concept) & (swept["prompt"] == prompt)]
        positions = chosen["positions"].iloc[0] if len(chosen) else "all"
        chosen = chosen[chosen["positions"] == positions]
        own = clamping[(clamping["concept"] == concept) & (clamping["prompt"] == prompt)]
        clean = own[own["operation"] == "none"].iloc[0]
        for index, (site, group) in enumerate(chosen.groupby("site", sort=False)):
            for role, style in (("concept", "-"), ("control", ":")):
                rows = group[group["role"] == role].sort_values("value")
                label = SITE_NAMES[str(site)] if role == "concept" else None
                colour = PALETTE[index]
                top.plot(rows["value"], rows["probability"], style, color=colour, label=label)
                bottom.plot(rows["value"], rows["perplexity"], style, color=colour)
        for axis, value in ((top, clean["probability"]), (bottom, clean["perplexity"])):
            axis.axhline(value, color="0.6", lw=0.8)
            axis.set_yscale("log")
        top.set_title(f"“{prompt} …”", fontsize=8)
        top.set_ylabel(f"p({concept})")
        bottom.set(xlabel="clamped value", ylabel="perplexity of held text")
        best = chosen[chosen["role"] == "concept"].sort_values("probability").iloc[-1]
        said.append(
            f"p({concept}) goes from {clean['probability']:.2%} to {best['probability']:.2%} with "
            f"layer {clean['layer']}, neuron {clean['neuron']} set to {best['value']:g} at its "
            f"{SITE_NAMES[best['site']]} (perplexity {clean['perplexity']:.1f} to "
            f"{best['perplexity']:.1f})"
        )
    axes[0, 0].legend()
    caption = (
        f"{model}: the next token while one neuron is set to a value. {'; '.join(said)}. Dotted: a "
        "random neuron of the same layer; grey: the clean model.\n\nThe paper reports that "
        "clamping the dog and California neurons changes the probability of those words; it "
        "does not name the tensor or the values."
    )
    return _drawn(figure, f"Clamping concept neurons in {model}", caption, f"{model}-clamping.png")


def favourite_figure(favourite: pd.DataFrame, model: str) -> Exhibit:
    """Share of answers that mention the concept, and how fluent they are."""
    frame = favourite.assign(
        setting=[
            condition if math.isnan(value) else f"{condition} {value:+g}"
            for condition, value in zip(favourite["condition"], favourite["value"], strict=True)
        ]
    )
    order = list(dict.fromkeys(frame["setting"]))
    share = frame.groupby("setting")["mentions"].mean().reindex(order)
    prefill = frame.groupby("setting")["prefill_probability"].mean().reindex(order)
    fluency = frame.groupby("setting")["answer_logprob"].mean().reindex(order)
    figure, axes = plt.subplots(1, 3, figsize=(FULL_WIDTH, 2.6), sharey=True)
    for axis, values, label in (
        (axes[0], share, "answers that mention it"),
        (axes[1], prefill, "p(concept) after the prefill"),
        (axes[2], fluency, "clean log-prob per token"),
    ):
        axis.barh(order, values, color=PALETTE[0])
        axis.set_xlabel(label)
    axes[0].set_xlim(0, 1)
    axes[0].invert_yaxis()
    said = ", ".join(
        f"{name} {share.loc[name]:.0%} (mean log-probability {fluency.loc[name]:.2f})"
        for name in order
    )
    caption = (
        f"{model}: answers to {favourite['question'].nunique()} paraphrases of the question, "
        f"greedy and sampled. Mentions of the concept: {said}. A low clean log-probability "
        "means that the clamp has broken the model's language.\n\nThe paper reports that Llama "
        "3.1 8B Instruct with its dog neuron clamped always talks about dogs."
    )
    return _drawn(figure, f"Asking {model} for its favourite", caption, f"{model}-favourite.png")


def validation_figure(sign_tests: pd.DataFrame, model: str) -> Exhibit:
    """Share of clamps that raise the decoded token, by layer."""
    matrices = list(dict.fromkeys(sign_tests["matrix"]))
    matrices.sort(key=["up", "gate", "down"].index)
    figure, axes = plt.subplots(
        1, len(matrices), figsize=(FULL_WIDTH, 2.7), sharey=True, squeeze=False
    )
    said = []
    for axis, matrix in zip(axes[0], matrices, strict=True):
        rows = sign_tests[(sign_tests["matrix"] == matrix) & sign_tests["share"].notna()]
        axis.fill_between(
            rows["layer"], rows["low"], rows["high"], color=MATRIX_COLOURS[matrix], alpha=0.2
        )
        axis.plot(rows["layer"], rows["share"], color=MATRIX_COLOURS[matrix])
        axis.plot(rows["layer"], rows["control_share"], ":", color="0.3")
        axis.axhline(0.5, color="0.6", lw=0.8)
        axis.set(xlabel="layer", title=matrix, ylim=(-0.03, 1.03))
        total = rows["raised"].sum() / max(1, rows["neurons"].sum())
        better = rows[(rows["p_value"] < 0.05) & (rows["share"] > 0.5)]["layer"]
        said.append(
            f"{matrix} {total:.0%} overall, above chance (p < 0.05) in {len(better)} of "
            f"{len(rows)} layers"
        )
    axes[0, 0].set_ylabel("share raised")
    # Bands fill the panels.
    handles = [
        Line2D([], [], color="0.3", label="decoded token"),
        Line2D([], [], color="0.3", linestyle=":", label="another neuron's token"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    caption = (
        f"{model}: a seeded sample of neurons of every layer is clamped in both directions; the "
        "share of clamps that raise the token to which the clamped direction decodes. "
        f"{'; '.join(said)}. Bands: 95 % Clopper-Pearson; dotted: the token of another sampled "
        "neuron.\n\nThe paper shows two neurons. Rows of up and gate say what a neuron listens to, "
        "columns of down what it writes."
    )
    return _drawn(
        figure, f"Does decoding predict behaviour in {model}?", caption, f"{model}-sign_tests.png"
    )


def activation_figure(activation: pd.DataFrame, model: str) -> Exhibit:
    """How often a neuron's strongest tokens are its decoded ones."""
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 2.7), sharey=True)
    said = []
    for axis, kind, name in ((axes[0], "here", "token"), (axes[1], "next", "next token")):
        for matrix, group in activation.groupby("matrix", sort=False):
            means = group.groupby("layer")[[kind, f"{kind}_chance"]].mean()
            colour = MATRIX_COLOURS[str(matrix)]
            axis.plot(means.index, means[kind], color=colour, label=matrix)
            axis.plot(means.index, means[f"{kind}_chance"], ":", color=colour)
            total, chance = group[kind].mean(), group[f"{kind}_chance"].mean()
            said.append(f"{matrix}, {name}: {total:.2%} (chance {chance:.2%})")
        axis.set(xlabel="layer", title=f"the {name} is a decoded one")
    axes[0].set_ylabel("share of strongest positions")
    axes[0].legend()
    caption = (
        f"{model}: of the positions at which a sampled neuron is strongest, the share whose token "
        f"(left) or next token (right) is among its decoded tokens. {'; '.join(said)}. Dotted: the "
        "share of all positions.\n\nThe paper does not compare with activations."
    )
    return _drawn(
        figure, f"Do the words activate the neurons of {model}?", caption, f"{model}-activation.png"
    )


def edit_caption(edits: pd.DataFrame, model: str) -> str:
    """What reversing the vectors closest to a concept does to the concept and to other text."""
    said = []
    for (concept, prompt), rows in edits.groupby(["concept", "prompt"], sort=False):
        steps = ", ".join(
            f"{probability:.2g} with {count}" if count else f"{probability:.2g} unedited"
            for count, probability in zip(rows["rows"], rows["probability"], strict=True)
        )
        said.append(f"p({concept}) after “{prompt}”: {steps}")
    most = edits[edits["rows"] == edits["rows"].max()]
    return (
        f"{model}: the vectors with the largest cosine with a concept's head row are replaced by "
        f"the concept's reversed direction. {'; '.join(said)}. At {most['rows'].iloc[0]} vectors "
        f"the median KL divergence on the held text is {most['held_kl'].max():.2g} nats.\n\nThe "
        "background paper (Davies 2024, Llama 3.1 8B) reports a probability of 0.00 after as few "
        "as one edit, and a median KL of 0.002 on Wikipedia text after five concepts were removed; "
        "it refines its direction first, which is not done here."
    )


def specific_neurons(concepts: pd.DataFrame, model: str) -> Exhibit:
    """The most specific neurons of every concept, as a table."""
    return Exhibit(
        title=f"The most specific neurons of {model}",
        caption="The three most specific neurons of every concept. Sign -1 means that the weight "
        "vector points away from the word.",
        columns=CONCEPT_COLUMNS,
        rows=tuple(int(row) for row in np.flatnonzero(concepts["rank"] <= SPECIFIC)),
    )


def first_answers(favourite: pd.DataFrame, model: str) -> Exhibit:
    """The greedy answers to the first question, as a table."""
    first = favourite["question"] == favourite["question"].iloc[0]
    return Exhibit(
        title=f"What {model} answers",
        caption="The greedy answers to the first question under every condition.",
        columns=ANSWER_COLUMNS,
        rows=tuple(int(row) for row in favourite.index[(favourite["sample"] == 0) & first]),
    )


def removed_concepts(edits: pd.DataFrame, model: str) -> Exhibit:
    """What every edit did, as a table."""
    return Exhibit(
        title=f"Removing a concept from {model}",
        caption=edit_caption(edits, model),
        columns=EDIT_COLUMNS,
        rows=tuple(range(len(edits))),
    )


def _drawn(figure: Figure, title: str, caption: str, name: str) -> Exhibit:
    return Exhibit(title, caption, figure=name, rows=(), drawn=figure)
