"""The claims table as the report shows it: grouped by paper, as it came out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llm_anatomy.artefacts.results import result_name
from llm_anatomy.report.cells import Cell, format_cell
from llm_anatomy.tables.claims import ALL_CLAIMS, CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import content_hashes, read_arrow

_VERDICTS = {
    "holds": ("yes", "yes"),
    "fails": ("no", "no"),
    "undecided": ("undecided", "untested"),
    "untested": ("cannot be tested here", "untested"),
}


@dataclass(frozen=True)
class ClaimLine:
    """One claim with its outcome; the interval's ends are both there or both missing."""

    claim: str
    model: str
    dataset: str
    paper_value: str
    measured: Cell
    low: Cell | None
    high: Cell | None
    unit: str
    verdict: str
    verdict_class: str
    evidence: str
    note: str


@dataclass(frozen=True)
class PaperClaims:
    """The claims of one paper."""

    paper: str
    claims: tuple[ClaimLine, ...]


@dataclass(frozen=True)
class Claims:
    """Every claim, with a sentence that counts them."""

    source: str
    summary: str
    groups: tuple[PaperClaims, ...]


def gather_claims(claims: Sequence[Path]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Join the claims of every study, in the given order.

    Args:
        claims: Each study's table.

    Returns:
        The claims, and what they depend on.

    Raises:
        UserError: A table is missing or damaged.
    """
    tables = Collection(claims, [CLAIMS])
    studies = [owner["study"] for path in claims if (owner := CLAIMS.owner(path)) is not None]
    columns = [column.name for column in CLAIMS.columns]
    return tables.joined(CLAIMS, study=studies)[columns], {
        "inputs": content_hashes(claims),
        "studies": {study: tables.provenance(CLAIMS, study=study) for study in studies},
    }


def read_claims(path: Path) -> Claims:
    """Read the gathered claims and group them by paper, in the order of the table.

    Raises:
        UserError: The table is missing or damaged.
    """
    rows = read_arrow(path, ALL_CLAIMS).to_pylist()
    papers = list(dict.fromkeys(row["paper"] for row in rows))
    groups = tuple(
        PaperClaims(paper, tuple(_tested(row) for row in rows if row["paper"] == paper))
        for paper in papers
    )
    return Claims(result_name(path), _summary([row["verdict"] for row in rows]), groups)


def _tested(row: dict[str, Any]) -> ClaimLine:
    verdict, verdict_class = _VERDICTS[row["verdict"]]
    has_interval = row["low"] is not None and row["high"] is not None
    return ClaimLine(
        claim=row["claim"],
        model=row["model"],
        dataset=row["dataset"],
        paper_value=row["paper_value"],
        measured=format_cell(row["measured_value"]),
        low=format_cell(row["low"]) if has_interval else None,
        high=format_cell(row["high"]) if has_interval else None,
        unit=row["unit"],
        verdict=verdict,
        verdict_class=verdict_class,
        evidence=_evidence(row),
        note=row["note"],
    )


def _evidence(row: dict[str, Any]) -> str:
    """How much a verdict rests on, and how much it needs."""
    return f"{row['evidence']:,} {row['evidence_unit']}; at least {row['least_evidence']:,} needed."


def _summary(verdicts: Sequence[str]) -> str:
    count = Counter(verdicts)
    tested = len(verdicts) - count["untested"]
    text = f"Of the papers' claims that could be tested, {count['holds']} of {tested} hold here"
    if count["undecided"]:
        text += f" ({count['undecided']} undecided: the interval reaches over the criterion)"
    text += "."
    if count["untested"]:
        text += f" {count['untested']} could not be tested in this run; the note of each says why."
    return text
