"""What the paper says, tested on the tables of a run (papers/facts, section 2).

Intervals are percentile bootstrap intervals over facts, drawn anew within each relation.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.facts import statements
from llm_anatomy.facts.knock_out_claims import (
    INTERVAL,
    TEN,
    ClaimRow,
    knock_out_claims,
    measured_over_facts,
)
from llm_anatomy.statistics.intervals import Groups, lies_above
from llm_anatomy.statistics.rounding import accepted_by, precision_name
from llm_anatomy.tables.collection import Collection, Wanted
from llm_anatomy.tables.facts import (
    CURVE,
    FACTS,
    KNOCK_OUT,
    LAYER_SUMMARY,
    METHOD_LAYERS,
    NEURON_IMPORTANCE,
    QUERY_NEURONS,
    SHARED_NEURONS,
)

DEEP = 0.5
# Depth at which the paper's query-only neurons begin to fall off (Fig. 8).
FALL = 0.6
NO_FACT = "no fact passes the filter; see facts.filter and facts.relations"
NO_QUERY = "no query neuron that is no value neuron was found; see facts.queries"


class FactsScope(Settings):
    """Whose tables the study's claims and figures are made from, in the order shown."""

    seed: int
    models: list[str]
    relations: list[str]


def facts_claims(tables: Collection, scope: FactsScope) -> list[ClaimRow]:
    """Every claim on every model; one that lacks its data has no verdict and says what it lacks."""
    rows = []
    for model in scope.models:
        own: dict[str, Wanted] = {"model": model, "relation": scope.relations}
        facts, curve = tables.joined(FACTS, **own), tables.joined(CURVE, **own)
        layers = tables.frame(LAYER_SUMMARY, model=model)
        answers = tables.frame(KNOCK_OUT, model=model)
        queries = tables.frame(QUERY_NEURONS, model=model)
        methods = tables.frame(METHOD_LAYERS, model=model)
        # Which neurons are kept does not matter here, only how many of every fact.
        values = tables.joined(NEURON_IMPORTANCE, ["example_id"], **own)
        neurons = {"value": values, "query": queries}
        rows += [
            _telescoping(model, facts, tables.provenance(KNOCK_OUT, model=model)),
            *_attention_or_ffn(model, facts, scope.seed),
            _curve(model, curve, len(facts)),
            _probability_credits_last_layers(model, methods, len(facts)),
            *knock_out_claims(model, answers, scope.seed),
            _deep_layers(model, layers, len(facts)),
            _query_only(model, queries),
            _query_depth(model, queries, layers),
            _shared(model, facts, neurons, tables.frame(SHARED_NEURONS, model=model)),
        ]
    return rows


def _telescoping(model: str, facts: pd.DataFrame, provenance: Mapping[str, Any]) -> ClaimRow:
    limit = accepted_by("telescoping", provenance)
    if facts.empty:
        return statements.SUMS.untested(model, why=NO_FACT)
    worst = float(facts["telescoping_error"].max())
    return statements.SUMS.judged(
        model,
        evidence=len(facts),
        measured_value=worst,
        holds=worst <= limit,
        note=f"Largest difference over {len(facts)} facts, the model's own log-probability as the "
        f"end; holds up to {limit:g}, the rounding of {precision_name(provenance)}.",
    )


def _attention_or_ffn(model: str, facts: pd.DataFrame, seed: int) -> list[ClaimRow]:
    rows = []
    for relation, claim in statements.ATTENTION_OR_FFN.items():
        own = facts[facts["relation"] == relation]
        if own.empty:
            why = f"no fact of '{relation}' passes the filter, or facts.relations leaves it out"
            rows.append(claim.untested(model, relation, why=why))
            continue
        samples = [((own["attention"] - own["ffn"]).to_numpy(float),)]
        measured = measured_over_facts(samples, _mean, seed, "attention less FFN", relation)
        low, high = measured["low"], measured["high"]
        ffn_ahead = relation in statements.FFN_AHEAD
        rows.append(
            claim.judged(
                model,
                relation,
                evidence=len(own),
                **measured,
                holds=lies_above(-high, -low, 0) if ffn_ahead else lies_above(low, high, 0),
                note=f"Summed importance of attention less that of FFN, mean over {len(own)} "
                f"facts; {INTERVAL}; holds where all of it is {'below' if ffn_ahead else 'above'} "
                "0.",
            )
        )
    return rows


def _mean(samples: Groups) -> float:
    return float(samples[0][0].mean())


