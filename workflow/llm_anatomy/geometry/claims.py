"""The paper's claims on intrinsic dimension and regions, tested on tables of one model.

Criteria stand in the notes; they were fixed before anything was measured.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray
from sklearn.metrics import roc_auc_score

from llm_anatomy.config.base import Settings
from llm_anatomy.geometry.statements import (
    BOUND,
    FIRST_FOLLOWS_LENGTH,
    HARMFUL_ANSWERS,
    HULL,
    LAST_SAYS_MORE,
    OF_PROMPTS,
    PASSAGE_SHOWS,
    RELATED_RAISES,
    RELU_REGION,
    SOFT_REGION,
    UNRELATED_CONSTANT,
)
from llm_anatomy.statistics.intervals import bootstrap_interval, lies_above
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.statistics.rounding import accepted_by, precision_name
from llm_anatomy.tables.collection import Collection, Wanted
from llm_anatomy.tables.geometry import (
    HULL_CHECKS,
    INSERT_STARTS,
    PROMPT_CORRELATIONS,
    PROMPT_DIMENSION,
    PROMPT_OUTCOMES,
    PROMPTS,
    REGION_CHECKS,
)

RESAMPLES = 1000
# Largest relative change that still counts as constant; the paper's points change by up to 15 %.
CONSTANT = 0.15
# Share of windows that counts as standing out.
TOP_SHARE = 0.05
NOT_ASKED = "Its prompts were not asked for. See geometry.prompts.conditions and .categories"

Row: TypeAlias = dict[str, Any]


class GeometryScope(Settings):
    """Whose tables the study's claims and figures are made from, in the order shown."""

    seed: int
    models: list[str]
    datasets: list[str]


def geometry_claims(tables: Collection, scope: GeometryScope) -> list[Row]:
    """Every claim on every model."""
    rows = []
    for model in scope.models:
        own: dict[str, Wanted] = {"model": model, "dataset": scope.datasets}
        rows += theory_claims(
            model,
            tables.provenance(PROMPTS, model=model),
            tables.joined(HULL_CHECKS, **own),
            tables.joined(REGION_CHECKS, **own),
        )
        rows += prompt_claims(
            model,
            tables.frame(PROMPTS, model=model),
            tables.frame(PROMPT_DIMENSION, model=model),
            tables.frame(PROMPT_OUTCOMES, model=model),
            tables.frame(PROMPT_CORRELATIONS, model=model),
            scope.seed,
        )
        rows.append(insert_claim(model, tables.frame(INSERT_STARTS, model=model)))
    return rows


def theory_claims(
    model: str, provenance: Mapping[str, Any], hull: pd.DataFrame, regions: pd.DataFrame
) -> list[Row]:
    """Theorem 3.2 and the maps of regions.

    Args:
        model: The model's name.
        provenance: Of a table of the model: what it ran in.
        hull: `geometry/hull_checks` of all datasets.
        regions: `geometry/region_checks` of all datasets.
    """
    excess = float((hull["rank"] - hull["count"]).max())
    tolerance, ran_in = accepted_by("rebuilt", provenance), precision_name(provenance)
    error = float(hull["hull_error"].max())
    exact = regions[regions["activation"] == "relu"]
    worst = float(exact[["reconstruction_error", "neighbour_error"]].to_numpy().max())
    smooth = regions.loc[regions["activation"] == "model", "reconstruction_error"]
    low, high = smooth.quantile([0.025, 0.975])
    points = f"{len(hull)} last tokens (texts x layers)"
    gated = "gated: the region's map is a product of two affine maps"
    plain = "not gated: the region's map is affine"
    return [
        BOUND.judged(
            model,
            evidence=len(hull),
            measured_value=excess,
            holds=excess <= 0,
            note=f"Largest numerical rank minus count over {points}; holds at 0 or below.",
        ),
        HULL.judged(
            model,
            evidence=len(hull),
            measured_value=error,
            holds=error <= tolerance,
            note=f"Largest error of the rebuilt output over {points}; holds up to {tolerance:g}, "
            f"the rounding of {ran_in}.",
        ),
        RELU_REGION.judged(
            model,
            evidence=len(exact),
            measured_value=worst,
            holds=worst <= tolerance,
            note="Largest error of the model's own MLPs, run with ReLU, at last tokens and halfway "
            f"to the nearest boundary; {gated if bool(regions['gated'].iloc[0]) else plain}; holds "
            f"up to {tolerance:g}, the rounding of {ran_in}.",
        ),
        SOFT_REGION.untested(
            model,
            why="the paper gives no bound",
            evidence=len(smooth),
            measured_value=float(smooth.median()),
            low=float(low),
            high=float(high),
            note="Median over texts and layers of the error when units are switched off or passed "
            "on as with ReLU; interval: middle 95 % of them. The paper has no bound: no verdict.",
        ),
    ]


