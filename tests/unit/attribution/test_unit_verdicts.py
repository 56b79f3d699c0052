"""Every verdict of unit attribution on tables made by hand, from its criterion."""

from dataclasses import replace
from pathlib import Path

import pytest
from llm_anatomy.attribution.claims import EMPTY, UNASKED, unit_claims
from llm_anatomy.attribution.statements import INCREASE_AHEAD, STATEMENTS
from llm_anatomy.tables.attribution import DIFFERENCES, TABLES

from tests.unit.verdicts import (
    Case,
    Claim,
    Row,
    any_evidence,
    at,
    check_least_evidence,
    check_nothing_vanished,
    collect,
    missing_cases,
)

__all__ = ["any_evidence"]
CLAIMS = {
    rival: Claim(statement.sentence, "", "all above 0")
    for rival, statement in INCREASE_AHEAD.items()
}


def difference(method: str, other: str, value: float, **changes: object) -> Row:
    row: Row = {
        "kind": "ffn_neuron",
        "method": method,
        "other": other,
        "difference": value,
        "low": value - 0.1,
        "high": value + 0.3,
        "facts": 6,
    }
    return row | changes


def rows_of(folder: Path, **relations: list[Row]) -> list[Row]:
    tables = {
        at(DIFFERENCES, model="m", relation=relation): rows for relation, rows in relations.items()
    }
    # Another model's table says the opposite of everything.
    tables[at(DIFFERENCES, model="other", relation="capitals")] = [
        difference("log_prob_increase", rival, -7.0) for rival in CLAIMS
    ]
    return unit_claims(collect(folder, TABLES, tables), "m")


OWN = "log_prob_increase"
CASES = {
    rival: [
        (True, 0.25, (0.15, 0.55), [difference(OWN, rival, 0.25)]),
        # The other order of the configuration's methods turns the sign and the interval.
        (True, 0.45, (0.15, 0.55), [difference(rival, OWN, -0.45)]),
        # An interval that holds zero tells the two from nothing.
        (None, 0.25, (-0.05, 0.35), [difference(rival, OWN, -0.25)]),
        (None, 0.1, (0.0, 0.4), [difference(OWN, rival, 0.1)]),
        (None, -0.25, (-0.35, 0.05), [difference(OWN, rival, -0.25)]),
        (None, 0.0, (-0.1, 0.3), [difference(OWN, rival, 0.0)]),
        (False, -0.45, (-0.55, -0.15), [difference(OWN, rival, -0.45)]),
        (False, -0.3, (-0.4, 0.0), [difference(OWN, rival, -0.3)]),
        (None, None, None, []),
        (None, None, None, [difference(OWN, "random", 0.5)]),
        # Of heads, and between two others.
        (None, None, None, [difference(OWN, rival, 0.5, kind="head")]),
        (None, None, None, [difference("random", rival, 0.5)]),
    ]
    for rival in CLAIMS
}


@pytest.mark.usefixtures("any_evidence")
@pytest.mark.parametrize("rival", list(CLAIMS))
def test_verdicts(tmp_path: Path, rival: str) -> None:
    for number, (holds, value, interval, rows) in enumerate(CASES[rival]):
        note = (EMPTY,) if not rows else ()
        case = Case(CLAIMS[rival], str(number), {}, holds, value, interval, note)
        case = replace(case, undecided=holds is None and value is not None)
        case.check(rows_of(tmp_path / str(number), capitals=rows))


def test_every_claim_has_a_case_that_holds_one_that_fails_and_one_without_verdict() -> None:
    cases = [
        Case(CLAIMS[rival], "", {}, holds) for rival, own in CASES.items() for holds, *_ in own
    ]
    assert missing_cases([s.sentence for s in STATEMENTS], cases, {}) == []


def test_relations_are_told_apart_and_no_claim_vanishes(tmp_path: Path) -> None:
    full = [difference(OWN, rival, 0.5) for rival in CLAIMS]
    rows = rows_of(tmp_path / "two", capitals=full, languages=[])
    check_nothing_vanished(rows, STATEMENTS)
    assert {(row["dataset"], row["holds"]) for row in rows} == {
        ("capitals", True),
        ("languages", None),
    }
    none = rows_of(tmp_path / "none")
    check_nothing_vanished(none, STATEMENTS)
    assert all(UNASKED in row["note"] and row["dataset"] == "" for row in none)


def test_few_facts_give_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = [difference(OWN, rival, 0.5) for rival in CLAIMS]
    check_least_evidence(
        monkeypatch, lambda: rows_of(tmp_path, capitals=full), statements=len(CLAIMS)
    )
    monkeypatch.undo()
    few = rows_of(tmp_path / "few", capitals=[row | {"facts": 4} for row in full])
    assert all("4 facts are fewer than the 5" in row["note"] for row in few)
