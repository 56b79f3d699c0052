"""Figures of the patching study: curves over layers, the switch heat map, the paper's curves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from llm_anatomy.config.patching import (
    CONTROL,
    ExtractiveQaTask,
    RelationTask,
    SummarisationTask,
    Task,
)
from llm_anatomy.figures.exhibit import (
    FULL_WIDTH,
    PALETTE,
    SEQUENTIAL,
    Beside,
    Exhibit,
)
from llm_anatomy.patching.claims import PatchingScope
from llm_anatomy.patching.paper import paper_switch
from llm_anatomy.patching.summary import SCORES
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.patching import CURVES, DEPTHS, EXAMPLES, INTAKE, PAIRS, SWEEPS

SCORE_NAMES = {
    "correct": "share correct",
    "exact_match": "exact match",
    "f1": "F1",
    "rouge1": "ROUGE-1 F",
    "rouge2": "ROUGE-2 F",
    "rougeL": "ROUGE-L F",
}
PREDICTIONS_SHOWN = 20
CLEAN_COLUMNS = ("manipulation", "example_id", *SCORES)
OUTCOME_COLOURS = {"original": PALETTE[0], "modified": PALETTE[1], "neither": PALETTE[7]}


@dataclass(frozen=True)
class TaskRun:
    """The tables of one model and task, read when they are asked for.

    Attributes:
        model: Name of the model.
        task: Name of the task.
        tables: Every table of the study.
    """

    model: str
    task: str
    tables: Collection

    @property
    def owner(self) -> dict[str, str]:
        """Whose tables these are."""
        return {"model": self.model, "task": self.task}

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Table `patching/curves`."""
        return self.tables.frame(CURVES, **self.owner)

    @cached_property
    def depths(self) -> pd.DataFrame:
        """Table `patching/depths`."""
        return self.tables.frame(DEPTHS, **self.owner)

    @cached_property
    def intake(self) -> pd.DataFrame:
        """Table `patching/intake`."""
        return self.tables.frame(INTAKE, **self.owner)

    @property
    def scores(self) -> pd.DataFrame:
        """Curves over all examples of the task's first score, or the first measure without one."""
        own = self.curves[self.curves["subset"] == "all"]
        metric = next((name for name in SCORES if (own["metric"] == name).any()), None)
        return own[own["metric"] == metric]


def patching_figures(tables: Collection, scope: PatchingScope) -> Iterator[Exhibit]:
    """Every exhibit of the study, task by task."""
    for task in scope.patching.tasks:
        runs = [TaskRun(model, task.name, tables) for model in scope.models]
        for run in runs:
            yield clean_predictions(run, task)
            if len(run.scores):
                yield score_curves(run)
        switched = [run for run in runs if has_switch(run)]
        for run in switched:
            yield outcome_curves(run)
        if switched:
            yield switch_heat_map(switched)
            yield switch_on_relative_depth(switched)


def clean_predictions(results: TaskRun, task: Task) -> Exhibit:
    """The clean model's answers; the kept subjects first."""
    keep = task.keep if isinstance(task, RelationTask) else []
    examples = results.tables.frame(EXAMPLES, ["answer_tokens"], **results.owner)
    # Rows keep their numbers in the whole table, by which the report finds them.
    swept = results.tables.frame(SWEEPS, CLEAN_COLUMNS, **results.owner)
    clean = swept[swept["manipulation"] == CONTROL]
    first = [i for name in keep for i in clean.index[clean["example_id"] == name]]
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
            + f".{unreached(results.intake)} Clean {scores}.{judged_by(examples, task)} Shown: "
            f"{len(rows)} of {len(clean)} examples; the rank is that of "
            "the answer's first token among all tokens."
        ),
        table=results.tables.path(SWEEPS, **results.owner),
        columns=("example_id", "prediction", "correct", "gold_rank", "gold_logprob"),
        rows=rows,
        beside=Beside(
            results.tables.path(EXAMPLES, **results.owner), "example_id", ("subject", "answer")
        ),
    )


def unreached(intake: pd.DataFrame) -> str:
    """How many examples lack positions of some manipulation; nothing where none does."""
    aside = intake[intake["category"].isin(("no_position", "fewer_positions"))]["example_id"]
    if aside.empty:
        return ""
    return f" {aside.nunique()} of them lack positions that a manipulation lists or describes."


def judged_by(examples: pd.DataFrame, task: Task) -> str:
    """Whether answers are judged by their first token alone, and what judges all of them."""
    longer = examples["answer_tokens"][examples["answer_tokens"] > 1]
    whole = isinstance(task, ExtractiveQaTask | SummarisationTask) or task.max_new_tokens > 1
    if whole or longer.empty:
        return ""
    return (
        f" An answer is right here when its first token is: {len(longer)} of {len(examples)} "
        f"answers have more tokens, of which nothing is read; with max_new_tokens: "
        f"{longer.max()} whole answers are."
    )


def score_curves(results: TaskRun) -> Exhibit:
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
        drawn=figure,
        table=results.tables.path(DEPTHS, **results.owner),
        columns=("manipulation", "strength", "metric", "quantity", "layer", "depth", "low", "high"),
        rows=tuple(drops.index),
        alt=f"Lines of {SCORE_NAMES[metric]} and of the KL divergence against the layer.",
    )


def switch_heat_map(runs: Sequence[TaskRun]) -> Exhibit:
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
    sentences = [f"{run.model}: {_crossover_sentence(run)}" for run in runs]
    pairs = runs[0].tables.frame(PAIRS, ["alignment"], **runs[0].owner)
    aligned = pairs["alignment"].value_counts()
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
        drawn=figure,
        table=runs[0].tables.path(DEPTHS, **runs[0].owner),
        columns=("subset", "quantity", "layer", "depth", "low", "high", "layers"),
        rows=tuple(first),
        alt="Heat map: the donor's answer below the flip, the original answer above it.",
    )


def switch_on_relative_depth(runs: Sequence[TaskRun]) -> Exhibit:
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
        drawn=figure,
        table=runs[0].tables.path(CURVES, **runs[0].owner),
        rows=(),
        alt="Curves of the share that follows the donor and of the share that keeps its answer.",
    )


def outcome_curves(results: TaskRun) -> Exhibit:
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
    neither = own[own["metric"] == "neither"]
    neither = neither[neither["manipulation"] == neither["manipulation"].iloc[0]]
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
        drawn=figure,
        table=results.tables.path(CURVES, **results.owner),
        rows=(),
        alt="Three lines: the donor's answer falls where the original answer rises.",
    )


def run_outcomes(run: TaskRun) -> pd.DataFrame:
    """Shares of the outcomes by layer, over all examples of the first switch."""
    own = run.curves[(run.curves["subset"] == "all") & run.curves["metric"].isin(OUTCOME_COLOURS)]
    own = own[own["manipulation"] == own["manipulation"].iloc[0]]
    shares: pd.DataFrame = own.pivot_table(index="layer", columns="metric", values="value")
    return shares


def run_rows(run: TaskRun, quantity: str) -> list[int]:
    """Rows of the depths table for one quantity."""
    return list(run.depths.index[run.depths["quantity"] == quantity])


def has_switch(run: TaskRun) -> bool:
    """Whether a run holds a switch."""
    return bool((run.curves["metric"] == "modified").any())


def _crossover_sentence(run: TaskRun) -> str:
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
