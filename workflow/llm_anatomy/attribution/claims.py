"""The fourth paper's method put to the test of faithfulness: areas against areas, fact by fact."""

from typing import Any

import pandas as pd

from llm_anatomy.attribution.statements import INCREASE_AHEAD, RIVALS
from llm_anatomy.statistics.intervals import lies_above
from llm_anatomy.tables.attribution import DIFFERENCES
from llm_anatomy.tables.claims import Statement
from llm_anatomy.tables.collection import Collection

METHOD = "log_prob_increase"
KIND = "ffn_neuron"
UNASKED = "no relation's units are scored; see facts.units.relations"
EMPTY = (
    "too few facts have a counterfactual to rank units on some and judge them on others; see "
    "facts.units.unequal and the set_aside of the tables' provenance"
)


def unit_claims(tables: Collection, model: str) -> list[dict[str, Any]]:
    """Every claim on every relation whose units were scored; without any, on none."""
    relations = [owner["relation"] for owner in tables.owners(DIFFERENCES, model=model)]
    if not relations:
        return [claim.untested(model, why=UNASKED) for claim in INCREASE_AHEAD.values()]
    frames = {r: tables.frame(DIFFERENCES, model=model, relation=r) for r in relations}
    return [
        _ahead(claim, rival, model, relation, frame)
        for rival, claim in INCREASE_AHEAD.items()
        for relation, frame in frames.items()
    ]


def _ahead(
    claim: Statement, rival: str, model: str, relation: str, frame: pd.DataFrame
) -> dict[str, Any]:
    if frame.empty:
        return claim.untested(model, relation, why=EMPTY)
    own = frame[frame["kind"] == KIND]
    found = own[(own["method"] == METHOD) & (own["other"] == rival)]
    turned = own[(own["method"] == rival) & (own["other"] == METHOD)]
    if found.empty and turned.empty:
        why = (
            f"facts.units leaves out FFN neurons, {METHOD} or {rival} (keys 'kinds' and 'methods')"
        )
        return claim.untested(model, relation, why=why)
    # Rankings stand in the order of the configuration.
    row, sign = (turned.iloc[0], -1) if found.empty else (found.iloc[0], 1)
    ends = sorted(sign * float(row[end]) for end in ("low", "high"))
    value = sign * float(row["difference"])
    return claim.judged(
        model,
        relation,
        evidence=int(row["facts"]),
        measured_value=value,
        low=ends[0],
        high=ends[1],
        holds=lies_above(ends[0], ends[1], 0),
        note=f"CPR of log-probability increase less that of {RIVALS[rival]}, on facts that the "
        "rankings were not made on, and 95 % bootstrap interval over them; holds where it is all "
        "above 0.",
    )
