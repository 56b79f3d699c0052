"""Figures of the neuron study's compared models and of the fine-tune that made one of them."""

import matplotlib.pyplot as plt
import pandas as pd

from llm_anatomy.figures.exhibit import FULL_WIDTH, PALETTE, Exhibit

MATRIX_COLOURS = {"up": PALETTE[0], "gate": PALETTE[1], "down": PALETTE[2]}


def agreement_figure(agreement: pd.DataFrame, pair: str) -> Exhibit:
    """Share of neurons with the same top token, by layer."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(FULL_WIDTH, 2.7))
    layers = agreement[agreement["layer"].notna()]
    for (matrix, head), group in layers.groupby(["matrix", "head"], sort=False):
        style = "-" if head == "own" else "--"
        colour = MATRIX_COLOURS[str(matrix)]
        x = group["layer"].astype(int)
        left.plot(x, group["same_top"], style, color=colour, label=f"{matrix}, {head} head")
        left.fill_between(x, group["low"], group["high"], color=colour, alpha=0.2)
        right.plot(x, group["jaccard"], style, color=colour)
    left.axhline(0.754, color="0.6", lw=0.8, ls=":")
    left.set(xlabel="layer", ylabel="same top token")
    right.set(xlabel="layer", ylabel="Jaccard index of the top tokens")
    left.legend()
    together = agreement[agreement["layer"].isna()]
    said = "; ".join(
        f"{row['matrix']}, {row['head']} head: {row['same_top']:.1%} of {row['neurons']:,} "
        f"neurons, weight cosine {row['weight_cosine']:.4f}"
        for row in together.to_dict("records")
    )
    caption = (
        f"{pair}: neurons with the same top token in both models. {said}.\n\nThe paper: 75.4 % "
        "(dotted) between Llama 3.1 8B and its Instruct version, which were trained apart for "
        "far longer than a fine-tune of a few steps."
    )
    name = f"{pair}-agreement.png"
    return Exhibit(f"Agreement of {pair}", caption, figure=name, rows=(), drawn=figure)


def training_figure(
    training: pd.DataFrame, model: str, trained_layers: int | None = None
) -> Exhibit:
    """Loss curve of the fine-tune; `trained_layers` where the whole model did not fit."""
    figure, axis = plt.subplots(figsize=(FULL_WIDTH, 2.3))
    axis.plot(training["step"], training["loss"], color=PALETTE[0], label="batch")
    held = training.dropna(subset="held_loss")
    axis.plot(held["step"], held["held_loss"], "o--", color=PALETTE[1], label="texts kept out")
    axis.set(xlabel="step", ylabel="cross-entropy (nats)")
    axis.legend()
    caption = (
        f"The fine-tune that made {model}: {len(training)} steps, {training['tokens'].sum():,} "
        f"tokens. Loss on texts kept out of training: {held['held_loss'].iloc[0]:.2f} before, "
        f"{held['held_loss'].iloc[-1]:.2f} after."
    )
    if trained_layers is not None:
        caption += (
            f" The last {trained_layers} layers alone were trained: the whole model did not fit "
            "the memory. The layers below are those of the base."
        )
    name = f"{model}-training.png"
    return Exhibit(f"Fine-tuning {model}", caption, figure=name, rows=(), drawn=figure)
