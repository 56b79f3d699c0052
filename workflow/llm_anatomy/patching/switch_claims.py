"""The paper's claims on a switched subject: whose answer comes out, layer by layer."""

import math
from typing import Any

import pandas as pd

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
from llm_anatomy.patching.statements import FLIPS, FOLLOWED, IGNORED, OF_SWITCHES
from llm_anatomy.statistics.intervals import lies_within

# Lowest and highest relative depth at which the paper's models cross over (17/32 and 22/32).
PAPER_CROSSOVER = (17 / 32, 22 / 32)


def switch_claims(tables: TaskSummary, curves: pd.DataFrame, name: str) -> list[Row]:
    """Rows of the claims on switches for one model, task and manipulation."""
    modified = curves[curves["metric"] == "modified"]
    original = curves[curves["metric"] == "original"]
    if modified.empty or original.empty:
        why = f"nothing was switched with '{name}': no pair of subjects could be used"
        return [claim.untested(tables.model, tables.task, why=why) for claim in OF_SWITCHES]
    baseline = float(original["baseline"].iloc[0])
    about = (
        f"task {tables.task}, {int(modified['examples'].iloc[0])} examples, clean score "
        f"{baseline:.3f}"
    )
    if not above_chance(original):
        return [
            claim.untested(tables.model, tables.task, why=UNTESTABLE, note=f"{about}.")
            for claim in OF_SWITCHES
        ]
    right = right_beyond_chance(original)
    turned = min(right, round(float((modified["value"] * modified["examples"]).max())))
    return [
        _ignored_claim(tables, modified, about, turned),
        _followed_claim(tables, modified, about, right, baseline),
        _flip_claim(tables, name, about, turned),
    ]


def _ignored_claim(tables: TaskSummary, modified: pd.DataFrame, about: str, turned: int) -> Row:
    n_layers = int(modified["layers"].iloc[0])
    top = modified[modified["layer"] >= math.ceil(2 * n_layers / 3)]
    if top.empty:
        why = "patching.layers names none of the top third"
        return IGNORED.untested(tables.model, tables.task, why=why, note=f"{about}.")
    worst = top.sort_values("value").iloc[-1]
    return IGNORED.judged(
        tables.model,
        tables.task,
        evidence=turned,
        **_share(worst),
        holds=lies_within(float(worst["low"]), float(worst["high"]), last=0.05),
        note=f"{about}; largest share that follows the donor at any k >= 2/3 of {n_layers} layers, "
        f"at k = {int(worst['layer'])}; criterion: the whole interval is <= 0.05; "
        f"{worst['interval']} interval",
    )


def _followed_claim(
    tables: TaskSummary, modified: pd.DataFrame, about: str, right: int, baseline: float
) -> Row:
    n_layers = int(modified["layers"].iloc[0])
    early = at_layer(modified, n_layers // 3)
    if early is None or early["layer"] >= math.ceil(2 * n_layers / 3):
        why = "patching.layers names none of the middle third"
        return FOLLOWED.untested(tables.model, tables.task, why=why, note=f"{about}.")
    return FOLLOWED.judged(
        tables.model,
        tables.task,
        evidence=right,
        **_share(early),
        holds=bool(early["high"] >= (1 - SMALL_DROP) * baseline),
        note=f"{about}; share that follows the donor at k = {int(early['layer'])} of {n_layers}; "
        "criterion: the interval reaches 90 % of the clean score, which a switched word has; "
        f"{early['interval']} interval",
    )


def _flip_claim(tables: TaskSummary, name: str, about: str, turned: int) -> Row:
    depths = tables.depths
    own = depths[
        (depths["manipulation"] == name)
        & (depths["subset"] == "all")
        & (depths["quantity"] == "crossover")
    ]
    if own.empty or pd.isna(own["layer"].iloc[0]):
        why = (
            "the original answer is at no swept k, and from it on, more frequent than the donor's, "
            "so there is no crossover"
        )
        return FLIPS.untested(tables.model, tables.task, why=why, note=f"{about}.")
    row = own.iloc[0]
    n_layers, depth = int(row["layers"]), float(row["depth"])
    ends = depth_interval(row, n_layers)
    return FLIPS.judged(
        tables.model,
        tables.task,
        evidence=turned,
        measured_value=depth,
        low=ends[0],
        high=ends[1],
        holds=by_depth(ends, depth, *PAPER_CROSSOVER),
        note=f"{about}; crossover at k = {int(row['layer'])} of {n_layers}; criterion: the whole "
        "interval is within the paper's models' range, 0.53 to 0.69; bootstrap interval",
    )


def _share(row: Any) -> dict[str, float]:
    ends = {end: float(row[end]) for end in ("low", "high")}
    return ends | {"measured_value": float(row["value"])}
