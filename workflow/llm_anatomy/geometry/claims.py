"""The paper's claims on intrinsic dimension and regions, tested on tables of one model.

Criteria stand in the notes; they were fixed before anything was measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray
from sklearn.metrics import roc_auc_score

from llm_anatomy.tables.claims import claim_row

PAPER = "Balestriero 2024"
RESAMPLES = 1000
LEVEL = 0.95
# Largest relative change that still counts as constant; the paper's points change by up to 15 %.
CONSTANT = 0.15
# Share of windows that counts as standing out.
TOP_SHARE = 0.05


@dataclass(frozen=True)
class ModelTables:
    """What the claims are read from.

    Attributes:
        model: Configured name of the model.
        dtype: Data type that the model ran in.
        hull_checks: The table of all datasets.
        region_checks: The table of all datasets.
        insert_starts: The table.
        prompts: The table.
        prompt_dimension: The table.
        prompt_outcomes: The table.
        prompt_correlations: The table.
    """

    model: str
    dtype: str
    hull_checks: pd.DataFrame
    region_checks: pd.DataFrame
    insert_starts: pd.DataFrame
    prompts: pd.DataFrame
    prompt_dimension: pd.DataFrame
    prompt_outcomes: pd.DataFrame
    prompt_correlations: pd.DataFrame


def geometry_claims(tables: ModelTables, seed: int) -> list[dict[str, Any]]:
    """Rows of the claims table for one model."""
    return [
        *_theory(tables),
        *_prompts(tables, np.random.default_rng(seed)),
        _inserts(tables),
    ]


def last_layer_dimension(tables: ModelTables, form: str = "raw") -> pd.DataFrame:
    """Prompts of one format with their dimension (relative) in the last layer."""
    dimension = tables.prompt_dimension.query("threshold == 'relative'")
    last = dimension[dimension["layer"] == dimension["layer"].max()]
    prompts = tables.prompts[tables.prompts["format"] == form]
    return prompts.merge(last[["prompt_id", "dimension"]], on="prompt_id")


def bootstrap_interval(
    values: Float[ndarray, "items *columns"],
    statistic: Callable[[Any], float],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Percentile interval of a statistic over resampled items; undefined resamples are left out."""
    drawn = [
        statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(RESAMPLES)
    ]
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(np.array(drawn), [tail, 1 - tail])
    return float(low), float(high)


def _theory(tables: ModelTables) -> list[dict[str, Any]]:
    hull, regions = tables.hull_checks, tables.region_checks
    excess = float((hull["rank"] - hull["count"]).max())
    tolerance = 1e-4 if tables.dtype == "float32" else 2e-2
    error = float(hull["hull_error"].max())
    exact = regions[regions["activation"] == "relu"]
    worst = float(exact[["reconstruction_error", "neighbour_error"]].to_numpy().max())
    smooth = regions.loc[regions["activation"] == "model", "reconstruction_error"]
    low, high = smooth.quantile([0.025, 0.975])
    points = f"{len(hull)} last tokens (texts x layers)"
    gated = "gated: the region's map is a product of two affine maps"
    plain = "not gated: the region's map is affine"
    return [
        claim_row(
            PAPER,
            "The dimension of the attention output is at most the number of attended tokens, "
            "summed over heads (Theorem 3.2).",
            tables.model,
            paper_value="rank <= sum of counts (theorem)",
            measured_value=excess,
            unit="dimensions",
            holds=excess <= 0,
            note=f"Largest numerical rank minus count over {points}; holds at 0 or below.",
        ),
        claim_row(
            PAPER,
            "The attention output is a sum of convex combinations of value vectors, one per head "
            "(Lemma 3.1, Theorem 3.2).",
            tables.model,
            paper_value="exact (theorem)",
            measured_value=error,
            unit="relative error",
            holds=error <= tolerance,
            note=f"Largest error of the rebuilt output over {points}; holds up to {tolerance:g}, "
            f"the rounding of {tables.dtype}.",
        ),
        claim_row(
            PAPER,
            "A ReLU MLP is one fixed map on the whole region of its input.",
            tables.model,
            paper_value="exact (spline theory)",
            measured_value=worst,
            unit="relative error",
            holds=worst <= tolerance,
            note="Largest error of the model's own MLPs, run with ReLU, at last tokens and halfway "
            f"to the nearest boundary; {gated if bool(regions['gated'].iloc[0]) else plain}; holds "
            f"up to {tolerance:g}, the rounding of {tables.dtype}.",
        ),
        claim_row(
            PAPER,
            "Smooth activations (SiLU, GELU) are soft versions of the same regions.",
            tables.model,
            paper_value="no number given",
            measured_value=float(smooth.median()),
            low=float(low),
            high=float(high),
            unit="relative error",
            note="Median over texts and layers of the error when units are switched off or passed "
            "on as with ReLU; interval: middle 95 % of them. The paper has no bound: no verdict.",
        ),
    ]


