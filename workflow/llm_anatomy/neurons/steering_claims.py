"""What is said of directions as differences of class means, beside what was measured."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import pandas as pd

from llm_anatomy.statistics.evidence import COMPARED_DOSES, DOSES, LEAST_RISE
from llm_anatomy.tables.claims import Statement, enough
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.directions import EQUAL_FLUENCY, STEERING

Row: TypeAlias = dict[str, Any]

STEERS = Statement(
    "Arditi 2024",
    "Adding the difference of class means of {concept} makes the model say {concept}.",
    "refusal, 13 chat models of 1.8B to 72B: nearly all harmless prompts are refused",
    "nat",
    DOSES,
)
BETTER = Statement(
    "Arditi 2024",
    "At equal fluency the direction of {concept} raises {concept} more than a clamp of its best "
    "neuron.",
    "not compared; a direction needs no single neuron",
    "nat",
    COMPARED_DOSES,
)
STATEMENTS = (STEERS, BETTER)
# Largest perplexity that counts as fluent, in units of the clean one, as far as it was asked for.
FLUENT = 1.5
DOUBLED = math.log(2)
METHODS = ("direction", "clamp")


def steering_claims(tables: Collection, models: Sequence[str]) -> list[Row]:
    """Both claims on every model and concept; those that this run cannot test say why."""
    rows = []
    for model in models:
        if not tables.has(STEERING, model=model):
            why = "no concept was steered; the key neurons.directions.targets names one"
            rows += [s.about(concept="a concept").untested(model, why=why) for s in STATEMENTS]
            continue
        steering = tables.frame(STEERING, model=model)
        fluent = tables.frame(EQUAL_FLUENCY, model=model)
        for concept, prompt in steering[["concept", "prompt"]].drop_duplicates().to_numpy():
            rows += concept_claims(steering, fluent, concept, prompt, model)
    return rows


def concept_claims(
    steering: pd.DataFrame, fluent: pd.DataFrame, concept: str, prompt: str, model: str
) -> list[Row]:
    """Does the direction raise the concept, more than controls and more than the neuron?"""
    steers, better = (statement.about(concept=concept) for statement in STATEMENTS)
    own = fluent[(fluent["concept"] == concept) & (fluent["prompt"] == prompt)]
    swept = steering[(steering["concept"] == concept) & (steering["prompt"] == prompt)]
    asked = own["perplexity_ratio"][own["perplexity_ratio"] <= FLUENT]
    if asked.empty:
        why = f"no bound of neurons.directions.perplexity_ratios is at most {FLUENT:g}"
        return [each.untested(model, prompt, why=why) for each in (steers, better)]
    bound = float(asked.max())
    best = own[own["perplexity_ratio"] == bound].set_index(["method", "role"])
    clean = swept[swept["method"] == "none"].iloc[0]
    within = swept[
        (swept["role"] == "concept") & (swept["perplexity"] <= bound * clean["perplexity"])
    ]
    # What is subtracted or projected out adds nothing, and neither does a dose of zero.
    doses = int(((within["operation"] == "add") & (within["dose"] > 0)).sum())
    values = int((within["operation"] == "set").sum())
    gain, clamp = (float(best["logprob_gain"][method, "concept"]) for method in METHODS)
    rise, clamp_rise = (
        float(best["probability"][method, "concept"] - clean["probability"]) for method in METHODS
    )
    random, permuted = (
        float(best["logprob_gain"]["direction", role]) for role in ("random", "permuted")
    )
    controlled = gain > random and gain > permuted
    said = (
        f"After “{prompt}”, within {bound:g} times the clean perplexity of the held text, the "
        f"log-probability of {concept} rises by {gain:.3g} (probability {clean['probability']:.3g} "
        f"to {best['probability']['direction', 'concept']:.3g})"
    )
    controls = (
        f"by a random direction of the same length {random:.3g}, by one of shuffled labels "
        f"{permuted:.3g}. Best of {doses} doses that are added and fluent"
    )
    works = bool(gain >= DOUBLED and controlled)
    return [
        _judged(
            steers,
            (model, prompt),
            evidence=doses,
            measured_value=gain,
            holds=works,
            too_small=works and rise < LEAST_RISE,
            rise=rise,
            note=f"{said}; {controls}. Holds if the probability at least doubles, rises by "
            f"{LEAST_RISE:g} or more, and both controls do less.",
        ),
        _judged(
            better,
            (model, prompt),
            evidence=min(doses, values),
            measured_value=gain - clamp,
            holds=gain > clamp and controlled,
            too_small=max(rise, clamp_rise) < LEAST_RISE,
            rise=max(rise, clamp_rise),
            note=f"{said}, with its best neuron clamped by {clamp:.3g}; {controls}, and of "
            f"{values} fluent clamps. Holds if the direction does more than the clamp and than "
            f"both controls; no verdict if neither raises the probability by {LEAST_RISE:g}.",
        ),
    ]


def _judged(
    claim: Statement, where: tuple[str, str], *, too_small: bool, rise: float, **verdict: Any
) -> Row:
    """The verdict, or none where so little was raised that it says nothing."""
    evidence = verdict["evidence"]
    if not evidence:
        why = (
            "nothing that was added or set leaves the held text fluent; the keys "
            "neurons.directions.doses and values name what is tried"
        )
        return claim.untested(*where, why=why, note=verdict["note"])
    if too_small and enough(evidence, claim.least):
        why = (
            f"the probability rises by {rise:.2g}, less than the {LEAST_RISE:g} that says "
            "something; the key neurons.directions.targets names prompts after which the concept "
            "can follow"
        )
        del verdict["holds"]
        return claim.untested(*where, why=why, **verdict)
    return claim.judged(*where, **verdict)
