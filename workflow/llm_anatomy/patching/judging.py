"""What the verdicts on curves share: a task's tables, and how its rows are read."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

from llm_anatomy.patching.summary import ROUNDING
from llm_anatomy.statistics.intervals import lies_within

# Tolerated relative drop where the paper says "small to negligible".
SMALL_DROP = 0.10
UNTESTABLE = "the clean model is not above chance, so this cannot be tested"

Row: TypeAlias = dict[str, Any]


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


def above_chance(curve: pd.DataFrame) -> bool:
    """Whether the clean model can do the task: without that no manipulation can harm it."""
    baseline, chance = float(curve["baseline"].iloc[0]), curve["chance"].iloc[0]
    return baseline > 0 and (pd.isna(chance) or baseline > float(chance))


def right_beyond_chance(curve: pd.DataFrame) -> int:
    """Clean examples that are right beyond chance; of other scores than `correct`, their sum."""
    row = curve.iloc[0]
    chance = 0.0 if pd.isna(row["chance"]) else float(row["chance"])
    return round(float(row["examples"]) * (float(row["baseline"]) - chance))


def at_layer(curve: pd.DataFrame, layer: int) -> Any | None:
    """The row of the first swept layer at or above `layer`; None when there is none."""
    above = curve[curve["layer"] >= layer].sort_values("layer")
    return above.iloc[0] if len(above) else None


def depth_interval(row: Any, n_layers: int) -> tuple[float, float] | tuple[None, None]:
    """The interval of a layer as relative depths, where there is one."""
    if pd.isna(row["low"]):
        return None, None
    return float(row["low"]) / n_layers, float(row["high"]) / n_layers


def by_depth(
    ends: tuple[float, float] | tuple[None, None], depth: float, first: float, last: float
) -> bool | None:
    """Whether a depth lies in a range by its interval; by itself where it has none.

    Layers are whole numbers: their shares of the depth are compared to within rounding.
    """
    low, high = (depth, depth) if ends[0] is None else ends
    return lies_within(low, high, first - ROUNDING, last + ROUNDING)
