"""What tests of verdicts share: tables made by hand, and cases of the claims they decide."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from llm_anatomy.statistics.evidence import Least
from llm_anatomy.tables import claims
from llm_anatomy.tables.claims import Statement
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import Column, TableSchema, write_table

Row = dict[str, Any]
# Rows by the path of their table.
Tables = Mapping[str, Sequence[Row]]


def at(schema: TableSchema, **owner: str) -> str:
    """Where an owner's table lies."""
    return schema.path.format_map(owner)


def collect(
    folder: Path, schemas: Sequence[TableSchema], tables: Tables, **provenance: str
) -> Collection:
    """Tables on disk; columns that a row leaves out, as no verdict needs them, are neutral."""
    for path, rows in tables.items():
        fitting = (schema for schema in schemas if schema.owner(Path(path)) is not None)
        schema = min(fitting, key=lambda each: len(each.wildcards))
        write_table(
            folder / path, schema, schema.frame(_filled(schema, row) for row in rows), provenance
        )
    return Collection([folder / path for path in tables], schemas)


def _filled(schema: TableSchema, row: Row) -> Row:
    assert set(row) <= {column.name for column in schema.columns}, (schema.name, row)
    return {column.name: _neutral(column) for column in schema.columns} | row


def _neutral(column: Column) -> Any:
    if column.nullable:
        return None
    kinds = {pa.string(): "any", pa.bool_(): False, pa.int32(): 1, pa.int64(): 1, pa.float64(): 0.0}
    return kinds.get(column.type, [])


@pytest.fixture
def any_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts from as little as a criterion needs; evidence has its own tests."""
    monkeypatch.setattr(claims, "enough", lambda evidence, least: True)


@dataclass(frozen=True)
class Claim:
    """A claim that a study makes.

    Attributes:
        sentence: What the paper says.
        unit: Of the measured value.
        criterion: Words of the note that say when it holds.
    """

    sentence: str
    unit: str
    criterion: str = ""


@dataclass(frozen=True)
class Case:
    """Tables made by hand, and what they say of one claim.

    Attributes:
        claim: The claim.
        name: What is special about the tables.
        changes: The tables that differ from the study's usual ones.
        holds: The verdict: true, false, or none where it is undecided or not tested.
        value: The measured value; none where nothing could be measured.
        interval: Its ends, where the claim has any.
        note: What the note says of this sample.
        evidence: How much there is to judge by, where the case says so.
        undecided: Whether the interval reaches over the criterion.
    """

    claim: Claim
    name: str
    changes: Mapping[str, Any]
    holds: bool | None
    value: float | None = None
    interval: tuple[float, float] | None = None
    note: tuple[str, ...] = ()
    evidence: int | None = None
    undecided: bool = False

    def check(self, rows: Iterable[Row]) -> None:
        """Compare with the rows of a study's claims."""
        found = [row for row in rows if row["claim"] == self.claim.sentence]
        (row,) = found
        assert row["holds"] is self.holds, row
        assert row["measured_value"] == near(self.value)
        word = {True: "holds", False: "fails", None: "untested"}[self.holds]
        assert row["verdict"] == ("undecided" if self.undecided else word)
        assert (row["verdict"] == "untested") == row["note"].startswith("Not tested: "), row["note"]
        assert self.undecided == row["note"].startswith("Undecided: "), row["note"]
        assert self.evidence in (None, row["evidence"])
        low, high = self.interval or (None, None)
        assert (row["low"], row["high"]) == (near(low), near(high))
        words = self.note
        if self.value is not None:
            words += (self.claim.criterion,)
            assert row["unit"] == self.claim.unit
        assert [part for part in words if part not in row["note"]] == [], row["note"]


def near(value: float | None) -> Any:
    """A number up to rounding, or none."""
    return value if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)


def by_name(case: Case) -> str:
    """How a case is called in pytest's output."""
    return f"{case.claim.sentence[:40]}: {case.name}"


def check_nothing_vanished(rows: Sequence[Row], statements: Iterable[Statement]) -> None:
    """Every statement has a row of its own, with a verdict or the reason why not."""
    said = [re.escape(s.sentence).replace(r"\{", "{").replace(r"\}", "}") for s in statements]
    patterns = [re.sub(r"{\w+}", ".+", sentence) for sentence in said]
    claims = {row["claim"] for row in rows}
    missing = [p for p in patterns if not any(re.fullmatch(p, claim) for claim in claims)]
    assert missing == []
    keys = [(row["claim"], row["model"], row["dataset"]) for row in rows]
    assert len(keys) == len(set(keys)), [key for key in keys if keys.count(key) > 1]
    for row in rows:
        reason = row["note"].startswith(("Not tested: ", "Undecided: ")) and len(row["note"]) > 30
        assert (row["holds"] is None) == reason, row
        assert row["least_evidence"] >= 1


def check_least_evidence(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Sequence[Row]], statements: int
) -> None:
    """Every verdict goes away where its claim needs one piece of evidence more than there is.

    Args:
        monkeypatch: To ask for more or for less.
        make: The rows of a study's claims, most of them with a verdict.
        statements: How many claims have a verdict.
    """
    monkeypatch.setattr(claims, "enough", lambda evidence, least: True)
    judged = [row for row in make() if row["holds"] is not None]
    assert len({row["claim"] for row in judged}) == statements
    asked: list[tuple[int, Least]] = []

    def one_more(evidence: int, least: Least) -> bool:
        asked.append((evidence, least))
        return False

    monkeypatch.setattr(claims, "enough", one_more)
    rows = make()
    assert len(asked) == len(judged)
    assert [row["claim"] for row in rows if row["holds"] is not None] == []
    without = [row for row in rows if "are fewer than the" in row["note"]]
    assert len(without) == len(judged)
    for row in without:
        assert (row["measured_value"], row["low"], row["high"]) == (None, None, None)
        few = f"Not tested: {row['evidence']} {row['evidence_unit']} are fewer than the "
        assert row["note"].startswith(f"{few}{row['least_evidence']} that it needs. ")


def missing_cases(
    sentences: Iterable[str], cases: Iterable[Case], exempt: Mapping[Claim, tuple[object, ...]]
) -> list[tuple[str, object]]:
    """Claims without a case that must hold, must fail or must be untested.

    Args:
        sentences: All claims that a study makes.
        cases: Its cases.
        exempt: Verdicts that a claim cannot have.
    """
    there = {(c.claim.sentence, c.holds) for c in cases}
    there |= {
        (claim.sentence, verdict) for claim, verdicts in exempt.items() for verdict in verdicts
    }
    wanted = [(sentence, verdict) for sentence in sentences for verdict in (True, False, None)]
    return [each for each in wanted if each not in there]
