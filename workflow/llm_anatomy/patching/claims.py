"""The paper's claims, tested on a model's curves. Nothing is tuned to agree with the paper."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.patching import (
    Manipulation,
    PatchingSettings,
    Skip,
    StatesManipulation,
    Task,
)
from llm_anatomy.patching.judging import (
    SMALL_DROP,
    UNTESTABLE,
    Row,
    TaskSummary,
    above_chance,
    at_layer,
    by_depth,
    depth_interval,
    right_beyond_chance,
)
from llm_anatomy.patching.statements import (
    ARITHMETIC,
    EARLY_LAYERS,
    FROM_HALF_ON,
    OF_STATES,
    OF_SWITCHES,
)
from llm_anatomy.patching.summary import ROUNDING, SCORES
from llm_anatomy.patching.switch_claims import switch_claims
from llm_anatomy.statistics.intervals import lies_above, lies_within
from llm_anatomy.tables.claims import Statement
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.patching import CURVES, DEPTHS

TOP_SHARE = 0.30
STATES = ("noise", "shuffle", "freeze", "skip")


class PatchingScope(Settings):
    """Whose tables the study's claims and figures are made from, in the order shown."""

    models: list[str]
    patching: PatchingSettings


def patching_claims(tables: Collection, scope: PatchingScope) -> list[Row]:
    """Every claim on every model and task, by the paper's own manipulations.

    What a task's manipulations, layers or scores do not test says why.
    """
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
        rows += _left_out(summary, task, scope.patching, manipulations)
    kinds = {task.kind for task in scope.patching.tasks}
    for model in scope.models:
        if "arithmetic" not in kinds:
            rows.append(ARITHMETIC.untested(model, why="patching.tasks has no arithmetic task"))
        if "relation" not in kinds:
            why = "patching.tasks has no relation task, and only their prompts have a subject"
            rows += [claim.untested(model, why=why) for claim in OF_SWITCHES]
    return rows


def _left_out(
    tables: TaskSummary, task: Task, settings: PatchingSettings, used: Sequence[Manipulation]
) -> list[Row]:
    """The claims on kinds of manipulation that a task does not run as the paper does."""
    rows = []
    judged = {each.kind for each in used if as_in_the_paper(each)}
    for kind in (*STATES, "switch"):
        if kind in judged or (kind == "switch" and task.kind != "relation"):
            continue
        changed = [each.name for each in used if each.kind == kind]
        configured = [each.name for each in settings.manipulations if each.kind == kind]
        if changed:
            why = (
                f"the manipulation '{changed[0]}' is not the paper's, which takes all previous "
                "tokens and leaves attention out up to the top (keys positions, keep_first, width)"
            )
        elif configured:
            why = f"the task's key manipulations leaves '{configured[0]}' out"
        else:
            why = f"patching.manipulations has none of kind {kind}"
        rows += [
            claim.untested(tables.model, tables.task, why=why)
            for claim in _claims_on(kind, kind, tables.kind)
        ]
    return rows


def _claims_on(kind: str, name: str, task_kind: str) -> tuple[Statement, ...]:
    """The claims that a kind of manipulation tests on a kind of task."""
    if kind == "switch":
        return OF_SWITCHES
    claims = tuple(claim.about(name=name) for claim in OF_STATES)
    if kind == "skip" and task_kind == "arithmetic":
        return (ARITHMETIC, claims[-1])
    return claims


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
    for name, kind in kinds.items():
        own = curves[(curves["manipulation"] == name) & curves["strength"].isna()]
        if kind == "switch":
            rows += switch_claims(tables, own, name)
        elif kind in STATES:
            metric = next((m for m in SCORES if (own["metric"] == m).any()), None)
            scored = own[own["metric"] == metric]
            rows += _state_claims(tables, scored, name, kind)
    return rows


def _state_claims(tables: TaskSummary, curve: pd.DataFrame, name: str, kind: str) -> list[Row]:
    claims = _claims_on(kind, name, tables.kind)
    if curve.empty:
        why = f"nothing was swept with '{name}' that has a score"
        return [claim.untested(tables.model, tables.task, why=why) for claim in claims]
    able = above_chance(curve)
    chance = curve["chance"].iloc[0]
    about = (
        f"task {tables.task}, {curve['metric'].iloc[0]}, "
        f"{int(curve['examples'].iloc[0])} examples, {int(curve['seeds'].iloc[0])} seed(s); "
        f"clean score {float(curve['baseline'].iloc[0]):.3f}"
        + ("" if pd.isna(chance) else f", chance {chance:.3f}")
    )
    if not able:
        return [
            claim.untested(tables.model, tables.task, why=UNTESTABLE, note=f"{about}.")
            for claim in claims
        ]
    harmed = kind == "skip" and tables.kind == "arithmetic"
    rows = [_top_claim(tables, curve, claims[0], about, harmed)]
    if not harmed:
        rows.append(_drop_free_claim(tables, curve, name, about))
    return [*rows, _early_claim(tables, curve, name, about)]


