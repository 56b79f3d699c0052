"""Figures of the patching study: curves over layers, the switch heat map, the paper's curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from llm_anatomy.figures.exhibit import (
    FULL_WIDTH,
    PALETTE,
    SEQUENTIAL,
    Exhibit,
    save_figure,
)
from llm_anatomy.patching.paper import paper_switch
from llm_anatomy.patching.summary import SCORES

SCORE_NAMES = {
    "correct": "share correct",
    "exact_match": "exact match",
    "f1": "F1",
    "rouge1": "ROUGE-1 F",
    "rouge2": "ROUGE-2 F",
    "rougeL": "ROUGE-L F",
}
PREDICTIONS_SHOWN = 20
OUTCOME_COLOURS = {"original": PALETTE[0], "modified": PALETTE[1], "neither": PALETTE[7]}


@dataclass(frozen=True)
class TaskResults:
    """The tables of one model and task, with the files that they come from.

    Attributes:
        model: Name of the model.
        task: Name of the task.
        curves: Table `patching/curves`.
        depths: Table `patching/depths`.
        clean: The clean run's rows of the table `patching/sweeps`, with their numbers there.
        intake: Table `patching/intake`.
        pairs: Table `patching/pairs`.
        folder: Folder of the files.
    """

    model: str
    task: str
    curves: pd.DataFrame
    depths: pd.DataFrame
    clean: pd.DataFrame
    intake: pd.DataFrame
    pairs: pd.DataFrame
    folder: Path

    @property
    def scores(self) -> pd.DataFrame:
        """Curves over all examples of the task's first score, or the first measure without one."""
        own = self.curves[self.curves["subset"] == "all"]
        metric = next((name for name in SCORES if (own["metric"] == name).any()), None)
        return own[own["metric"] == metric]


def clean_predictions(results: TaskResults, keep: Sequence[str]) -> Exhibit:
    """The clean model's answers; the kept subjects first."""
    clean, kept = results.clean, list(keep)
    first = [i for name in kept for i in clean.index[clean["example_id"] == name]]
    others = [i for i in clean.index if i not in first]
    rows = tuple((first + others)[:PREDICTIONS_SHOWN])
    used = results.intake[results.intake["scope"] == "task"]
    aside = used[~used["used"]].groupby("category").size()
    counts = ", ".join(f"{count} {str(name).replace('_', ' ')}" for name, count in aside.items())
    scores = " and ".join(
        f"{SCORE_NAMES[name]} {clean[name].astype(float).mean():.3f}"
        for name in SCORES
        if clean[name].notna().any() and not (name == "correct" and clean["f1"].notna().any())
    )
    return Exhibit(
        title=f"{results.task}: what {results.model} answers without manipulation",
        caption=(
            f"Of {len(used)} examples read, {int(used['used'].sum())} are used"
            + (f" and the others set aside ({counts})" if counts else "")
            + f". Clean {scores}. Shown: {len(rows)} of {len(clean)} examples; the rank is that of "
            "the answer's first token among all tokens."
        ),
        table=results.folder / "sweeps.parquet",
        columns=("example_id", "prediction", "correct", "gold_rank", "gold_logprob"),
        rows=rows,
    )