def prompt_claims(
    model: str,
    prompts: pd.DataFrame,
    dimension: pd.DataFrame,
    outcomes: pd.DataFrame,
    correlations: pd.DataFrame,
    seed: int,
) -> list[Row]:
    """What the last layer's intrinsic dimension says of a prompt.

    Args:
        model: The model's name.
        prompts: `geometry/prompts`.
        dimension: `geometry/prompt_dimension`.
        outcomes: `geometry/prompt_outcomes`; empty where answers are not judged.
        correlations: `geometry/prompt_correlations`.
        seed: Seed of the intervals' draws.
    """
    raw = last_layer_dimension(prompts, dimension)
    if raw.empty:
        why = "no prompt was asked as raw text; the key geometry.prompts.formats leaves `raw` out"
        if prompts.empty:
            why = "no prompt was asked; see geometry.prompts"
        return [statement.untested(model, why=why) for statement in OF_PROMPTS]
    by_length = correlations.query(
        "format == 'raw' and threshold == 'relative' and variable == 'context_length'"
    ).set_index("layer")["pearson"]
    first, last = (_number(by_length.iloc[i]) for i in (0, -1))
    harmful = outcomes.query("outcome == 'harmful'")
    return [
        _related_raises(model, raw, seed),
        _unrelated_constant(model, raw),
        _first_follows(model, len(raw), first),
        _last_says_more(model, len(raw), first, last),
        _harmful_answers(model, raw.merge(harmful, on="prompt_id"), seed),
    ]


def _first_follows(model: str, prompts: int, first: float | None) -> Row:
    note = f"Pearson r over {prompts} raw prompts; holds from 0.9."
    if first is None:
        why = "the dimension of the first layer or the context length is constant"
        return FIRST_FOLLOWS_LENGTH.untested(model, why=why, evidence=prompts, note=note)
    return FIRST_FOLLOWS_LENGTH.judged(
        model, evidence=prompts, measured_value=first, holds=first >= 0.9, note=note
    )


def _last_says_more(model: str, prompts: int, first: float | None, last: float | None) -> Row:
    note = (
        f"Pearson r of last-layer dimension with context length over {prompts} raw "
        "prompts; holds where it is weaker than in the first layer."
    )
    if first is None or last is None:
        constant = "first" if first is None else "last"
        why = f"the dimension of the {constant} layer or the context length is constant"
        return LAST_SAYS_MORE.untested(
            model, why=why, evidence=prompts, measured_value=last, note=note
        )
    return LAST_SAYS_MORE.judged(
        model, evidence=prompts, measured_value=last, holds=abs(last) < abs(first), note=note
    )


def last_layer_dimension(
    prompts: pd.DataFrame, dimension: pd.DataFrame, form: str = "raw"
) -> pd.DataFrame:
    """Prompts of one format with their dimension (relative) in the last layer."""
    relative = dimension.query("threshold == 'relative'")
    last = relative[relative["layer"] == relative["layer"].max()]
    chosen = prompts[prompts["format"] == form]
    return chosen.merge(last[["prompt_id", "dimension"]], on="prompt_id")


