"""Verdicts follow from the tables: a claim holds where it does and fails where it does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from llm_anatomy.config.load import load_configuration
from llm_anatomy.geometry.claims import (
    RESAMPLES,
    auc,
    insert_claim,
    prompt_claims,
    theory_claims,
)
from llm_anatomy.geometry.correlation import correlation_frame
from llm_anatomy.statistics.intervals import bootstrap_interval

RELATED_UP = (
    "Related sentences raise the last layer's intrinsic dimension more than unrelated ones."
)
CONFIG = Path(__file__).parents[3] / "config" / "papers" / "geometry.yaml"


def tables(*, effect: float, rank: int = 5, harmful: bool = True) -> dict[str, pd.DataFrame]:
    """Tables in which related prefixes add `effect` to the last layer's dimension."""
    prompts = pd.DataFrame(
        [
            {
                "prompt_id": f"{category}.{condition}.{step}.raw",
                "category": category,
                "condition": condition,
                "step": step,
                "format": "raw",
                "context_length": 10 + 8 * step + index,
            }
            for index, category in enumerate(("a", "b", "c"))
            for condition, steps in (
                ("none", [0]),
                ("unrelated", [1, 2, 3]),
                ("related", [1, 2, 3]),
            )
            for step in steps
        ]
    )
    related = prompts["condition"] == "related"
    last = 50 + effect * related + np.arange(len(prompts)) % 3
    dimension = pd.concat(
        [
            prompts[["prompt_id"]].assign(layer=0, dimension=4 * prompts["context_length"]),
            prompts[["prompt_id"]].assign(layer=1, dimension=last),
        ]
    ).assign(threshold="relative")
    outcomes = prompts[["prompt_id"]].assign(
        outcome="harmful", score=related * 0.8 + 0.1, positive=related & harmful
    )
    region = {"gated": True, "neighbour_error": 1e-16}
    return {
        "hull_checks": pd.DataFrame(
            {"rank": [3, rank], "count": [5, 5], "hull_error": [1e-7, 2e-7]}
        ),
        "region_checks": pd.DataFrame(
            [
                {**region, "activation": "relu", "reconstruction_error": 1e-16},
                {**region, "activation": "model", "reconstruction_error": 0.4},
            ]
        ),
        "insert_starts": pd.DataFrame(
            {"feature": [1] * 4, "rank": [1, 40, 2, 50], "windows": [100] * 4}
        ),
        "prompts": prompts,
        "prompt_dimension": dimension,
        "prompt_outcomes": outcomes,
        "prompt_correlations": correlation_frame(prompts, dimension, outcomes),
    }


def claims(made: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    names = ("prompts", "prompt_dimension", "prompt_outcomes", "prompt_correlations")
    return [
        *theory_claims("tiny", {"dtype": "float32"}, made["hull_checks"], made["region_checks"]),
        *prompt_claims("tiny", *(made[name] for name in names), 0),
        insert_claim("tiny", made["insert_starts"]),
    ]


def verdicts(made: dict[str, pd.DataFrame]) -> dict[str, object]:
    return {row["claim"]: row["holds"] for row in claims(made)}


def test_every_claim_holds_on_tables_made_to_fit() -> None:
    found = verdicts(tables(effect=40.0))
    smooth = "Smooth activations (SiLU, GELU) are soft versions of the same regions."
    assert found.pop(smooth) is None
    assert len(found) == 9
    assert all(found.values()), found


def test_claims_fail_where_the_tables_say_so() -> None:
    found = verdicts(tables(effect=-40.0, rank=6))
    assert found[RELATED_UP] is False
    bound = next(claim for claim in found if "Theorem 3.2" in claim and "at most" in claim)
    assert found[bound] is False
    assert (
        found["A higher intrinsic dimension of the last layer goes with harmful answers."] is False
    )


def test_no_harmful_answer_means_no_verdict() -> None:
    rows = claims(tables(effect=40.0, harmful=False))
    row = next(row for row in rows if "harmful answers" in row["claim"])
    assert row["holds"] is None
    assert row["measured_value"] is None
    assert row["note"].startswith("Not tested: 0 of 21 raw prompts")


def test_interval_covers_the_mean_of_its_sample() -> None:
    values = np.random.default_rng(1).normal(3, 1, 50)
    rng = np.random.default_rng(0)
    low, high = bootstrap_interval(
        [(values,)], lambda groups: float(groups[0][0].mean()), rng, RESAMPLES
    )
    standard_error = values.std(ddof=1) / np.sqrt(50)
    assert low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.1)
    assert high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.1)


def test_auc_of_one_class_is_undefined() -> None:
    assert np.isnan(auc(np.array([1.0, 2.0]), np.array([True, True])))
    assert auc(np.array([1.0, 2.0, 3.0]), np.array([False, True, True])) == 1.0


def test_the_papers_own_configuration_is_valid_and_complete() -> None:
    values = yaml.safe_load(CONFIG.read_text())
    configuration = load_configuration(values, CONFIG.name)
    datasets = {dataset.name: dataset for dataset in configuration.datasets}
    studied = [name for name, dataset in datasets.items() if dataset.study]
    assert studied == ["jigsaw", "omni_toxic_without_clean_jigsaw", "omni_toxic", "pile_domains"]
    clean = {part.keep for part in datasets["omni_toxic"].parts if part.dataset == "jigsaw"}
    assert clean == {"no_label", "any_label"}
    assert configuration.geometry.extraction.max_length == 1024
    assert len(configuration.models) == 2
