"""The paper's claims (Davies 2025) beside what was measured."""

from typing import Any, TypeAlias, get_args

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.neurons import Matrix
from llm_anatomy.neurons.statements import (
    ALWAYS_NAMED,
    CLAMP_RAISES,
    CONCEPT_NEURON,
    DECODED_SAID,
    FAST_MAP,
    SAME_TOKEN,
)
from llm_anatomy.statistics.evidence import LEAST_RISE
from llm_anatomy.statistics.intervals import lies_above, wilson_interval
from llm_anatomy.tables.claims import enough
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.neurons import AGREEMENT, CLAMPING, CONCEPTS, FAVOURITE, SIGN_TESTS

SAME_TOP = 0.75
MUCH = 0.9
FEW = 0.1
TOP = 10
DOUBLED = 2.0

Row: TypeAlias = dict[str, Any]


class NeuronScope(Settings):
    """Whose tables the study's claims and figures are made from, in the order shown.

    Attributes:
        models: The models.
        pairs: Compared models, as `{model_a}-vs-{model_b}`.
        favourite: The concept that models are asked about with its neuron clamped.
        tuned: The model that was fine-tuned here; empty where none was.
    """

    models: list[str]
    pairs: list[str]
    favourite: str
    tuned: str

    @property
    def pair_owners(self) -> list[dict[str, str]]:
        """The two models of every pair, as tables of pairs are told apart."""
        return [
            dict(zip(("model_a", "model_b"), pair.split("-vs-"), strict=True))
            for pair in self.pairs
        ]


def neuron_claims(tables: Collection, scope: NeuronScope) -> list[Row]:
    """Every claim on every model, then on every pair; those that this run cannot test say why."""
    rows = []
    for model in scope.models:
        rows.append(speed_claim(model))
        rows += concept_claims(
            tables.frame(CONCEPTS, model=model), tables.frame(CLAMPING, model=model), model
        )
        rows.append(favourite_claim(tables.frame(FAVOURITE, model=model), scope.favourite, model))
        tests = tables.frame(SIGN_TESTS, model=model)
        rows += [validation_claim(tests, matrix, model) for matrix in get_args(Matrix)]
        if not scope.pairs:
            why = "no two models were compared; the keys of neurons.comparison name a pair"
            rows.append(SAME_TOKEN.untested(model, why=why))
    for pair, owner in zip(scope.pairs, scope.pair_owners, strict=True):
        rows += agreement_claims(tables.frame(AGREEMENT, **owner), pair)
    return rows


def speed_claim(model: str) -> Row:
    """Wall time is no property of a table, so it is measured elsewhere."""
    return FAST_MAP.untested(
        model,
        why="tables hold no times; benchmarks/map_neurons.py measures it beside the machine's "
        "matrix-multiply rate, and logs/benchmarks/map_neurons holds this run's time",
    )


def concept_claims(concepts: pd.DataFrame, clamping: pd.DataFrame, model: str) -> list[Row]:
    """Of every clamped concept its neuron, and of every target its clamps."""
    targets = clamping[["concept", "prompt"]].drop_duplicates()
    # Where none was clamped, the concepts were looked for all the same.
    searched = targets if len(targets) else concepts
    rows = [found_claim(concepts, name, model) for name in searched["concept"].drop_duplicates()]
    if targets.empty:
        why = "nothing was clamped; the key neurons.clamping.targets names no concept"
        rows += [
            CLAMP_RAISES.about(concept=name).untested(model, why=why)
            for name in searched["concept"].drop_duplicates()
        ]
    return rows + [
        clamp_claim(clamping, concept, prompt, model)
        for concept, prompt in zip(targets["concept"], targets["prompt"], strict=True)
    ]


def found_claim(concepts: pd.DataFrame, concept: str, model: str) -> Row:
    """Is there a neuron whose weights decode to the concept?"""
    claim = CONCEPT_NEURON.about(concept=concept)
    own = concepts[concepts["concept"] == concept]
    best = own.sort_values("token_rank", kind="stable").iloc[0]
    rank = int(best["token_rank"])
    return claim.judged(
        model,
        evidence=len(own),
        measured_value=rank,
        holds=rank <= TOP,
        note=f"Best rank among the concept's most specific neurons: layer {best['layer']}, neuron "
        f"{best['neuron']}, {best['matrix']}, sign {best['sign']:+d}. Holds if it is within the "
        f"top {TOP}.",
    )


