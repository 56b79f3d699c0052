"""Test the claims of the neuron paper."""

from pathlib import Path
from typing import Any

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.neurons.claims import (
    agreement_claims,
    clamp_claim,
    favourite_claim,
    found_claim,
    speed_claim,
    validation_claim,
)
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.neurons import AGREEMENT, CLAMPING, CONCEPTS, FAVOURITE, SIGN_TESTS


class ClaimStage(Settings):
    """What this stage reads of the configuration."""

    models: list[str]
    pairs: list[str]
    favourite: str


def run(settings: ClaimStage, *, tables: tuple[Path, ...], claims: Path) -> None:
    """Read the study's tables; write what the paper says, what was measured, and a verdict."""
    paths = {(path.parent.name, path.stem): path for path in tables}
    rows: list[dict[str, Any]] = []
    for model in settings.models:
        rows.append(speed_claim(model))
        concepts = read_table(paths[model, "concepts"], CONCEPTS)
        clamping = read_table(paths[model, "clamping"], CLAMPING)
        targets = clamping[["concept", "prompt"]].drop_duplicates()
        for concept in targets["concept"].drop_duplicates():
            rows.append(found_claim(concepts, concept, model))
        for concept, prompt in zip(targets["concept"], targets["prompt"], strict=True):
            rows.append(clamp_claim(clamping, concept, prompt, model))
        favourite = read_table(paths[model, "favourite"], FAVOURITE)
        rows.append(favourite_claim(favourite, settings.favourite, model))
        tests = read_table(paths[model, "sign_tests"], SIGN_TESTS)
        for matrix in tests["matrix"].drop_duplicates():
            rows.append(validation_claim(tests, matrix, model))
    for pair in settings.pairs:
        rows += agreement_claims(read_table(paths[pair, "agreement"], AGREEMENT), pair)
    provenance = {model: read_provenance(paths[model, "clamping"]) for model in settings.models} | {
        pair: read_provenance(paths[pair, "agreement"]) for pair in settings.pairs
    }
    write_table(claims, CLAIMS, pd.DataFrame(rows), provenance)


if __name__ == "__main__":
    run_stage(run)
