"""What the paper says, tested on the tables of a run (papers/facts, section 2).

Intervals are percentile bootstrap intervals over facts, drawn anew within each relation.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.statistics.intervals import Groups, bootstrap_interval
from llm_anatomy.statistics.random import seeded_generator
from llm_anatomy.statistics.rounding import accepted_by, precision_name
from llm_anatomy.tables.claims import claim_row
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

PAPER = "Yu & Ananiadou 2024"
DEEP = 0.5
# Depth at which the paper's query-only neurons begin to fall off (Fig. 8).
FALL = 0.6
RESAMPLES = 1000
# Summed importance of attention and FFN layers (Table 3): GPT2-large, Llama-7B.
LAYER_SUMS = {
    "languages": "attention 7.46, FFN 0.63; attention 6.28, FFN 1.74",
    "capitals": "attention 6.61, FFN 1.89; attention 5.03, FFN 4.30",
    "months": "attention 4.82, FFN 2.81; attention 5.10, FFN 3.05",
    "numbers": "attention 2.75, FFN 4.70; attention 2.22, FFN 5.60",
}
FFN_AHEAD = ("numbers",)
INTERVAL = "95 % bootstrap interval over facts"

ClaimRow: TypeAlias = dict[str, Any]


class FactsScope(Settings):
    """Whose tables the study's claims and figures are made from, in the order shown."""

    models: list[str]
    relations: list[str]


def facts_claims(tables: Collection, scope: FactsScope) -> list[ClaimRow]:
    """Every claim on every model; one that lacks its data has no verdict."""
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
            _curve(model, curve),
            _probability_credits_last_layers(model, methods),
            _best_method(model, answers),
            *_random_controls(model, answers),
            _switched_off(model, answers, "value_neurons", "96.3 % GPT2-large, 96.9 % Llama-7B"),
            _switched_off(model, answers, "query_neurons", "92 % GPT2-large, 87 % Llama-7B"),
            _head_transfer(model, answers),
            _deep_layers(model, layers),
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
    """Value and interval of a claim; nothing without facts."""
    if not samples:
        return {}
    low, high = bootstrap_interval(samples, statistic, seeded_generator(0), RESAMPLES)
    return {"measured_value": statistic(samples), "low": low, "high": high}


def _telescoping(model: str, facts: pd.DataFrame, provenance: Mapping[str, Any]) -> ClaimRow:
    limit = accepted_by("telescoping", provenance)
    worst = None if facts.empty else float(facts["telescoping_error"].max())
    return claim_row(
        PAPER,
        "Importance of all attention and FFN layers sums to the log-probability that the answer "
        "gains between h^0 and h^L.",
        model,
        paper_value="exact by Eq. 13",
        measured_value=worst,
        unit="nat",
        holds=None if worst is None else worst <= limit,
        note=f"Largest difference over {len(facts)} facts, the model's own log-probability as the "
        f"end; holds up to {limit:g}, the rounding of {precision_name(provenance)}.",
    )


def _attention_or_ffn(model: str, facts: pd.DataFrame) -> list[ClaimRow]:
    rows = []
    for relation, paper_value in LAYER_SUMS.items():
        own = facts[facts["relation"] == relation]
        if own.empty:
            continue
        samples = [((own["attention"] - own["ffn"]).to_numpy(float),)]
        measured = _measured(samples, lambda parts: float(parts[0][0].mean()))
        ahead = "FFN" if relation in FFN_AHEAD else "attention"
        behind = "attention" if ahead == "FFN" else "FFN"
        value = measured["measured_value"]
        rows.append(
            claim_row(
                PAPER,
                f"For {relation}, {ahead} layers bring more of the answer about than {behind} "
                "layers.",
                model,
                paper_value=f"{paper_value} (Table 3: GPT2-large; Llama-7B)",
                **measured,
                unit="nat",
                holds=value < 0 if ahead == "FFN" else value > 0,
                note=f"Summed importance of attention less that of FFN, mean over {len(own)} "
                f"facts; {INTERVAL}; holds by the sign of the mean.",
            )
        )
    return rows