def _related_raises(model: str, raw: pd.DataFrame, seed: int) -> Row:
    paired = raw.pivot_table(index=["category", "step"], columns="condition", values="dimension")
    differences = np.array([])
    if {"related", "unrelated"} <= set(paired.columns):
        differences = (paired["related"] - paired["unrelated"]).dropna().to_numpy(float)
    if not len(differences):
        return RELATED_RAISES.untested(
            model,
            why="no two prompts of one category and length have related and unrelated "
            f"sentences. {NOT_ASKED}",
        )
    rng = keyed_generator(seed, Purpose.GEOMETRY_CLAIMS, "related")
    low, high = bootstrap_interval(
        [(differences,)], lambda groups: float(groups[0][0].mean()), rng, RESAMPLES
    )
    return RELATED_RAISES.judged(
        model,
        evidence=len(differences),
        measured_value=float(differences.mean()),
        low=low,
        high=high,
        holds=lies_above(low, high, 0),
        note=f"Mean difference related - unrelated over {len(differences)} pairs of equal category "
        "and number of sentences, raw prompts; bootstrap interval over pairs; holds where it lies "
        "above 0. The shipped requests are mild, the paper's are not.",
    )


def _unrelated_constant(model: str, raw: pd.DataFrame) -> Row:
    bare = raw[raw["condition"] == "none"].set_index("category")["dimension"]
    unrelated = raw[raw["condition"] == "unrelated"]
    if bare.empty or unrelated.empty:
        return UNRELATED_CONSTANT.untested(
            model, why=f"the bare request or one with unrelated sentences is missing. {NOT_ASKED}"
        )
    base = unrelated["category"].map(bare).to_numpy(float)
    change = float((np.abs(unrelated["dimension"].to_numpy(float) - base) / base).mean())
    return UNRELATED_CONSTANT.judged(
        model,
        evidence=len(unrelated),
        measured_value=change,
        holds=change <= CONSTANT,
        note=f"Mean |change| against the bare request over {len(unrelated)} raw prompts; holds up "
        f"to {CONSTANT:g}.",
    )


def _harmful_answers(model: str, raw: pd.DataFrame, seed: int) -> Row:
    if raw.empty:
        return HARMFUL_ANSWERS.untested(
            model,
            why="no classifier judged whether answers are `harmful`; see geometry.prompts.scorers",
        )
    positive = raw["positive"].to_numpy(bool)
    rarer = int(min(positive.sum(), (~positive).sum()))
    note = (
        f"{int(positive.sum())} of {len(raw)} raw prompts have an answer that the trained "
        "classifier calls harmful"
    )
    if not rarer:
        return HARMFUL_ANSWERS.untested(model, why=f"{note}, so there is nothing to compare")
    scores = raw["dimension"].to_numpy(float)
    rng = keyed_generator(seed, Purpose.GEOMETRY_CLAIMS, "harmful")
    low, high = bootstrap_interval(
        [(scores, positive)], lambda groups: auc(*groups[0]), rng, RESAMPLES
    )
    return HARMFUL_ANSWERS.judged(
        model,
        evidence=rarer,
        measured_value=auc(scores, positive),
        low=low,
        high=high,
        holds=lies_above(low, high, 0.5),
        note=f"{note}; bootstrap interval over prompts; holds where it lies above 0.5.",
    )


def auc(scores: Float[ndarray, " items"], labels: Bool[ndarray, " items"]) -> float:
    """ROC-AUC; not a number where one class is missing."""
    if labels.all() or not labels.any():
        return float("nan")
    return float(roc_auc_score(labels, scores))


def insert_claim(model: str, insert_starts: pd.DataFrame) -> Row:
    """Whether prefixes show where an inserted passage begins (`geometry/insert_starts`)."""
    starts = insert_starts[insert_starts["feature"] == 1]
    if starts.empty:
        return PASSAGE_SHOWS.untested(model, why="there is no document; see geometry.inserts")
    stands_out = starts["rank"] <= np.ceil(TOP_SHARE * starts["windows"])
    return PASSAGE_SHOWS.judged(
        model,
        evidence=len(starts),
        measured_value=float(stands_out.mean()),
        holds=bool(stands_out.mean() >= 0.5),
        note=f"Share of {len(starts)} documents in which feature 1 changes more at the passage's "
        f"beginning than in {1 - TOP_SHARE:.0%} of all windows; holds from one half. The shipped "
        "passages are mild insults.",
    )


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