def score_curves(results: TaskResults, folder: Path) -> Exhibit:
    """Score and KL divergence over the manipulated layer, with baseline and chance lines."""
    scores = results.scores
    own = results.curves[results.curves["subset"] == "all"]
    divergence = own[(own["metric"] == "kl") & own["manipulation"].isin(scores["manipulation"])]
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 3.0))
    for axis, table in zip(axes, (scores, divergence), strict=True):
        for colour, (label, curve) in zip(_colours(), _lines(table), strict=False):
            _line(axis, curve, label, colour)
        axis.set_xlabel("manipulated layer k")
    baseline, chance = float(scores["baseline"].iloc[0]), scores["chance"].iloc[0]
    axes[0].axhline(baseline, color="black", linewidth=0.9, linestyle="--", label="clean")
    if not pd.isna(chance):
        axes[0].axhline(float(chance), color="grey", linewidth=0.9, linestyle=":", label="chance")
    metric = str(scores["metric"].iloc[0])
    axes[0].set_ylabel(SCORE_NAMES[metric])
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylabel("KL from clean (nat)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    name = f"curves_{results.model}_{results.task}.png"
    save_figure(figure, folder / name)
    n_layers = int(scores["layers"].iloc[0])
    depths = results.depths
    drops = depths[
        (depths["subset"] == "all")
        & (depths["metric"] == metric)
        & (depths["quantity"] == "drop_free_10")
    ]
    parts = [
        f"{row['manipulation']}{_angle(row['strength'])} from "
        + ("no layer on" if pd.isna(row["layer"]) else f"k = {int(row['layer'])} on")
        for _, row in drops.iterrows()
    ]
    return Exhibit(
        title=f"{results.task}: manipulating previous tokens at layer k of {results.model}",
        caption=(
            f"Left: {SCORE_NAMES[metric]} over {int(scores['examples'].iloc[0])} examples when "
            f"previous tokens are manipulated at layer k of {n_layers}; bands are "
            f"95 % intervals over examples. The score stays within 10 % of the clean "
            f"{baseline:.3f}: {'; '.join(parts)}. Right: how far the next-token distribution "
            "moves.\n\n"
            "The paper (Llama2-7B, Mistral-7B, Yi-6B, Llemma-7B) reports small to negligible drops "
            "in the final 30 to 50 % of the layers, and drops down to chance before."
        ),
        figure=name,
        table=results.folder / "depths.parquet",
        columns=("manipulation", "strength", "metric", "quantity", "layer", "depth", "low", "high"),
        rows=tuple(drops.index),
        alt=f"Lines of {SCORE_NAMES[metric]} and of the KL divergence against the layer.",
    )


def switch_heat_map(runs: Sequence[TaskResults], folder: Path) -> Exhibit:
    """Share of examples with the original and with the donor's answer, in the authors' form."""
    figure, axes = plt.subplots(
        1, len(runs), figsize=(min(FULL_WIDTH, 1.4 + 1.9 * len(runs)), 4.2), squeeze=False
    )
    top = max(run_outcomes(run).to_numpy().max() for run in runs)
    for axis, run in zip(axes[0], runs, strict=True):
        table = run_outcomes(run)
        image = axis.imshow(
            table[["original", "modified"]].to_numpy(),
            origin="lower",
            aspect="auto",
            cmap=SEQUENTIAL,
            vmin=0,
            vmax=top,
        )
        axis.set_xticks([0, 1], ["original\nanswer", "donor's\nanswer"])
        step = max(1, len(table) // 10)
        axis.set_yticks(range(0, len(table), step), table.index[::step])
        axis.set_ylabel("switched layer k")
        axis.set_title(run.model)
    figure.colorbar(image, ax=axes[0].tolist(), label="share of examples")
    task = runs[0].task
    name = f"switch_{task}.png"
    save_figure(figure, folder / name)
    sentences = [f"{run.model}: {_crossover_sentence(run)}" for run in runs]
    aligned = runs[0].pairs["alignment"].value_counts()
    aside = runs[0].intake[(runs[0].intake["scope"] == "switch") & ~runs[0].intake["used"]]
    coverage = ", ".join(
        f"{count} {str(kind).replace('_', ' ')}" for kind, count in aligned.items()
    )
    first = run_rows(runs[0], "crossover") + run_rows(runs[0], "transition_width")
    return Exhibit(
        title=f"{task}: whose answer, when the subject is switched at layer k",
        caption=(
            f"The states of the subject's tokens at layer k are replaced by those of another "
            f"subject. {' '.join(sentences)} Pairs by alignment of the two subjects' tokens: "
            f"{coverage}; {len(aside)} examples set aside.\n\nIn the paper's figure the answer "
            "flips at k = 18 (Llama2-7B), 17 (Mistral-7B) and 22 (Yi-6B) of 32."
        ),
        figure=name,
        table=runs[0].folder / "depths.parquet",
        columns=("subset", "quantity", "layer", "depth", "low", "high", "layers"),
        rows=tuple(first),
        alt="Heat map: the donor's answer below the flip, the original answer above it.",
    )


def switch_on_relative_depth(runs: Sequence[TaskResults], folder: Path) -> Exhibit:
    """The switch curves of the configured models over those recovered from the paper's figure."""
    paper = paper_switch()
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 3.0), sharey=True)
    styles = ("-", "--", ":")
    for axis, outcome in zip(axes, ("modified", "original"), strict=True):
        for style, (model, table) in zip(styles, paper.groupby("model", sort=True), strict=True):
            share = table[outcome] / table[outcome].max()
            axis.plot(
                table["depth"], share, color="grey", linestyle=style, label=f"{model} (paper)"
            )
        for colour, run in zip(_colours(), runs, strict=False):
            table = run_outcomes(run)
            depth = table.index.to_numpy() / int(run.curves["layers"].iloc[0])
            values = table[outcome].to_numpy()
            axis.plot(depth, values / max(values.max(), 1e-9), color=colour, label=run.model)
        axis.set_xlabel("switched layer, k / number of layers")
        axis.set_title({"modified": "donor's answer", "original": "original answer"}[outcome])
    axes[0].set_ylabel("share, relative to its maximum")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4)
    task = runs[0].task
    name = f"switch_paper_{task}.png"
    save_figure(figure, folder / name)
    sentences = [f"{run.model}: {_crossover_sentence(run)}" for run in runs]
    return Exhibit(
        title=f"{task}: the switch beside the paper's models, on relative depth",
        caption=(
            "Each curve is divided by its own maximum, because the models differ in how many "
            f"capitals they know. {' '.join(sentences)}\n\nGrey: counts out of 194 capitals, read "
            "from the colours of the authors' public heat map; they cross over at 0.56 "
            "(Llama2-7B), 0.53 (Mistral-7B) and 0.69 (Yi-6B) of the depth."
        ),
        figure=name,
        table=runs[0].folder / "curves.parquet",
        rows=(),
        alt="Curves of the share that follows the donor and of the share that keeps its answer.",
    )