def _curve(model: str, curve: pd.DataFrame, facts: int) -> ClaimRow:
    claim = statements.LATE_PROBABILITY
    if curve.empty:
        return claim.untested(model, why=NO_FACT)
    mean = curve.groupby("share")[["logprob", "probability"]].mean()
    rises = mean.iloc[-1] - mean.iloc[0]
    if not (rises > 0).all():
        why = "the mean probability of the answers does not rise, so nothing is early or late"
        return claim.untested(model, why=why, evidence=facts)
    early = mean.index[mean.index <= 0.4 + 1e-9][-1]
    shares = {
        name: float((mean[name][early] - mean[name].iloc[0]) / rises[name] * 100)
        for name in ("logprob", "probability")
    }
    return claim.judged(
        model,
        evidence=facts,
        measured_value=shares["probability"],
        holds=shares["probability"] < 20 < shares["logprob"],
        note="Share of the probability's whole rise that is reached at 40 % of the way, mean over "
        f"relations; of the log-probability's, {shares['logprob']:.0f} %; holds when the first is "
        "below 20 % and the second above.",
    )


def _probability_credits_last_layers(model: str, methods: pd.DataFrame, facts: int) -> ClaimRow:
    claim = statements.LATER_NEURONS
    centres = {
        str(method): float(np.average(part["layer"], weights=part["share"]))
        for method, part in methods.groupby("method")
    }
    both = ("prob_increase", "log_prob_increase")
    if missing := [name for name in both if name not in centres]:
        why = f"facts.knock_out.methods does not name {missing[0]}"
        return claim.untested(model, why=why)
    late, early = (centres[name] for name in both)
    return claim.judged(
        model,
        evidence=facts,
        measured_value=late - early,
        holds=late - early > 0,
        note="Difference of the mean layers of the best neurons, over all relations; holds above "
        f"0; means {late:.1f} and {early:.1f}.",
    )


def _deep_layers(model: str, layers: pd.DataFrame, facts: int) -> ClaimRow:
    claim = statements.DEEP_LAYERS
    whole = layers[layers["unit"].isin(["attention", "ffn"])]
    if whole.empty:
        return claim.untested(model, why=NO_FACT)
    n_layers = int(whole["layer"].max()) + 1
    if n_layers < TEN:
        why = f"of {n_layers} layers, ten of attention and FFN do not fit into the deeper half"
        return claim.untested(model, why=why, evidence=facts)
    top = (
        whole.sort_values("importance", ascending=False, kind="stable")
        .groupby("relation")
        .head(TEN)
    )
    share = float((top["layer"] >= DEEP * n_layers).mean()) * 100
    return claim.judged(
        model,
        evidence=facts,
        measured_value=share,
        holds=share > 90,
        note="Share of the ten layers of every relation; holds above 90 %.",
    )


def _query_only(model: str, queries: pd.DataFrame) -> ClaimRow:
    if queries.empty:
        return statements.QUERY_ONLY.untested(model, why=NO_QUERY)
    share = float((~queries["also_value"]).mean()) * 100
    return statements.QUERY_ONLY.judged(
        model,
        evidence=_n_facts(queries),
        measured_value=share,
        holds=share > 50,
        note="Query neurons that are not among the fact's stored value neurons; holds above 50 %.",
    )


def _query_depth(model: str, queries: pd.DataFrame, layers: pd.DataFrame) -> ClaimRow:
    only = queries[~queries["also_value"].astype(bool)]
    if only.empty:
        return statements.SHALLOW_QUERIES.untested(model, why=NO_QUERY)
    depth = FALL * (int(layers["layer"].max()) + 1)
    share = float((only["layer"] < depth).mean()) * 100
    return statements.SHALLOW_QUERIES.judged(
        model,
        evidence=_n_facts(only),
        measured_value=share,
        holds=share > 100 * FALL,
        note="Share of query-only neurons below 60 % of the depth; holds above 60 %, their share "
        "if depth did not matter.",
    )


def _shared(
    model: str, facts: pd.DataFrame, neurons: Mapping[str, pd.DataFrame], shared: pd.DataFrame
) -> ClaimRow:
    """Claim on the neurons that facts share; `neurons` holds every fact's best, by role."""
    claim = statements.SHARED_NEURONS
    sizes = facts.groupby("relation").size()
    several = sizes[sizes > 1]
    shares: dict[str, float] = {}
    for role, best in neurons.items():
        counts = shared[shared["role"] == role].groupby("relation").size()
        most = best.groupby(["relation", "example_id"]).size().groupby("relation").max()
        most = most[most.index.isin(several.index)]
        if len(most):
            shares[role] = float((counts.reindex(most.index, fill_value=0) / most).mean()) * 100
    note = (
        "Neurons that are among the best of more than half of a relation's facts, as a share "
        "of those kept per fact, mean over relations with two facts or more"
    )
    evidence = int(several.sum())
    if missing := [role for role in neurons if role not in shares]:
        why = f"no relation has two facts or more with {missing[0]} neurons"
        value = shares.get("value")
        return claim.untested(
            model, why=why, evidence=evidence, measured_value=value, note=f"{note}."
        )
    return claim.judged(
        model,
        evidence=evidence,
        measured_value=shares["value"],
        holds=shares["value"] > shares["query"],
        note=f"{note}; of query neurons {shares['query']:.1f} %.",
    )


def _n_facts(rows: pd.DataFrame) -> int:
    return len(rows[["relation", "example_id"]].drop_duplicates())
