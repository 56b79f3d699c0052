"""What is said of directions as differences of class means, beside what was measured."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import pandas as pd

from llm_anatomy.statistics.evidence import DOSES
from llm_anatomy.tables.claims import Statement
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
    DOSES,
)
STATEMENTS = (STEERS, BETTER)
# Largest perplexity that counts as fluent, in units of the clean one, as far as it was asked for.
FLUENT = 1.5
DOUBLED = math.log(2)


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
    asked = own["perplexity_ratio"][own["perplexity_ratio"] <= FLUENT]
    if asked.empty:
        why = f"no bound of neurons.directions.perplexity_ratios is at most {FLUENT:g}"
        return [each.untested(model, prompt, why=why) for each in (steers, better)]
    bound = float(asked.max())
    gains = own[own["perplexity_ratio"] == bound].set_index(["method", "role"])["logprob_gain"]
    doses = steering[
        (steering["concept"] == concept)
        & (steering["prompt"] == prompt)
        & (steering["method"] == "direction")
        & (steering["role"] == "concept")
        & (steering["operation"] == "add")
    ]
    gain, clamp = (float(gains[method, "concept"]) for method in ("direction", "clamp"))
    random, permuted = (float(gains["direction", role]) for role in ("random", "permuted"))
    said = (
        f"After “{prompt}”, within {bound:g} times the clean perplexity of the held text, the "
        f"log-probability of {concept} rises by {gain:.3g}"
    )
    return [
        steers.judged(
            model,
            prompt,
            evidence=len(doses),
            measured_value=gain,
            holds=bool(gain >= DOUBLED and gain > random and gain > permuted),
            note=f"{said}; by a random direction of the same length {random:.3g}, by one of "
            f"shuffled labels {permuted:.3g}. Best dose. Holds if the probability at least doubles "
            "and both controls do less.",
        ),
        better.judged(
            model,
            prompt,
            evidence=len(doses),
            measured_value=gain - clamp,
            holds=gain > clamp,
            note=f"{said}, with its best neuron clamped by {clamp:.3g}. Best dose of each. Holds "
            "if the direction does more.",
        ),
    ]