def outcome_curves(results: TaskResults, folder: Path) -> Exhibit:
    """Original, donor's and neither answer over the switched layer, with intervals."""
    own = results.curves[results.curves["subset"] == "all"]
    figure, axis = plt.subplots(figsize=(FULL_WIDTH, 2.8))
    for outcome, colour in OUTCOME_COLOURS.items():
        curve = own[own["metric"] == outcome]
        curve = curve[curve["manipulation"] == curve["manipulation"].iloc[0]]
        label = {"modified": "donor's answer"}.get(outcome, f"{outcome} answer".strip())
        _line(axis, curve, label.replace("neither answer", "neither"), colour)
    original = own[own["metric"] == "original"]
    baseline = float(original["baseline"].iloc[0])
    axis.axhline(baseline, color="black", linewidth=0.9, linestyle="--", label="clean")
    axis.set_xlabel("switched layer k")
    axis.set_ylabel("share of examples")
    axis.set_ylim(0, 1)
    axis.legend(ncols=2)
    name = f"outcomes_{results.model}_{results.task}.png"
    save_figure(figure, folder / name)
    neither = own[own["metric"] == "neither"]
    worst = neither.sort_values("value").iloc[-1]
    return Exhibit(
        title=f"{results.task}: original, donor's or neither answer of {results.model}",
        caption=(
            f"{int(original['examples'].iloc[0])} examples, of which the clean model gets "
            f"{baseline:.3f} right; {_crossover_sentence(results)} Neither answer is given most "
            f"often at k = {int(worst['layer'])} ({worst['value']:.3f}). In the paper's models the "
            "largest such share is 0.33 (Llama2-7B), 0.23 (Mistral-7B) and 0.17 (Yi-6B)."
        ),
        figure=name,
        table=results.folder / "curves.parquet",
        rows=(),
        alt="Three lines: the donor's answer falls where the original answer rises.",
    )


def run_outcomes(run: TaskResults) -> pd.DataFrame:
    """Shares of the outcomes by layer, over all examples of the first switch."""
    own = run.curves[(run.curves["subset"] == "all") & run.curves["metric"].isin(OUTCOME_COLOURS)]
    own = own[own["manipulation"] == own["manipulation"].iloc[0]]
    shares: pd.DataFrame = own.pivot_table(index="layer", columns="metric", values="value")
    return shares


def run_rows(run: TaskResults, quantity: str) -> list[int]:
    """Rows of the depths table for one quantity."""
    return list(run.depths.index[run.depths["quantity"] == quantity])


def has_switch(run: TaskResults) -> bool:
    """Whether a run holds a switch."""
    return bool((run.curves["metric"] == "modified").any())


def _crossover_sentence(run: TaskResults) -> str:
    rows = run.depths[(run.depths["quantity"] == "crossover") & (run.depths["subset"] == "all")]
    n_layers = int(run.curves["layers"].iloc[0])
    if rows.empty or pd.isna(rows["layer"].iloc[0]):
        return f"the original answer never stays ahead of the donor's in {n_layers} layers."
    row = rows.iloc[0]
    interval = "" if pd.isna(row["low"]) else f", 95 % interval {row['low']:g} to {row['high']:g}"
    return (
        f"the original answer is ahead from k = {int(row['layer'])} of {n_layers} on "
        f"({row['depth']:.2f} of the depth{interval})."
    )


def _lines(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    groups = table.groupby(["manipulation", "strength"], dropna=False, sort=False)
    curves = [curve for _, curve in groups]
    return [
        (f"{curve['manipulation'].iloc[0]}{_angle(curve['strength'].iloc[0])}", curve)
        for curve in curves
    ]


def _line(axis: Axes, curve: pd.DataFrame, label: str, colour: str) -> None:
    curve = curve.sort_values("layer")
    axis.plot(curve["layer"], curve["value"], color=colour, label=label)
    axis.fill_between(
        curve["layer"], curve["low"], curve["high"], color=colour, alpha=0.18, linewidth=0
    )


def _angle(strength: float | None) -> str:
    return "" if strength is None or np.isnan(strength) else f" {strength:g}°"


def _colours() -> list[str]:
    return [*PALETTE, *PALETTE]
