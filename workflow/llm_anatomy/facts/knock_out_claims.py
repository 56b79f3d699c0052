"""What the paper says of switching units off, tested on the answers that are left.

Intervals are percentile bootstrap intervals over facts, drawn anew within each relation.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from llm_anatomy.facts import statements
from llm_anatomy.statistics.intervals import (
    Groups,
    bootstrap_interval,
    lies_above,
    lies_within,
)
from llm_anatomy.statistics.random import Purpose, keyed_generator

RESAMPLES = 1000
TEN = 10
# Per cent within which an answer hardly changes, and above which it is destroyed.
HARDLY = 5.0
DESTROYED = 80.0
INTERVAL = "95 % bootstrap interval over facts"

ClaimRow: TypeAlias = dict[str, Any]


def knock_out_claims(model: str, answers: pd.DataFrame, seed: int) -> list[ClaimRow]:
    """Every claim on switched-off units of one model.

    Args:
        model: Its name.
        answers: The model's table `facts/knock_out`.
        seed: Seed of the intervals' draws.
    """
    return [
        _best_method(model, answers, seed),
        *_random_controls(model, answers, seed),
        *(_switched_off(model, answers, selection, seed) for selection in statements.DESTROYED),
        _head_transfer(model, answers, seed),
    ]


def relative_decrease(samples: Groups) -> float:
    """100·(original - now) / original of the means, averaged over relations."""
    drops = [(before.mean() - now.mean()) / before.mean() for before, now in samples]
    return float(100.0 * np.mean(drops))


def difference(samples: Groups) -> float:
    """The relative decrease of one way of switching off, less that of another on the same facts."""
    one, other = ([(g[0], g[i]) for g in samples] for i in (1, 2))
    return relative_decrease(one) - relative_decrease(other)


def told(ahead: dict[str, Any]) -> str:
    """The sentence on a difference that decides."""
    return (
        f"The difference is {ahead['measured_value']:.1f} ({ahead['low']:.1f} to "
        f"{ahead['high']:.1f}); holds where its whole interval is above 0."
    )


def measured_over_facts(
    samples: Groups, statistic: Callable[[Groups], float], seed: int, *key: str
) -> dict[str, Any]:
    """Value and interval of a claim, of one fact or more; `key` names the claim's draws."""
    generator = keyed_generator(seed, Purpose.FACTS_CLAIMS, *key)
    low, high = bootstrap_interval(samples, statistic, generator, RESAMPLES)
    return {"measured_value": statistic(samples), "low": low, "high": high}


def _best_method(model: str, answers: pd.DataFrame, seed: int) -> ClaimRow:
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
    measured = measured_over_facts(samples, relative_decrease, seed, "ffn", "log_prob_increase")
    if not others:
        why = "facts.knock_out.methods names no other method to compare with"
        return claim.untested(model, why=why, evidence=_known(samples), **measured, note=f"{note}.")
    best = max(others, key=lambda name: others[name])
    both = _beside(answers, "ffn", "log_prob_increase", best)
    ahead = measured_over_facts(both, difference, seed, "ffn", "ahead", best)
    return claim.judged(
        model,
        evidence=_known(samples),
        **measured,
        holds=lies_above(ahead["low"], ahead["high"], 0),
        note=f"{note}; the best other method, {best}, has {others[best]:.1f} %. {told(ahead)} "
        f"Methods compared: {', '.join(sorted(drops))}",
    )


def _random_controls(model: str, answers: pd.DataFrame, seed: int) -> list[ClaimRow]:
    rows = []
    for selection, claim in statements.RANDOM_NEURONS.items():
        samples = _pairs(answers, selection, "random")
        if not samples:
            rows.append(claim.untested(model, why=_not_switched(selection)))
            continue
        measured = measured_over_facts(samples, relative_decrease, seed, selection, "random")
        rows.append(
            claim.judged(
                model,
                evidence=_known(samples),
                **measured,
                holds=lies_within(measured["low"], measured["high"], -HARDLY, HARDLY),
                note=f"Relative decrease of MRR, mean over relations; {INTERVAL}; holds where all "
                f"of it is within {HARDLY:g} %.",
            )
        )
    return rows


def _switched_off(model: str, answers: pd.DataFrame, selection: str, seed: int) -> ClaimRow:
    claim = statements.DESTROYED[selection]
    method = "log_prob_increase" if selection == "value_neurons" else "inner_product"
    samples = _pairs(answers, selection, method)
    if not samples:
        return claim.untested(model, why=_not_switched(selection))
    measured = measured_over_facts(samples, relative_decrease, seed, selection, method)
    own = (answers["selection"] == selection) & (answers["method"] == method)
    size = (
        "200 attention and 100 FFN neurons" if selection == "value_neurons" else "1,000 FFN neurons"
    )
    return claim.judged(
        model,
        evidence=_known(samples),
        **measured,
        holds=lies_above(measured["low"], measured["high"], DESTROYED),
        note=f"Relative decrease of MRR, mean over relations; {INTERVAL}; holds where all of it is "
        f"above {DESTROYED:g} %. Here {answers.loc[own, 'units'].mean():.0f} on average, there "
        f"{size} of far larger models.",
    )


def _head_transfer(model: str, answers: pd.DataFrame, seed: int) -> ClaimRow:
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
    measured = measured_over_facts(own, relative_decrease, seed, "heads")
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

    def ahead_of_others(groups: Groups) -> float:
        return relative_decrease(groups[: len(own)]) - relative_decrease(groups[len(own) :])

    ahead = measured_over_facts([*own, *other], ahead_of_others, seed, "heads", "ahead")
    return claim.judged(
        model,
        evidence=_known(ranks),
        **measured,
        holds=lies_above(ahead["low"], ahead["high"], 0),
        note=f"{note}; other relations' facts lose {elsewhere:.1f} %. {told(ahead)}",
    )


def _beside(answers: pd.DataFrame, selection: str, one: str, other: str) -> Groups:
    """Reciprocal ranks of every relation's facts: before, by one method, and by the other."""
    ranked = answers[answers["selection"].isin(["original", selection])]
    groups = []
    for _, part in ranked.groupby("relation", sort=False):
        before = part[part["selection"] == "original"].set_index("example_id")["rank"]
        by_method = part[part["selection"] == selection].set_index(["method", "example_id"])["rank"]
        ranks = pd.concat([before, by_method[one], by_method[other]], axis=1, join="inner")
        groups.append(tuple(1.0 / column for column in ranks.to_numpy(float).T))
    return groups


def _known(samples: Groups) -> int:
    """Facts whose answer was among the ten most likely tokens before anything was switched off."""
    return sum(int((before >= 1 / TEN).sum()) for before, _ in samples)


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
