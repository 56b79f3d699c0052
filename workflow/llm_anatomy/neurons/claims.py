"""The paper's claims (Davies 2025) beside what was measured."""

from typing import Any, TypeAlias

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.statistics.intervals import wilson_interval
from llm_anatomy.tables.claims import claim_row
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.neurons import AGREEMENT, CLAMPING, CONCEPTS, FAVOURITE, SIGN_TESTS

PAPER = "Davies 2025"
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
    """Every claim on every model, then on every pair."""
    rows = []
    for model in scope.models:
        rows.append(speed_claim(model))
        concepts = tables.frame(CONCEPTS, model=model)
        clamping = tables.frame(CLAMPING, model=model)
        targets = clamping[["concept", "prompt"]].drop_duplicates()
        for concept in targets["concept"].drop_duplicates():
            rows.append(found_claim(concepts, concept, model))
        for concept, prompt in zip(targets["concept"], targets["prompt"], strict=True):
            rows.append(clamp_claim(clamping, concept, prompt, model))
        rows.append(favourite_claim(tables.frame(FAVOURITE, model=model), scope.favourite, model))
        tests = tables.frame(SIGN_TESTS, model=model)
        for matrix in tests["matrix"].drop_duplicates():
            rows.append(validation_claim(tests, matrix, model))
    for pair, owner in zip(scope.pairs, scope.pair_owners, strict=True):
        rows += agreement_claims(tables.frame(AGREEMENT, **owner), pair)
    return rows


def speed_claim(model: str) -> Row:
    """Wall time is no property of a table, so it is measured elsewhere."""
    return claim_row(
        PAPER,
        "The top features of all up-projection neurons of a model can be mapped in seconds.",
        model,
        paper_value="under 10 s, Llama 3.1 8B (v2); under 15 min without parallelisation (v1)",
        note="Not tested in the tables, which hold no times; benchmarks/map_neurons.py measures it "
        "beside the machine's matrix-multiply rate, and logs/benchmarks/map_neurons holds this "
        "run's time.",
    )


def found_claim(concepts: pd.DataFrame, concept: str, model: str) -> Row:
    """Is there a neuron whose weights decode to the concept?"""
    best = concepts[concepts["concept"] == concept].sort_values("token_rank", kind="stable").iloc[0]
    rank = int(best["token_rank"])
    return claim_row(
        PAPER,
        f"There is a neuron whose weights decode to {concept}.",
        model,
        paper_value="a dog and a California neuron, Llama 3.1 8B",
        measured_value=rank,
        unit="rank of the concept's token",
        holds=rank <= TOP,
        note=f"Best rank among the concept's most specific neurons: layer {best['layer']}, neuron "
        f"{best['neuron']}, {best['matrix']}, sign {best['sign']:+d}. Holds if it is within the "
        f"top {TOP}.",
    )


def clamp_claim(clamping: pd.DataFrame, concept: str, prompt: str, model: str) -> Row:
    """Does clamping the concept's neuron raise the concept's probability?"""
    own = clamping[(clamping["concept"] == concept) & (clamping["prompt"] == prompt)]
    clean = own[own["operation"] == "none"]["probability"].iloc[0]
    swept = own[(own["operation"] != "none") & own["kl_target"].isna()]
    largest = swept.groupby("role")["probability"].max() / clean
    best = swept[swept["role"] == "concept"].sort_values("probability").iloc[-1]
    return claim_row(
        PAPER,
        f"Clamping the {concept} neuron raises the probability of {concept} in the output.",
        model,
        paper_value="qualitative, Llama 3.1 8B",
        measured_value=float(largest["concept"]),
        unit="times the clean probability",
        holds=bool(largest["concept"] >= DOUBLED and largest["concept"] > largest["control"]),
        note=f"After “{prompt}”: {clean:.3g} clean, {best['probability']:.3g} with layer "
        f"{best['layer']}, neuron {best['neuron']} at {best['value']:g} ({best['operation']}, site "
        f"{best['site']}, {best['positions']} positions). Best swept value; a random neuron of the "
        f"layer reaches {largest['control']:.3g} times. Holds if it at least doubles and beats "
        "the control. The paper does not name tensor, value or prompt.",
    )


def favourite_claim(favourite: pd.DataFrame, concept: str, model: str) -> Row:
    """Does the clamped model always talk about the concept?"""
    share = favourite.groupby("condition")["mentions"].mean()
    clamped = favourite[favourite["condition"] == "concept"]
    by_value = clamped.groupby("value")["mentions"].agg(["sum", "size", "mean"])
    best = by_value.sort_values("mean", kind="stable").iloc[-1]
    low, high = wilson_interval(int(best["sum"]), int(best["size"]))
    control = float(share.get("control", float("nan")))
    beside = f", with random neurons clamped {control:.0%}" if control == control else ""
    return claim_row(
        PAPER,
        f"Asked for its favourite, the model with the {concept} neuron clamped always talks about "
        f"{concept}.",
        model,
        paper_value="always, Llama 3.1 8B Instruct",
        measured_value=float(best["mean"]),
        low=low,
        high=high,
        unit="share of answers",
        holds=bool(best["mean"] >= MUCH and not control > FEW and share["clean"] <= FEW),
        note=f"Share of {int(best['size'])} answers that name it at the clamped value "
        f"{best.name:g}, with its 95 % Wilson interval; clean {share['clean']:.0%}{beside}. Holds "
        f"if at least {MUCH:.0%} and the clean and control shares are at most {FEW:.0%}. The paper "
        "gives neither value nor number of answers.",
    )


def validation_claim(sign_tests: pd.DataFrame, matrix: str, model: str) -> Row:
    """Does the decoded token say what a neuron makes the model say?"""
    rows = sign_tests[sign_tests["matrix"] == matrix]
    raised, count = int(rows["raised"].sum()), int(rows["neurons"].sum())
    low, high = wilson_interval(raised, count) if count else (None, None)
    return claim_row(
        PAPER,
        f"The decoded tokens of {matrix} weights say what the neuron makes the model say.",
        model,
        paper_value="shown on two up-projection neurons, Llama 3.1 8B",
        measured_value=raised / count if count else None,
        low=low,
        high=high,
        unit="share of clamps that raise the decoded token",
        holds=None if low is None else low > 0.5,
        note=f"{count} clamps of sampled neurons of every layer in both directions, 95 % Wilson "
        "interval. Holds if the interval lies above one half.",
    )


def agreement_claims(agreement: pd.DataFrame, pair: str) -> list[Row]:
    """Do most neurons keep their top token from base to fine-tuned model?"""
    together = agreement[agreement["layer"].isna() & (agreement["matrix"] == "up")]
    return [
        claim_row(
            PAPER,
            "Over 75 % of up-projection neurons have the same top token in the fine-tuned and "
            "the base model.",
            pair,
            paper_value="75.4 %, Llama 3.1 8B and its Instruct version",
            measured_value=row["same_top"],
            low=row["low"],
            high=row["high"],
            unit="share of neurons",
            holds=bool(row["same_top"] > SAME_TOP),
            note=f"{row['neurons']} neurons, {row['head']} head, 95 % Wilson interval. A short "
            "fine-tune changes weights far less than instruction tuning, so a pair made here "
            "says little about the paper's.",
        )
        for row in together.to_dict("records")
    ]