def _prompts(tables: ModelTables, rng: np.random.Generator) -> list[dict[str, Any]]:
    raw = last_layer_dimension(tables)
    if raw.empty:
        return []
    rows = [_related_raises(tables, raw, rng), _unrelated_constant(tables, raw)]
    correlations = tables.prompt_correlations.query(
        "format == 'raw' and threshold == 'relative' and variable == 'context_length'"
    ).set_index("layer")["pearson"]
    first, last = (_number(correlations.iloc[i]) for i in (0, -1))
    rows.append(
        claim_row(
            PAPER,
            "Intrinsic dimension of the first layer follows the context length.",
            tables.model,
            paper_value="Pearson r = 0.978 (Llama-2-7B-chat, computed from its released CSVs)",
            measured_value=first,
            holds=None if first is None else first >= 0.9,
            note=f"Pearson r over {len(raw)} raw prompts; holds from 0.9.",
        )
    )
    rows.append(
        claim_row(
            PAPER,
            "Intrinsic dimension of the last layer says more than the context length.",
            tables.model,
            paper_value="Pearson r = 0.26 (Llama-2-7B-chat, computed from its released CSVs)",
            measured_value=last,
            holds=None if last is None or first is None else abs(last) < abs(first),
            note=f"Pearson r of last-layer dimension with context length over {len(raw)} raw "
            "prompts; holds where it is weaker than in the first layer.",
        )
    )
    harmful = tables.prompt_outcomes.query("outcome == 'harmful'")
    if len(harmful):
        rows.append(_harmful_answers(tables, raw.merge(harmful, on="prompt_id"), rng))
    return rows


def _related_raises(
    tables: ModelTables, raw: pd.DataFrame, rng: np.random.Generator
) -> dict[str, Any]:
    paired = raw.pivot_table(index=["category", "step"], columns="condition", values="dimension")
    claim = "Related sentences raise the last layer's intrinsic dimension more than unrelated ones."
    if not {"related", "unrelated"} <= set(paired.columns):
        return _untested(tables, claim, "related 123-152, unrelated 75-95 (Fig. 4)")
    differences = (paired["related"] - paired["unrelated"]).dropna().to_numpy(float)
    if not len(differences):
        return _untested(tables, claim, "related 123-152, unrelated 75-95 (Fig. 4)")
    low, high = bootstrap_interval(differences, lambda sample: float(sample.mean()), rng)
    return claim_row(
        PAPER,
        claim,
        tables.model,
        paper_value="related 123-152, unrelated 75-95 (Fig. 4)",
        measured_value=float(differences.mean()),
        low=low,
        high=high,
        unit="dimensions",
        holds=low > 0,
        note=f"Mean difference related - unrelated over {len(differences)} pairs of equal category "
        "and number of sentences, raw prompts; bootstrap interval over pairs; holds where it lies "
        "above 0. The shipped requests are mild, the paper's are not.",
    )


def _unrelated_constant(tables: ModelTables, raw: pd.DataFrame) -> dict[str, Any]:
    claim = "Unrelated sentences leave the last layer's intrinsic dimension as it is."
    bare = raw[raw["condition"] == "none"].set_index("category")["dimension"]
    unrelated = raw[raw["condition"] == "unrelated"]
    if bare.empty or unrelated.empty:
        return _untested(tables, claim, "within 15 % of the bare prompt (Fig. 4)")
    base = unrelated["category"].map(bare).to_numpy(float)
    change = float((np.abs(unrelated["dimension"].to_numpy(float) - base) / base).mean())
    return claim_row(
        PAPER,
        claim,
        tables.model,
        paper_value="within 15 % of the bare prompt (Fig. 4)",
        measured_value=change,
        unit="relative change",
        holds=change <= CONSTANT,
        note=f"Mean |change| against the bare request over {len(unrelated)} raw prompts; holds up "
        f"to {CONSTANT:g}.",
    )


def _harmful_answers(
    tables: ModelTables, raw: pd.DataFrame, rng: np.random.Generator
) -> dict[str, Any]:
    claim = "A higher intrinsic dimension of the last layer goes with harmful answers."
    paper_value = "ROC-AUC 0.83 pooled over 50 prompts, judged by hand (from its released CSVs)"
    positive = raw["positive"].to_numpy(bool)
    note = (
        f"{int(positive.sum())} of {len(raw)} raw prompts have an answer that the trained "
        "classifier calls harmful"
    )
    if positive.all() or not positive.any():
        return _untested(tables, claim, paper_value, f"{note}, so there is nothing to compare.")
    pairs = np.column_stack([raw["dimension"].to_numpy(float), positive])
    low, high = bootstrap_interval(pairs, lambda sample: auc(sample[:, 0], sample[:, 1] > 0), rng)
    return claim_row(
        PAPER,
        claim,
        tables.model,
        paper_value=paper_value,
        measured_value=auc(pairs[:, 0], positive),
        low=low,
        high=high,
        unit="ROC-AUC",
        holds=low > 0.5,
        note=f"{note}; bootstrap interval over prompts; holds where it lies above 0.5.",
    )


def auc(scores: Float[ndarray, " items"], labels: Bool[ndarray, " items"]) -> float:
    """ROC-AUC; not a number where one class is missing."""
    if labels.all() or not labels.any():
        return float("nan")
    return float(roc_auc_score(labels, scores))


def _inserts(tables: ModelTables) -> dict[str, Any]:
    starts = tables.insert_starts[tables.insert_starts["feature"] == 1]
    found = starts["rank"] <= np.ceil(TOP_SHARE * starts["windows"])
    return claim_row(
        PAPER,
        "The features of growing prefixes show where a toxic passage begins.",
        tables.model,
        paper_value="shown as heat maps, no number given",
        measured_value=float(found.mean()),
        unit="share of documents",
        holds=bool(found.mean() >= 0.5),
        note=f"Share of {len(starts)} documents in which feature 1 changes more at the passage's "
        f"beginning than in {1 - TOP_SHARE:.0%} of all windows; holds from one half. The shipped "
        "passages are mild insults.",
    )


def _untested(
    tables: ModelTables, claim: str, paper_value: str, note: str = "Its prompts were not asked for."
) -> dict[str, Any]:
    return claim_row(PAPER, claim, tables.model, paper_value=paper_value, note=note)


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
