"""What the paper says, tested on the tables of a run (papers/facts, section 2).

Intervals are percentile bootstrap intervals over facts, drawn anew within each relation.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.facts import statements
from llm_anatomy.statistics.intervals import Groups, bootstrap_interval
from llm_anatomy.statistics.random import seeded_generator
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
RESAMPLES = 1000
TEN = 10
NO_FACT = "no fact passes the filter; see facts.filter and facts.relations"
NO_QUERY = "no query neuron that is no value neuron was found; see facts.queries"
INTERVAL = "95 % bootstrap interval over facts"

ClaimRow: TypeAlias = dict[str, Any]


class FactsScope(Settings):
    """Whose tables the study's claims and figures are made from, in the order shown."""

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
            *_attention_or_ffn(model, facts),
            _curve(model, curve, len(facts)),
            _probability_credits_last_layers(model, methods, len(facts)),
            _best_method(model, answers),
            *_random_controls(model, answers),
            *(_switched_off(model, answers, selection) for selection in statements.DESTROYED),
            _head_transfer(model, answers),
            _deep_layers(model, layers, len(facts)),
            _query_only(model, queries),
            _query_depth(model, queries, layers),
            _shared(model, facts, neurons, tables.frame(SHARED_NEURONS, model=model)),
        ]
    return rows


def relative_decrease(samples: Groups) -> float:
    """100·(original - now) / original of the means, averaged over relations."""
    drops = [(before.mean() - now.mean()) / before.mean() for before, now in samples]
    return float(100.0 * np.mean(drops))


def _measured(samples: Groups, statistic: Callable[[Groups], float]) -> dict[str, Any]:
    """Value and interval of a claim, of one fact or more."""
    low, high = bootstrap_interval(samples, statistic, seeded_generator(0), RESAMPLES)
    return {"measured_value": statistic(samples), "low": low, "high": high}


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


def _attention_or_ffn(model: str, facts: pd.DataFrame) -> list[ClaimRow]:
    rows = []
    for relation, claim in statements.ATTENTION_OR_FFN.items():
        own = facts[facts["relation"] == relation]
        if own.empty:
            why = f"no fact of '{relation}' passes the filter, or facts.relations leaves it out"
            rows.append(claim.untested(model, relation, why=why))
            continue
        samples = [((own["attention"] - own["ffn"]).to_numpy(float),)]
        measured = _measured(samples, lambda parts: float(parts[0][0].mean()))
        value = measured["measured_value"]
        rows.append(
            claim.judged(
                model,
                relation,
                evidence=len(own),
                **measured,
                holds=value < 0 if relation in statements.FFN_AHEAD else value > 0,
                note=f"Summed importance of attention less that of FFN, mean over {len(own)} "
                f"facts; {INTERVAL}; holds by the sign of the mean.",
            )
        )
    return rows


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


def _best_method(model: str, answers: pd.DataFrame) -> ClaimRow:
    claim = statements.BEST_METHOD
    methods = list(answers.loc[answers["selection"] == "ffn", "method"].unique())
    drops = {
        method: relative_decrease(samples)
        for method in methods
        if (samples := _pairs(answers, "ffn", method))
    }
    others = {name: drops[name] for name in drops if name not in ("log_prob_increase", "random")}
    samples = _pairs(answers, "ffn", "log_prob_increase")
    note = f"Relative decrease of MRR, mean over relations; {INTERVAL}"
    if not samples:
        why = "facts.knock_out.methods does not name log_prob_increase"
        return claim.untested(model, why=why)
    measured = _measured(samples, relative_decrease)
    if not others:
        why = "facts.knock_out.methods names no other method to compare with"
        return claim.untested(model, why=why, evidence=_known(samples), **measured, note=f"{note}.")
    best = max(others, key=lambda name: others[name])
    return claim.judged(
        model,
        evidence=_known(samples),
        **measured,
        holds=measured["measured_value"] > others[best],
        note=f"{note}; the best other method, {best}, has {others[best]:.1f} %. Methods compared: "
        + ", ".join(sorted(drops)),
    )


