"""Every verdict on directions on hand-made tables, with rows that no claim may read."""

import math
from pathlib import Path
from typing import Any

import pytest
from llm_anatomy.neurons.steering_claims import STATEMENTS, steering_claims
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.directions import EQUAL_FLUENCY, STEERING

from tests.unit.figures.tables import filled
from tests.unit.verdicts import any_evidence, check_least_evidence, check_nothing_vanished

__all__ = ["any_evidence"]
STEERS = "Adding the difference of class means of dog makes the model say dog."
BETTER = "At equal fluency the direction of dog raises dog more than a clamp of its best neuron."
LABELS = {"concept": "dog", "prompt": "My"}
Row = dict[str, Any]


def gains(direction: float, random: float, permuted: float, clamp: float) -> list[Row]:
    """Gains within 1.5 times the clean perplexity, and others within bounds that do not count."""
    found = {
        ("direction", "concept"): direction,
        ("direction", "random"): random,
        ("direction", "permuted"): permuted,
        ("clamp", "concept"): clamp,
        ("clamp", "random"): 99.0,
    }
    return [
        LABELS
        | {
            "method": method,
            "role": role,
            "perplexity_ratio": ratio,
            "logprob_gain": gain if ratio == 1.5 else -gain,
        }
        for (method, role), gain in found.items()
        for ratio in (1.1, 1.5, 2.0)
    ]


def doses(count: int) -> list[Row]:
    own = {"method": "direction", "role": "concept", "operation": "add"}
    others = [{"role": "random"}, {"operation": "project_out"}, {"method": "clamp"}]
    return [LABELS | own] * count + [LABELS | own | other for other in others]


def tables(folder: Path, fluent: list[Row], count: int = 4) -> Collection:
    paths = []
    for schema, rows in ((STEERING, doses(count)), (EQUAL_FLUENCY, fluent)):
        paths.append(folder / schema.path.format(model="m"))
        write_table(paths[-1], schema, filled(schema, rows), {})
    return Collection(paths, (STEERING, EQUAL_FLUENCY))


@pytest.mark.usefixtures("any_evidence")
@pytest.mark.parametrize(
    ("measured", "steers", "better"),
    [
        ((2.0, 1.0, 1.5, 1.0), True, True),
        ((2.0, 2.0, 1.5, 3.0), False, False),
        ((2.0, 1.0, 2.5, 2.0), False, False),
        ((0.69, 0.0, 0.0, 0.5), False, True),
        ((0.70, 0.0, 0.0, 0.5), True, True),
    ],
)
def test_a_direction_steers_where_it_doubles_and_beats_its_controls(
    measured: tuple[float, ...], steers: bool, better: bool, tmp_path: Path
) -> None:
    first, second = steering_claims(tables(tmp_path, gains(*measured)), ["m"])
    assert (first["claim"], first["dataset"], first["holds"]) == (STEERS, "My", steers)
    assert (second["claim"], second["holds"]) == (BETTER, better)
    assert first["measured_value"] == measured[0]
    assert second["measured_value"] == pytest.approx(measured[0] - measured[3])
    assert "within 1.5 times the clean perplexity" in first["note"]
    assert f"random direction of the same length {measured[1]:.3g}" in first["note"]
    assert f"shuffled labels {measured[2]:.3g}" in first["note"]
    assert f"best neuron clamped by {measured[3]:.3g}" in second["note"]
    assert math.exp(0.69) < 2 < math.exp(0.70)


def test_no_claim_vanishes(tmp_path: Path) -> None:
    rows = steering_claims(tables(tmp_path, gains(2, 1, 1, 1)), ["m", "not steered"])
    check_nothing_vanished(rows, STATEMENTS)
    assert [(row["model"], row["holds"]) for row in rows] == [
        ("m", True),
        ("m", True),
        ("not steered", None),
        ("not steered", None),
    ]
    wide = [row for row in gains(2, 1, 1, 1) if row["perplexity_ratio"] == 2.0]
    without = steering_claims(tables(tmp_path, wide), ["m"])
    assert [row["holds"] for row in without] == [None, None]
    assert "no bound of neurons.directions.perplexity_ratios is at most 1.5" in without[0]["note"]


def test_every_claim_needs_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tables(tmp_path, gains(2, 1, 1, 1))
    check_least_evidence(monkeypatch, lambda: steering_claims(made, ["m"]), 2)


@pytest.mark.parametrize(("count", "holds"), [(3, None), (4, True)])
def test_few_doses_are_no_verdict(count: int, holds: bool | None, tmp_path: Path) -> None:
    rows = steering_claims(tables(tmp_path, gains(2, 1, 1, 1), count), ["m"])
    assert [(row["evidence"], row["holds"]) for row in rows] == [(count, holds)] * 2
