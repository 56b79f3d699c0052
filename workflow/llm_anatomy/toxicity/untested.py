"""The paper's claims on detection that need data or models which a run may not have."""

from collections.abc import Container, Mapping
from typing import Any

from llm_anatomy.tables.claims import claim_row

PAPER = "Balestriero 2024"
BETTER_THAN_PUBLIC = "Spline features detect toxicity better than public classifiers."
PUBLIC_VALUE = "99.18 % against 82.08 % for the best of six (Llama-2-7B)"
UNTESTED: Mapping[str, tuple[str, str]] = {
    "On Jigsaw's official test set boosted trees score above the Kaggle winner.": (
        "99.88 % (Llama-2-7B), 98.85 % Kaggle winner",
        "Not tested: needs the Jigsaw data. The paper's training file of 223,549 rows equals the "
        "2018 training and test sets together, so its test texts were training texts; "
        "config/papers/geometry.yaml trains on the 2018 training set alone.",
    ),
    BETTER_THAN_PUBLIC: (
        PUBLIC_VALUE,
        "Not tested: the key toxicity.baselines.hub_classifiers names none. The paper scored them "
        "by their yes-or-no answer and itself by probabilities.",
    ),
}


def untested_claims(model: str, tested: Container[str]) -> list[dict[str, Any]]:
    """Claims that need data or models that this run does not have."""
    return [
        claim_row(PAPER, claim, model, paper_value=value, note=note)
        for claim, (value, note) in UNTESTED.items()
        if claim not in tested
    ]
