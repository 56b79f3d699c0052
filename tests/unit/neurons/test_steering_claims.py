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


CLEAN = 0.02


def gains(
    direction: float, random: float, permuted: float, clamp: float, clean: float = CLEAN
) -> list[Row]:
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
            "probability": clean * math.exp(gain if ratio == 1.5 else -gain),
        }
        for (method, role), gain in found.items()
        for ratio in (1.1, 1.5, 2.0)
    ]


def sweep(count: int, clamps: int, clean: float = CLEAN) -> list[Row]:
    """Fluent doses and clamps, and rows of every kind that are no evidence."""
    none = {"method": "none", "role": "concept", "operation": "none"}
    added = {"method": "direction", "role": "concept", "operation": "add", "dose": 1.0}
    clamped = {"method": "clamp", "role": "concept", "operation": "set", "dose": -5.0}
    fluent, broken = {"perplexity": 15.0}, {"perplexity": 15.1}
    others = [
        added | {"role": "random"} | fluent,
        added | {"operation": "project_out", "dose": None} | fluent,
        added | {"dose": -1.0} | fluent,
        added | {"dose": 0.0} | fluent,
        added | broken,
        clamped | {"role": "random"} | fluent,
        clamped | broken,
    ]
    rows = [none | {"perplexity": 10.0, "probability": clean}]
    rows += [added | fluent] * count + [clamped | fluent] * clamps + others
    return [LABELS | row for row in rows]


def tables(
    folder: Path, fluent: list[Row], count: int = 4, clamps: int = 4, clean: float = CLEAN
) -> Collection:
    paths = []
    for schema, rows in ((STEERING, sweep(count, clamps, clean)), (EQUAL_FLUENCY, fluent)):
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
        # More than the clamp, and not more than chance.
        ((2.0, 2.1, 1.5, 1.0), False, False),
        ((2.0, 1.0, 2.1, 1.0), False, False),
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
    verdicts = {"m": True, "not steered": None}
    for models in (["m", "not steered"], ["not steered", "m"]):
        rows = steering_claims(tables(tmp_path, gains(2, 1, 1, 1)), models)
        check_nothing_vanished(rows, STATEMENTS)
        found = [(row["model"], row["holds"]) for row in rows]
        assert found == [(model, verdicts[model]) for model in models for _ in STATEMENTS]
    wide = [row for row in gains(2, 1, 1, 1) if row["perplexity_ratio"] == 2.0]
    without = steering_claims(tables(tmp_path, wide), ["m"])
    assert [row["holds"] for row in without] == [None, None]
    assert "no bound of neurons.directions.perplexity_ratios is at most 1.5" in without[0]["note"]


def test_every_claim_needs_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tables(tmp_path, gains(2, 1, 1, 1))
    check_least_evidence(monkeypatch, lambda: steering_claims(made, ["m"]), 2)


@pytest.mark.parametrize(
    ("count", "clamps", "steers", "better"),
    [(3, 4, None, None), (4, 3, True, None), (4, 4, True, True), (0, 4, None, None)],
)
def test_few_fluent_doses_are_no_verdict(
    count: int, clamps: int, steers: bool | None, better: bool | None, tmp_path: Path
) -> None:
    rows = steering_claims(tables(tmp_path, gains(2, 1, 1, 1), count, clamps), ["m"])
    assert [row["evidence"] for row in rows] == [count, min(count, clamps)]
    assert [row["holds"] for row in rows] == [steers, better]
    if not count:
        assert "nothing that was added or set leaves the held text fluent" in rows[0]["note"]


@pytest.mark.parametrize(
    ("clean", "measured", "steers", "better"),
    [
        # Seven times 1e-4 is still next to nothing.
        (1e-4, (2.0, 0.0, 0.0, 1.0), None, None),
        (1e-4, (0.1, 0.0, 0.0, 0.0), False, None),
        # The clamp alone says something; 1e-4 e^6 is 0.04.
        (1e-4, (2.0, 0.0, 0.0, 6.0), None, False),
        (2e-3, (2.0, 0.0, 0.0, 1.0), True, True),
    ],
)
def test_a_doubling_of_next_to_nothing_is_no_verdict(
    clean: float,
    measured: tuple[float, ...],
    steers: bool | None,
    better: bool | None,
    tmp_path: Path,
) -> None:
    rows = steering_claims(tables(tmp_path, gains(*measured, clean), clean=clean), ["m"])
    assert [row["holds"] for row in rows] == [steers, better]
    assert rows[0]["measured_value"] == measured[0]
    for row in rows:
        said = "less than the 0.01 that says something" in row["note"]
        assert said is (row["holds"] is None)
