"""The paper's claims, tested on a model's curves. Nothing is tuned to agree with the paper."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.patching import Manipulation, PatchingSettings, Skip, StatesManipulation
from llm_anatomy.patching.summary import ROUNDING, SCORES
from llm_anatomy.tables.claims import claim_row
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.patching import CURVES, DEPTHS

PAPER = "Ben-Artzy 2024"
# Tolerated relative drop where the paper says "small to negligible".
SMALL_DROP = 0.10
TOP_SHARE = 0.30
UNTESTABLE = "; the clean model is not above chance, so this cannot be tested"
STATES = ("noise", "shuffle", "freeze", "skip")
# Lowest and highest relative depth at which the paper's models cross over (17/32 and 22/32).
PAPER_CROSSOVER = (17 / 32, 22 / 32)

Row: TypeAlias = dict[str, Any]


class PatchingScope(Settings):
    """Whose tables the study's claims and figures are made from, in the order shown."""

    models: list[str]
    patching: PatchingSettings


@dataclass(frozen=True)
class TaskSummary:
    """The summary of one model and task.

    Attributes:
        model: Name of the model.
        task: Name of the task.
        kind: The task's kind.
        curves: Table `patching/curves`.
        depths: Table `patching/depths`.
    """

    model: str
    task: str
    kind: str
    curves: pd.DataFrame
    depths: pd.DataFrame


def patching_claims(tables: Collection, scope: PatchingScope) -> list[Row]:
    """Every claim on every model and task, by the paper's own manipulations."""
    rows = []
    for model, task in product(scope.models, scope.patching.tasks):
        owner = {"model": model, "task": task.name}
        summary = TaskSummary(
            model,
            task.name,
            task.kind,
            tables.frame(CURVES, **owner),
            tables.frame(DEPTHS, **owner),
        )
        manipulations = scope.patching.task_manipulations(task.name)
        rows += task_claims(
            summary, {each.name: each.kind for each in manipulations if as_in_the_paper(each)}
        )
    return rows


def as_in_the_paper(manipulation: Manipulation) -> bool:
    """Whether it is the paper's: all previous tokens, and attention skipped up to the top."""
    if isinstance(manipulation, Skip):
        return manipulation.width is None
    if isinstance(manipulation, StatesManipulation):
        return manipulation.positions == "previous" and not manipulation.keep_first
    return True


def task_claims(tables: TaskSummary, kinds: Mapping[str, str]) -> list[Row]:
    """Rows of the claims table for one model and task.

    Args:
        tables: The summary.
        kinds: Kind of each manipulation that is the paper's own, by name.
    """
    rows = []
    curves = tables.curves[tables.curves["subset"] == "all"]
    n_layers = int(curves["layers"].iloc[0])
    for name, kind in kinds.items():
        own = curves[(curves["manipulation"] == name) & curves["strength"].isna()]
        if kind == "switch":
            rows += _switch_claims(tables, own, name, n_layers)
        elif kind in STATES:
            metric = next((m for m in SCORES if (own["metric"] == m).any()), None)
            if metric is not None:
                rows += _state_claims(tables, own[own["metric"] == metric], name, kind, n_layers)
    return rows


def _state_claims(
    tables: TaskSummary, curve: pd.DataFrame, name: str, kind: str, n_layers: int
) -> list[Row]:
    baseline = float(curve["baseline"].iloc[0])
    chance = curve["chance"].iloc[0]
    able = _above_chance(curve)
    about = (
        f"task {tables.task}, {curve['metric'].iloc[0]}, "
        f"{int(curve['examples'].iloc[0])} examples, {int(curve['seeds'].iloc[0])} seed(s); "
        f"clean score {baseline:.3f}"
        + ("" if pd.isna(chance) else f", chance {chance:.3f}")
        + ("" if able else UNTESTABLE)
    )
    top = _at(curve, math.ceil((1 - TOP_SHARE) * n_layers))
    rows = []
    arithmetic_skip = kind == "skip" and tables.kind == "arithmetic"
    if top is not None:
        drop, low, high = _relative_drop(top, baseline) if able else (None, None, None)
        small = None if drop is None else drop <= SMALL_DROP + ROUNDING
        rows.append(
            claim_row(
                PAPER,
                "Leaving out attention in the top layers harms arithmetic."
                if arithmetic_skip
                else f"Manipulating previous tokens ({name}) in the final 30 % of layers costs "
                "little or nothing.",
                tables.model,
                paper_value="the one task that fails (secondary source)"
                if arithmetic_skip
                else "small to negligible drop (abstract)",
                measured_value=drop,
                low=low,
                high=high,
                unit="relative drop",
                holds=None if small is None else (not small if arithmetic_skip else small),
                note=f"{about}; k = {int(top['layer'])} of {n_layers}; criterion: drop "
                f"{'>' if arithmetic_skip else '<='} {SMALL_DROP:.0%}; interval over examples, "
                "clean score held fixed",
            )
        )
    depth = _drop_free_claim(tables, name, str(curve["metric"].iloc[0]), able, about)
    if depth is not None and not arithmetic_skip:
        rows.append(depth)
    bottom = _at(curve, 0)
    if bottom is not None and not pd.isna(chance):
        rows.append(
            claim_row(
                PAPER,
                f"Manipulating previous tokens ({name}) in early layers brings the score down to "
                "chance.",
                tables.model,
                paper_value="chance level (abstract: can lead to)",
                measured_value=float(bottom["value"]) if able else None,
                low=float(bottom["low"]) if able else None,
                high=float(bottom["high"]) if able else None,
                unit="score",
                holds=bool(bottom["low"] <= chance) if able else None,
                note=f"{about}; k = {int(bottom['layer'])}; criterion: the interval reaches down "
                "to chance",
            )
        )
    return rows