def clamp_claim(clamping: pd.DataFrame, concept: str, prompt: str, model: str) -> Row:
    """Does clamping the concept's neuron raise the concept's probability?"""
    claim = CLAMP_RAISES.about(concept=concept)
    own = clamping[(clamping["concept"] == concept) & (clamping["prompt"] == prompt)]
    clean = own[own["operation"] == "none"]["probability"].iloc[0]
    swept = own[(own["operation"] != "none") & own["kl_target"].isna()]
    largest = swept.groupby("role")["probability"].max() / clean
    clamps = swept[swept["role"] == "concept"]
    best = clamps.sort_values("probability").iloc[-1]
    works = bool(largest["concept"] >= DOUBLED and largest["concept"] > largest["control"])
    rise = float(best["probability"] - clean)
    note = (
        f"After “{prompt}”: {clean:.3g} clean, {best['probability']:.3g} with layer "
        f"{best['layer']}, neuron {best['neuron']} at {best['value']:g} ({best['operation']}, site "
        f"{best['site']}, {best['positions']} positions). Best swept value; a random neuron of the "
        f"layer reaches {largest['control']:.3g} times. Holds if it at least doubles, rises by "
        f"{LEAST_RISE:g} or more, and beats the control. The paper does not name tensor, value or "
        "prompt."
    )
    if works and rise < LEAST_RISE and enough(len(clamps), claim.least):
        why = (
            f"the probability rises by {rise:.2g}, less than the {LEAST_RISE:g} that a doubling "
            "needs to say something; the key neurons.clamping.targets names prompts after which "
            "the concept can follow"
        )
        return claim.untested(
            model,
            prompt,
            why=why,
            evidence=len(clamps),
            note=note,
            measured_value=float(largest["concept"]),
        )
    return claim.judged(
        model,
        prompt,
        evidence=len(clamps),
        measured_value=float(largest["concept"]),
        holds=works,
        note=note,
    )


def favourite_claim(favourite: pd.DataFrame, concept: str, model: str) -> Row:
    """Does the clamped model always talk about the concept?"""
    claim = ALWAYS_NAMED.about(concept=concept)
    conditions = favourite.groupby("condition")["mentions"]
    share, answers = conditions.mean(), conditions.size()
    clamped = favourite[favourite["condition"] == "concept"]
    by_value = clamped.groupby("value")["mentions"].agg(["sum", "size", "mean"])
    best = by_value.sort_values("mean", kind="stable").iloc[-1]
    low, high = wilson_interval(int(best["sum"]), int(best["size"]))
    control = float(share.get("control", float("nan")))
    beside = f", with random neurons clamped {control:.0%}" if control == control else ""
    return claim.judged(
        model,
        evidence=int(min(best["size"], *answers)),
        measured_value=float(best["mean"]),
        low=low,
        high=high,
        holds=bool(best["mean"] >= MUCH and not control > FEW and share["clean"] <= FEW),
        note=f"Share of {int(best['size'])} answers that name it at the clamped value "
        f"{best.name:g}, with its 95 % Wilson interval; clean {share['clean']:.0%}{beside}. Holds "
        f"if at least {MUCH:.0%} and the clean and control shares are at most {FEW:.0%}. The paper "
        "gives neither value nor number of answers.",
    )


def validation_claim(sign_tests: pd.DataFrame, matrix: str, model: str) -> Row:
    """Does the decoded token say what a neuron makes the model say?"""
    claim = DECODED_SAID.about(matrix=matrix)
    rows = sign_tests[sign_tests["matrix"] == matrix]
    raised, count = int(rows["raised"].sum()), int(rows["neurons"].sum())
    note = (
        f"{count} clamps of sampled neurons of every layer in both directions, 95 % Wilson "
        "interval. Holds if the interval lies above one half."
    )
    if not count:
        why = (
            f"no neuron's {matrix} weights were decoded and clamped; the key neurons.map.matrices "
            "leaves them out, or the model has none"
            if rows.empty
            else f"none of the sampled {matrix} weights could be clamped"
        )
        return claim.untested(model, why=why)
    low, high = wilson_interval(raised, count)
    return claim.judged(
        model,
        evidence=count,
        measured_value=raised / count,
        low=low,
        high=high,
        holds=lies_above(low, high, 0.5),
        note=note,
    )


def agreement_claims(agreement: pd.DataFrame, pair: str) -> list[Row]:
    """Do most neurons keep their top token from base to fine-tuned model?"""
    together = agreement[agreement["layer"].isna() & (agreement["matrix"] == "up")]
    if together.empty:
        why = "the up-projections were not compared; the key neurons.comparison.matrices names them"
        return [SAME_TOKEN.untested(pair, why=why)]
    return [
        SAME_TOKEN.judged(
            pair,
            f"{row['head']} head",
            evidence=int(row["neurons"]),
            measured_value=row["same_top"],
            low=row["low"],
            high=row["high"],
            holds=lies_above(row["low"], row["high"], SAME_TOP),
            note=f"{row['neurons']} neurons, {row['head']} head, 95 % Wilson interval; holds where "
            f"all of it is above {SAME_TOP:.0%}. A short fine-tune changes weights far less than "
            "instruction tuning, so a pair made here says little about the paper's.",
        )
        for row in together.to_dict("records")
    ]
