"""The claims table: what a paper says, what was measured here, and whether it holds.

Every study writes its own by a rule named `conclude_{study}`; the report joins them.
"""

from typing import Any

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

_COLUMNS = (
    Column("paper", pa.string(), "Paper, as `Author year`."),
    Column("claim", pa.string(), "What the paper says, in one sentence."),
    Column("model", pa.string(), "Model on which it was tested here, by its configured name."),
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
        "Whether the claim holds here by the criterion in `note`; missing when it cannot be "
        "tested here.",
        nullable=True,
    ),
    Column("note", pa.string(), "The criterion, the sample, the interval, and what differs."),
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


def claim_row(
    paper: str,
    claim: str,
    model: str,
    *,
    paper_value: str,
    note: str,
    measured_value: float | None = None,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    holds: bool | None = None,
) -> dict[str, Any]:
    """One row of the claims table; `write_table(path, CLAIMS, pandas.DataFrame(rows), …)`.

    Raises:
        ValueError: A verdict without a measured value, or an interval that is not one.
    """
    if holds is not None and measured_value is None:
        raise ValueError(f"the claim '{claim}' has a verdict but no measured value")
    if (low is None) != (high is None) or (low is not None and high is not None and low > high):
        raise ValueError(f"the claim '{claim}' has the interval [{low}, {high}]")
    return {
        "paper": paper,
        "claim": claim,
        "model": model,
        "paper_value": paper_value,
        "measured_value": measured_value,
        "low": low,
        "high": high,
        "unit": unit,
        "holds": holds,
        "note": note,
    }