def _drop_free_claim(
    tables: TaskSummary, name: str, metric: str, able: bool, about: str
) -> Row | None:
    """From which depth on a manipulation costs little; the number of layers stands for nowhere."""
    depths = tables.depths
    own = depths[
        (depths["manipulation"] == name)
        & (depths["subset"] == "all")
        & (depths["metric"] == metric)
        & (depths["quantity"] == f"drop_free_{SMALL_DROP * 100:g}")
        & depths["strength"].isna()
    ]
    if own.empty:
        return None
    row = own.iloc[0]
    n_layers = int(row["layers"])
    layer = n_layers if pd.isna(row["layer"]) else int(row["layer"])
    known = able and not pd.isna(row["low"])
    return claim_row(
        PAPER,
        f"Manipulating previous tokens ({name}) costs little or nothing from half to 70 % of the "
        "depth on.",
        tables.model,
        paper_value="the final 30 to 50 % of the layers (abstract)",
        measured_value=layer / n_layers if able else None,
        low=float(row["low"]) / n_layers if known else None,
        high=float(row["high"]) / n_layers if known else None,
        unit="share of layers",
        holds=layer <= (1 - TOP_SHARE) * n_layers if able else None,
        note=f"{about}; smallest k from which on the drop stays within {SMALL_DROP:.0%}: "
        + ("no layer" if layer == n_layers else f"{layer}")
        + f" of {n_layers}; criterion: k <= 70 % of the layers; bootstrap interval",
    )


def _switch_claims(
    tables: TaskSummary, curves: pd.DataFrame, name: str, n_layers: int
) -> list[Row]:
    modified = curves[curves["metric"] == "modified"]
    original = curves[curves["metric"] == "original"]
    if modified.empty:
        return []
    baseline = float(original["baseline"].iloc[0])
    able = _above_chance(original)
    about = (
        f"task {tables.task}, {int(modified['examples'].iloc[0])} examples, clean score "
        f"{baseline:.3f}" + ("" if able else UNTESTABLE)
    )
    rows = []
    top = modified[modified["layer"] >= math.ceil(2 * n_layers / 3)]
    if len(top):
        worst = top.sort_values("value").iloc[-1]
        rows.append(
            _share_claim(
                tables,
                "A switch in the top third of layers is ignored.",
                "0 of 194 from k = 22 of 32 on (Llama2-7B, Mistral-7B, Yi-6B)",
                worst,
                bool(worst["value"] <= 0.05) if able else None,
                f"{about}; largest share that follows the donor at any k >= 2/3 of {n_layers} "
                f"layers, at k = {int(worst['layer'])}; criterion: <= 0.05",
            )
        )
    early = _at(modified, n_layers // 3)
    if early is not None:
        rows.append(
            _share_claim(
                tables,
                "A switch before the top third is followed.",
                "167, 176 and 181 of 194 at k = 10 of 32 (Llama2-7B, Mistral-7B, Yi-6B)",
                early,
                bool(early["high"] >= (1 - SMALL_DROP) * baseline) if able else None,
                f"{about}; share that follows the donor at k = {int(early['layer'])} of "
                f"{n_layers}; criterion: the interval reaches 90 % of the clean score, which a "
                "switched word has",
            )
        )
    depths = tables.depths
    own = depths[
        (depths["manipulation"] == name)
        & (depths["subset"] == "all")
        & (depths["quantity"] == "crossover")
    ]
    if len(own) and not pd.isna(own["layer"].iloc[0]):
        row = own.iloc[0]
        depth = float(row["depth"])
        known = able and not pd.isna(row["low"])
        rows.append(
            claim_row(
                PAPER,
                "The answer flips from the donor's to the original between half and 70 % of the "
                "layers.",
                tables.model,
                paper_value="k = 18, 17, 22 of 32 (Llama2-7B, Mistral-7B, Yi-6B)",
                measured_value=depth if able else None,
                low=float(row["low"]) / n_layers if known else None,
                high=float(row["high"]) / n_layers if known else None,
                unit="share of layers",
                holds=PAPER_CROSSOVER[0] <= depth <= PAPER_CROSSOVER[1] if able else None,
                note=f"{about}; crossover at k = {int(row['layer'])} of {n_layers}; criterion: "
                "within the paper's models' range, 0.53 to 0.69; bootstrap interval",
            )
        )
    return rows


def _share_claim(
    tables: TaskSummary, claim: str, paper_value: str, row: Any, holds: bool | None, note: str
) -> Row:
    return claim_row(
        PAPER,
        claim,
        tables.model,
        paper_value=paper_value,
        measured_value=None if holds is None else float(row["value"]),
        low=None if holds is None else float(row["low"]),
        high=None if holds is None else float(row["high"]),
        unit="share",
        holds=holds,
        note=f"{note}; {row['interval']} interval",
    )


def _above_chance(curve: pd.DataFrame) -> bool:
    """Whether the clean model can do the task: without that no manipulation can harm it."""
    baseline, chance = float(curve["baseline"].iloc[0]), curve["chance"].iloc[0]
    return baseline > 0 and (pd.isna(chance) or baseline > float(chance))


def _relative_drop(row: Any, baseline: float) -> tuple[float, float, float]:
    value, high, low = ((baseline - float(row[end])) / baseline for end in ("value", "low", "high"))
    return value, low, high


def _at(curve: pd.DataFrame, layer: int) -> Any | None:
    """The row of the first swept layer at or above `layer`; None when there is none."""
    above = curve[curve["layer"] >= layer].sort_values("layer")
    return above.iloc[0] if len(above) else None
