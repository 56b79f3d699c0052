"""The claims table: what a paper says, what was measured here, and whether it holds.

Every study writes its own by a rule named `conclude_{study}`; the report joins them. A claim never
vanishes: what these settings or data do not test has a row without a verdict, whose note says why,
and so has what they leave open, because the interval reaches over the criterion.
"""

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from llm_anatomy.statistics.evidence import Least
from llm_anatomy.tables.core import Column, TableSchema

_COLUMNS = (
    Column("paper", pa.string(), "Paper, as `Author year`."),
    Column("claim", pa.string(), "What the paper says, in one sentence."),
    Column("model", pa.string(), "Model on which it was tested here, by its configured name."),
    Column(
        "dataset",
        pa.string(),
        "What else tells it from the same claim elsewhere: data set, task, prompt or head; empty "
        "where all that was measured on the model counts together.",
    ),
    Column("paper_value", pa.string(), "The paper's value or statement, with its model."),
    Column(
        "measured_value",
        pa.float64(),
        "The value measured here; missing when it cannot be tested here.",
        unit="column unit",
        nullable=True,
    ),
    Column(
        "low",
        pa.float64(),
        "Lower end of the interval named in `note`.",
        unit="column unit",
        nullable=True,
    ),
    Column(
        "high",
        pa.float64(),
        "Upper end of the interval named in `note`.",
        unit="column unit",
        nullable=True,
    ),
    Column("unit", pa.string(), "Unit of the measured value; empty for a pure number."),
    Column(
        "holds",
        pa.bool_(),
        "Whether the claim holds here by the criterion in `note`; missing when it was not tested "
        "or is undecided.",
        nullable=True,
    ),
    Column(
        "verdict",
        pa.string(),
        "`holds`, `fails`, `undecided` (the interval reaches over the criterion) or `untested`.",
    ),
    Column(
        "evidence",
        pa.int64(),
        "How much there is to judge by; 0 where nothing was measured.",
        unit="column evidence_unit",
    ),
    Column(
        "least_evidence",
        pa.int64(),
        "How much a verdict needs; with less the claim is not tested.",
        unit="column evidence_unit",
    ),
    Column("evidence_unit", pa.string(), "What is counted as evidence."),
    Column(
        "note",
        pa.string(),
        "The criterion, the sample, the interval, and what differs; where there is no verdict, "
        "why.",
    ),
)

CLAIMS = TableSchema(
    name="study/claims",
    path="results/{study}/claims.parquet",
    rule="conclude_{study}",
    description="One claim of a paper, tested on one model.",
    columns=_COLUMNS,
)

ALL_CLAIMS = TableSchema(
    name="claims",
    path="results/claims.parquet",
    rule="report",
    description="One claim of a paper, tested on one model; the claims of every study that ran.",
    columns=_COLUMNS,
)

TABLES: tuple[TableSchema, ...] = (CLAIMS, ALL_CLAIMS)

# The word for a claim that was tested, by whether it holds.
VERDICTS = {True: "holds", False: "fails", None: "undecided"}
UNTESTED = "untested"


@dataclass(frozen=True)
class Statement:
    """What a paper says, and the least evidence with which it is judged here.

    Attributes:
        paper: The paper, as `Author year`.
        sentence: The claim; words in braces are filled in by `about`.
        paper_value: The paper's value or statement, with its model.
        unit: Unit of the measured value; empty for a pure number.
        least: How much a verdict needs.
    """

    paper: str
    sentence: str
    paper_value: str
    unit: str
    least: Least

    def about(self, **words: str) -> "Statement":
        """The claim on one concept, matrix or manipulation."""
        return replace(self, sentence=self.sentence.format(**words))

    def judged(
        self,
        model: str,
        dataset: str = "",
        *,
        evidence: int,
        measured_value: float,
        holds: bool | None,
        note: str,
        low: float | None = None,
        high: float | None = None,
    ) -> dict[str, Any]:
        """A row of the claims table with a verdict, or without where the evidence is too little.

        Args:
            model: The model, or the pair of models.
            dataset: As in the table.
            evidence: How much there is of what `least` counts.
            measured_value: What was measured.
            holds: Whether the criterion is met; None where the interval reaches over it.
            note: Criterion, sample and interval.
            low: Lower end of the interval, where there is one.
            high: Upper end.

        Raises:
            ValueError: The interval is not one.
        """
        if (low is None) != (high is None) or (low is not None and high is not None and low > high):
            raise ValueError(f"the claim '{self.sentence}' has the interval [{low}, {high}]")
        if not enough(evidence, self.least):
            why = f"{evidence} {self.least.of} are fewer than the {self.least.count} that it needs"
            return self.untested(model, dataset, why=why, evidence=evidence, note=note)
        if holds is None:
            note = f"Undecided: the interval reaches over the criterion. {note}"
        return self._row(model, dataset, evidence, note) | {
            "measured_value": measured_value,
            "low": low,
            "high": high,
            "holds": holds,
            "verdict": VERDICTS[holds],
        }

    def untested(
        self,
        model: str,
        dataset: str = "",
        *,
        why: str,
        evidence: int = 0,
        note: str = "",
        measured_value: float | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> dict[str, Any]:
        """A row without a verdict: `why` says what is missing, and the note begins with it.

        Where only the criterion is missing, what was measured stands all the same.
        """
        sentence = f"Not tested: {why}."
        return self._row(model, dataset, evidence, f"{sentence} {note}".rstrip()) | {
            "measured_value": measured_value,
            "low": low,
            "high": high,
        }

    def _row(self, model: str, dataset: str, evidence: int, note: str) -> dict[str, Any]:
        return {
            "paper": self.paper,
            "claim": self.sentence,
            "model": model,
            "dataset": dataset,
            "paper_value": self.paper_value,
            "measured_value": None,
            "low": None,
            "high": None,
            "unit": self.unit,
            "holds": None,
            "verdict": UNTESTED,
            "evidence": evidence,
            "least_evidence": self.least.count,
            "evidence_unit": self.least.of,
            "note": note,
        }


def enough(evidence: int, least: Least) -> bool:
    """Whether there is enough evidence for a verdict."""
    return evidence >= least.count