def _curve(model: str, curve: pd.DataFrame) -> ClaimRow:
    shares: dict[str, float] = {}
    if len(curve):
        mean = curve.groupby("share")[["logprob", "probability"]].mean()
        early = mean.index[mean.index <= 0.4 + 1e-9][-1]
        shares = {
            str(name): float(
                (values[early] - values.iloc[0]) / (values.iloc[-1] - values.iloc[0]) * 100
            )
            for name, values in mean.items()
        }
    return claim_row(
        PAPER,
        "From the embedding to the final state, the answer's log-probability rises from the start "
        "and its probability only late.",
        model,
        paper_value="p stays near 0 over the first 40 % of the way (Fig. 3, Llama-7B)",
        measured_value=shares.get("probability"),
        unit="%",
        holds=shares["probability"] < 20 < shares["logprob"] if shares else None,
        note="Share of the probability's whole rise that is reached at 40 % of the way, mean over "
        "relations"
        + (f"; of the log-probability's, {shares['logprob']:.0f} %" if shares else "")
        + "; holds when the first is below 20 % and the second above.",
    )


def _probability_credits_last_layers(model: str, methods: pd.DataFrame) -> ClaimRow:
    centres = {
        str(method): float(np.average(part["layer"], weights=part["share"]))
        for method, part in methods.groupby("method")
    }
    both = [centres.get(name) for name in ("prob_increase", "log_prob_increase")]
    distance = None if both[0] is None or both[1] is None else both[0] - both[1]
    return claim_row(
        PAPER,
        "Probability increase finds its neurons in later layers than log-probability increase.",
        model,
        paper_value="layers 23 to 31 against 17 to 31 of 32 (Fig. 2, Llama-7B)",
        measured_value=distance,
        unit="layers",
        holds=None if distance is None else distance > 0,
        note="Difference of the mean layers of the best neurons, over all relations; holds above 0"
        + ("." if distance is None else f"; means {both[0]:.1f} and {both[1]:.1f}."),
    )


def _best_method(model: str, answers: pd.DataFrame) -> ClaimRow:
    methods = list(answers.loc[answers["selection"] == "ffn", "method"].unique())
    drops = {
        method: relative_decrease(samples)
        for method in methods
        if (samples := _pairs(answers, "ffn", method))
    }
    others = {name: drops[name] for name in drops if name not in ("log_prob_increase", "random")}
    best = max(others, key=lambda name: others[name], default=None)
    measured = _measured(_pairs(answers, "ffn", "log_prob_increase"), relative_decrease)
    return claim_row(
        PAPER,
        "Switching off the FFN neurons with the highest log-probability increase hurts the answer "
        "more than those of any other method.",
        model,
        paper_value="MRR 0.361 to 0.201 (GPT2-large), 0.551 to 0.312 (Llama-7B); next best 0.214, "
        "0.339",
        **measured,
        unit="%",
        holds=measured["measured_value"] > max(others.values()) if measured and others else None,
        note=f"Relative decrease of MRR, mean over relations; {INTERVAL}"
        + ("." if best is None else f"; the best other method, {best}, has {others[best]:.1f} %.")
        + " Methods compared: "
        + ", ".join(sorted(drops)),
    )


def _random_controls(model: str, answers: pd.DataFrame) -> list[ClaimRow]:
    papers = {"value_neurons": "0.22 % of MRR", "query_neurons": "0.8 % of MRR"}
    rows = []
    for selection, value in papers.items():
        measured = _measured(_pairs(answers, selection, "random"), relative_decrease)
        rows.append(
            claim_row(
                PAPER,
                f"Switching off as many random neurons as {selection.replace('_', ' ')} hardly "
                "changes the answers.",
                model,
                paper_value=value,
                **measured,
                unit="%",
                holds=abs(measured["measured_value"]) < 5 if measured else None,
                note=f"Relative decrease of MRR, mean over relations; {INTERVAL}; holds below 5 %.",
            )
        )
    return rows


def _switched_off(model: str, answers: pd.DataFrame, selection: str, value: str) -> ClaimRow:
    method = "log_prob_increase" if selection == "value_neurons" else "inner_product"
    measured = _measured(_pairs(answers, selection, method), relative_decrease)
    units = answers.loc[
        (answers["selection"] == selection) & (answers["method"] == method), "units"
    ]
    count = f"Here {units.mean():.0f} on average, there " if len(units) else "There "
    size = (
        "200 attention and 100 FFN neurons" if selection == "value_neurons" else "1,000 FFN neurons"
    )
    return claim_row(
        PAPER,
        f"Switching off a fact's best {selection.replace('_', ' ')} destroys the answer.",
        model,
        paper_value=f"{value}, decrease of MRR",
        **measured,
        unit="%",
        holds=measured["measured_value"] > 80 if measured else None,
        note=f"Relative decrease of MRR, mean over relations; {INTERVAL}; holds above 80 %. "
        f"{count}{size} of far larger models.",
    )