def _top_claim(
    tables: TaskSummary, curve: pd.DataFrame, claim: Statement, about: str, harmed: bool
) -> Row:
    """What a manipulation costs in the final layers; in arithmetic, skipping shall cost much."""
    n_layers, baseline = int(curve["layers"].iloc[0]), float(curve["baseline"].iloc[0])
    top = at_layer(curve, math.ceil((1 - TOP_SHARE) * n_layers))
    if top is None:
        why = "patching.layers names none of the final 30 %"
        return claim.untested(tables.model, tables.task, why=why, note=f"{about}.")
    drop, low, high = _relative_drop(top, baseline)
    most = SMALL_DROP + ROUNDING
    return claim.judged(
        tables.model,
        tables.task,
        evidence=right_beyond_chance(curve),
        measured_value=drop,
        low=low,
        high=high,
        holds=lies_above(low, high, most) if harmed else lies_within(low, high, last=most),
        note=f"{about}; k = {int(top['layer'])} of {n_layers}; criterion: the whole interval of "
        f"the drop is {'>' if harmed else '<='} {SMALL_DROP:.0%}; interval over examples, clean "
        "score held fixed",
    )


def _early_claim(tables: TaskSummary, curve: pd.DataFrame, name: str, about: str) -> Row:
    """Whether a manipulation of the first swept layer leaves what chance gives."""
    claim = EARLY_LAYERS.about(name=name)
    chance, bottom = curve["chance"].iloc[0], at_layer(curve, 0)
    if bottom is None or pd.isna(chance):
        why = f"nobody knows what chance gives of {curve['metric'].iloc[0]}"
        return claim.untested(tables.model, tables.task, why=why, note=f"{about}.")
    if bottom["layer"] > bottom["layers"] / 3:
        why = "patching.layers names none of the first third"
        return claim.untested(tables.model, tables.task, why=why, note=f"{about}.")
    return claim.judged(
        tables.model,
        tables.task,
        evidence=right_beyond_chance(curve),
        measured_value=float(bottom["value"]),
        low=float(bottom["low"]),
        high=float(bottom["high"]),
        holds=bool(bottom["low"] <= chance),
        note=f"{about}; k = {int(bottom['layer'])}; criterion: the interval reaches down to chance",
    )


def _drop_free_claim(tables: TaskSummary, curve: pd.DataFrame, name: str, about: str) -> Row:
    """From which depth on a manipulation costs little; the number of layers stands for nowhere."""
    claim = FROM_HALF_ON.about(name=name)
    depths = tables.depths
    own = depths[
        (depths["manipulation"] == name)
        & (depths["subset"] == "all")
        & (depths["metric"] == curve["metric"].iloc[0])
        & (depths["quantity"] == f"drop_free_{SMALL_DROP * 100:g}")
        & depths["strength"].isna()
    ]
    if own.empty:
        why = f"patching.summary.drops does not name {SMALL_DROP:g}"
        return claim.untested(tables.model, tables.task, why=why, note=f"{about}.")
    row = own.iloc[0]
    n_layers = int(row["layers"])
    if curve["layer"].min() > (1 - TOP_SHARE) * n_layers:
        why = "patching.layers names none of the first 70 %"
        return claim.untested(tables.model, tables.task, why=why, note=f"{about}.")
    layer = n_layers if pd.isna(row["layer"]) else int(row["layer"])
    ends = depth_interval(row, n_layers)
    return claim.judged(
        tables.model,
        tables.task,
        evidence=right_beyond_chance(curve),
        measured_value=layer / n_layers,
        low=ends[0],
        high=ends[1],
        holds=by_depth(ends, layer / n_layers, 0.0, 1 - TOP_SHARE),
        note=f"{about}; smallest k from which on the drop stays within {SMALL_DROP:.0%}: "
        + ("no layer" if layer == n_layers else f"{layer}")
        + f" of {n_layers}; criterion: the whole interval is <= 70 % of the layers; bootstrap "
        "interval",
    )


def _relative_drop(row: Any, baseline: float) -> tuple[float, float, float]:
    value, high, low = ((baseline - float(row[end])) / baseline for end in ("value", "low", "high"))
    return value, low, high
