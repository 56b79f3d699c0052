"""Figures of what makes neurons fire: tables in, figures and captions out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D

from llm_anatomy.figures.exhibit import FULL_WIDTH, Exhibit
from llm_anatomy.figures.neuron_pairs import MATRIX_COLOURS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.contexts import CONTEXT_OVERLAP, CONTEXT_WORDS

VERDICT_COLUMNS = (
    "layer",
    "neuron",
    "matrix",
    "sign",
    "contexts",
    "here",
    "next",
    "opposite_here",
    "opposite_next",
    "verdict",
)
OPPOSITE = ("opposite_here", "opposite_next")
LISTED = 8


def context_figures(tables: Collection, models: Sequence[str]) -> Iterator[Exhibit]:
    """Every exhibit of contexts, of the models whose neurons were watched on texts."""
    for model in models:
        if tables.has(CONTEXT_OVERLAP, model=model):
            shown = overlap_figure(tables.frame(CONTEXT_OVERLAP, model=model), model)
            yield replace(shown, table=tables.path(CONTEXT_OVERLAP, model=model))
            words = tables.frame(CONTEXT_WORDS, model=model)
            yield replace(verdicts(words, model), table=tables.path(CONTEXT_WORDS, model=model))


def overlap_figure(overlap: pd.DataFrame, model: str) -> Exhibit:
    """Share of contexts with a decoded token, by layer, beside the words of other neurons."""
    chosen = overlap[(overlap["end"] == 1) & (overlap["sign"] == 1)]
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 2.9), sharey=True)
    said = []
    for axis, place, name in ((axes[0], "here", "token"), (axes[1], "next", "next token")):
        for matrix, group in chosen[chosen["place"] == place].groupby("matrix", sort=False):
            colour, layers = MATRIX_COLOURS[str(matrix)], group[group["layer"].notna()]
            x = layers["layer"].astype(int)
            axis.fill_between(x, layers["low"], layers["high"], color=colour, alpha=0.2)
            axis.plot(x, layers["share"], color=colour)
            axis.plot(x, layers["shuffled"], ":", color=colour)
            for row in group[group["layer"].isna()].to_dict("records"):
                said.append(
                    f"{matrix}, {name}: {row['share']:.2%} [{row['low']:.2%}, {row['high']:.2%}] "
                    f"(others' words {row['shuffled']:.2%}) of {row['neurons']:,} neurons"
                )
        axis.set(xlabel="layer", title=f"the {name} is a decoded one")
    axes[0].set_ylabel("share of contexts")
    matrices = list(dict.fromkeys(chosen["matrix"]))
    handles = [Line2D([], [], color=MATRIX_COLOURS[m], label=m) for m in matrices]
    handles.append(Line2D([], [], color="0.3", linestyle=":", label="another neuron's words"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    caption = (
        f"{model}: of the texts on which a neuron is strongest, the share whose token there (left) "
        "or next token (right) is among the tokens at the positive end of its weights; mean over "
        f"all neurons of a layer. {'; '.join(said)}. Dotted: the words of another neuron of the "
        "layer. Bands: 95 % bootstrap over neurons, which read the same texts.\n\nThe paper names "
        "neurons by their decoded tokens and does not compare with activations."
    )
    return Exhibit(
        f"Do neurons of {model} fire on their words?",
        caption,
        figure=f"{model}-context_overlap.png",
        rows=(),
        drawn=figure,
    )


def verdicts(words: pd.DataFrame, model: str) -> Exhibit:
    """Neurons whose words and contexts agree, and neurons where they contradict each other."""
    said, rows = [], []
    for verdict, columns in (("agree", ["here", "next"]), ("contradict", list(OPPOSITE))):
        own = words[words["verdict"] == verdict]
        said.append(f"{len(own):,} {verdict}")
        strongest = own[columns].max(axis=1).sort_values(ascending=False, kind="stable")
        rows += [int(row) for row in strongest.index[:LISTED]]
    caption = (
        f"{model}: of {len(words):,} neurons, matrices and signs of the activation "
        f"{' and '.join(said)}: "
        "half or more of their contexts hold a decoded word of the end that goes with that sign, "
        "or of the other end, and none of the other way. The first of each are shown; what they "
        "decode to and fire on stands in vocabulary.parquet and contexts.parquet."
    )
    return Exhibit(
        f"Where words and contexts of {model} agree and contradict",
        caption,
        columns=VERDICT_COLUMNS,
        rows=tuple(rows),
    )