def _head_transfer(model: str, answers: pd.DataFrame) -> ClaimRow:
    heads = answers[(answers["selection"] == "heads") & (answers["method"] != "random")]
    names = list(heads["heads_of"].unique())
    own: list[tuple[np.ndarray, ...]] = []
    other: list[tuple[np.ndarray, ...]] = []
    for name in names:
        for relation, pair in _by_relation(
            answers, heads[heads["heads_of"] == name], "probability"
        ):
            (own if relation == name else other).append(pair)
    measured = _measured(own, relative_decrease)
    elsewhere = relative_decrease(other) if other else None
    return claim_row(
        PAPER,
        "Switching off a relation's best heads hurts its own facts more than other relations'.",
        model,
        paper_value="53.3 % against 9.5 % (GPT2-large), 48.2 % against 8.7 % (Llama-7B), unrelated "
        "types",
        **measured,
        unit="%",
        holds=measured["measured_value"] > elsewhere
        if measured and elsewhere is not None
        else None,
        note=f"Relative decrease of the answer's mean probability by the best share of heads; "
        f"{INTERVAL}"
        + ("." if elsewhere is None else f"; other relations' facts lose {elsewhere:.1f} %."),
    )


def _deep_layers(model: str, layers: pd.DataFrame) -> ClaimRow:
    whole = layers[layers["unit"].isin(["attention", "ffn"])]
    share = None
    if len(whole):
        top = (
            whole.sort_values("importance", ascending=False, kind="stable")
            .groupby("relation")
            .head(10)
        )
        share = float((top["layer"] >= DEEP * (whole["layer"].max() + 1)).mean()) * 100
    return claim_row(
        PAPER,
        "The ten most important layers of a relation lie in the deeper half of the model.",
        model,
        paper_value="all of Table 4 (layers 19 to 34 of 36; 16 to 31 of 32)",
        measured_value=share,
        unit="%",
        holds=None if share is None else share > 90,
        note="Share of the ten layers of every relation; holds above 90 %.",
    )


def _query_only(model: str, queries: pd.DataFrame) -> ClaimRow:
    share = None if queries.empty else float((~queries["also_value"]).mean()) * 100
    return claim_row(
        PAPER,
        "Most neurons that activate value neurons are not value neurons themselves.",
        model,
        paper_value="query-only neurons far outnumber query-value neurons (Fig. 8)",
        measured_value=share,
        unit="%",
        holds=None if share is None else share > 50,
        note="Query neurons that are not among the fact's stored value neurons; holds above 50 %.",
    )


def _query_depth(model: str, queries: pd.DataFrame, layers: pd.DataFrame) -> ClaimRow:
    only = queries[~queries["also_value"].astype(bool)]
    share = None
    if len(only):
        depth = FALL * (int(layers["layer"].max()) + 1)
        share = float((only["layer"] < depth).mean()) * 100
    return claim_row(
        PAPER,
        "Neurons that activate value neurons, and are none themselves, lie in the shallower part "
        "of the model.",
        model,
        paper_value="their number begins to fall at 60 % of the depth (Fig. 8)",
        measured_value=share,
        unit="%",
        holds=None if share is None else share > 100 * FALL,
        note="Share of query-only neurons below 60 % of the depth; holds above 60 %, their share "
        "if depth did not matter.",
    )


def _shared(
    model: str, facts: pd.DataFrame, neurons: Mapping[str, pd.DataFrame], shared: pd.DataFrame
) -> ClaimRow:
    """Claim on the neurons that facts share; `neurons` holds every fact's best, by role."""
    shares: dict[str, float] = {}
    for role, best in neurons.items():
        counts = shared[shared["role"] == role].groupby("relation").size()
        most = best.groupby(["relation", "example_id"]).size().groupby("relation").max()
        several = facts.groupby("relation").size()
        most = most[most.index.isin(several.index[several > 1])]
        if len(most):
            shares[role] = float((counts.reindex(most.index, fill_value=0) / most).mean()) * 100
    return claim_row(
        PAPER,
        "Facts of one relation share more of their value neurons than of their query neurons.",
        model,
        paper_value="27.6 % against 15.7 % (GPT2-large), 14.1 % against 5.2 % (Llama-7B), Table 8",
        measured_value=shares.get("value"),
        unit="%",
        holds=shares["value"] > shares["query"] if len(shares) == 2 else None,
        note="Neurons that are among the best of more than half of a relation's facts, as a share "
        "of those kept per fact, mean over relations with two facts or more"
        + (f"; of query neurons {shares['query']:.1f} %." if "query" in shares else "."),
    )


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