def _random_controls(model: str, answers: pd.DataFrame) -> list[ClaimRow]:
    rows = []
    for selection, claim in statements.RANDOM_NEURONS.items():
        samples = _pairs(answers, selection, "random")
        if not samples:
            rows.append(claim.untested(model, why=_not_switched(selection)))
            continue
        measured = _measured(samples, relative_decrease)
        rows.append(
            claim.judged(
                model,
                evidence=_known(samples),
                **measured,
                holds=abs(measured["measured_value"]) < 5,
                note=f"Relative decrease of MRR, mean over relations; {INTERVAL}; holds below 5 %.",
            )
        )
    return rows


def _switched_off(model: str, answers: pd.DataFrame, selection: str) -> ClaimRow:
    claim = statements.DESTROYED[selection]
    method = "log_prob_increase" if selection == "value_neurons" else "inner_product"
    samples = _pairs(answers, selection, method)
    if not samples:
        return claim.untested(model, why=_not_switched(selection))
    measured = _measured(samples, relative_decrease)
    own = (answers["selection"] == selection) & (answers["method"] == method)
    size = (
        "200 attention and 100 FFN neurons" if selection == "value_neurons" else "1,000 FFN neurons"
    )
    return claim.judged(
        model,
        evidence=_known(samples),
        **measured,
        holds=measured["measured_value"] > 80,
        note=f"Relative decrease of MRR, mean over relations; {INTERVAL}; holds above 80 %. Here "
        f"{answers.loc[own, 'units'].mean():.0f} on average, there {size} of far larger models.",
    )


def _head_transfer(model: str, answers: pd.DataFrame) -> ClaimRow:
    claim = statements.OWN_HEADS
    heads = answers[(answers["selection"] == "heads") & (answers["method"] != "random")]
    names = list(heads["heads_of"].unique())
    own: list[tuple[np.ndarray, ...]] = []
    other: list[tuple[np.ndarray, ...]] = []
    ranks: list[tuple[np.ndarray, ...]] = []
    for name in names:
        chosen = heads[heads["heads_of"] == name]
        for relation, pair in _by_relation(answers, chosen, "probability"):
            (own if relation == name else other).append(pair)
        ranks += [p for each, p in _by_relation(answers, chosen, "mrr") if each == name]
    if not own:
        return claim.untested(model, why="no heads of a relation were switched off for its facts")
    measured = _measured(own, relative_decrease)
    note = "Relative decrease of the answer's mean probability by the best share of heads; "
    note += INTERVAL
    if not other:
        return claim.untested(
            model,
            why="facts.relations names no other relation whose facts could be asked",
            evidence=_known(ranks),
            **measured,
            note=f"{note}.",
        )
    elsewhere = relative_decrease(other)
    return claim.judged(
        model,
        evidence=_known(ranks),
        **measured,
        holds=measured["measured_value"] > elsewhere,
        note=f"{note}; other relations' facts lose {elsewhere:.1f} %.",
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


def _known(samples: Groups) -> int:
    """Facts whose answer was among the ten most likely tokens before anything was switched off."""
    return sum(int((before >= 1 / TEN).sum()) for before, _ in samples)


def _n_facts(rows: pd.DataFrame) -> int:
    return len(rows[["relation", "example_id"]].drop_duplicates())


def _not_switched(selection: str) -> str:
    return f"no {selection.replace('_', ' ')} were switched off; see facts.knock_out.{selection}"


def _pairs(answers: pd.DataFrame, selection: str, method: str, value: str = "mrr") -> Groups:
    """The value of every fact before and after, per relation."""
    chosen = answers[(answers["selection"] == selection) & (answers["method"] == method)]
    return [pair for _, pair in _by_relation(answers, chosen, value)]


def _by_relation(
    answers: pd.DataFrame, chosen: pd.DataFrame, value: str
) -> list[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    def values(frame: pd.DataFrame) -> pd.Series:
        numbers = 1.0 / frame["rank"] if value == "mrr" else frame[value]
        return pd.Series(numbers.to_numpy(float), index=frame["example_id"])

    pairs = []
    for relation, part in chosen.groupby("relation", sort=False):
        original = answers[(answers["selection"] == "original") & (answers["relation"] == relation)]
        now = values(part)
        pairs.append((str(relation), (values(original).loc[now.index].to_numpy(), now.to_numpy())))
    return pairs
