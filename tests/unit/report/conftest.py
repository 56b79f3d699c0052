"""A small run's results on disk: tables, figures, exhibits, claims and provenance."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pyarrow as pa
import pytest
from llm_anatomy.figures.anatomy import anatomy_figures
from llm_anatomy.figures.exhibit import (
    Exhibit,
    save_figure,
    set_style,
    write_exhibits,
    write_figures,
)
from llm_anatomy.model.source.record import write_record
from llm_anatomy.report.shown import TableReader
from llm_anatomy.statistics.evidence import Least
from llm_anatomy.tables.anatomy import ANATOMY
from llm_anatomy.tables.claims import ALL_CLAIMS, CLAIMS, Statement
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import Column, TableSchema, write_table
from llm_anatomy.tables.data import INTAKE

MEASURES = TableSchema(
    name="test/measures",
    path="results/test/measures.parquet",
    rule="measure",
    description="One measurement.",
    columns=(
        Column("token", pa.string(), "A token."),
        Column("layer", pa.int32(), "The layer."),
        Column("value", pa.float64(), "What was measured.", unit="nats", nullable=True),
        Column("right", pa.bool_(), "Whether it was right."),
        Column("answers", pa.list_(pa.string()), "Accepted answers."),
    ),
)


@dataclass
class Run:
    """Paths of a small run, relative to the working directory."""

    measures: Path
    frame: pd.DataFrame
    figures: Path
    anatomy: Path
    claims: Path
    gathered: Path
    model: Path
    lock: Path
    intake: Path


def draw(path: Path, values: pd.Series) -> None:
    set_style()
    figure, axes = plt.subplots()
    axes.plot(values)
    axes.set_xlabel("row")
    axes.set_ylabel("value (nats)")
    save_figure(figure, path)


@pytest.fixture
def reader() -> TableReader:
    schemas = (MEASURES, CLAIMS, ALL_CLAIMS)
    return TableReader({schema.name: schema for schema in schemas})


@pytest.fixture
def small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    results = Path("results")
    frame = pd.DataFrame(
        {
            "token": [" Paris", "<b>&amp;", "\n\n", "Rome", "x" * 300],
            "layer": [0, 1, 2, 3, 4],
            "value": [0.123456789, -1e-7, None, 12345.678, 3.0],
            "right": [True, False, True, True, False],
            "answers": [["a", "b"], [], [" c"], ["d"], ["e"]],
        }
    )
    run = Run(
        measures=results / "facts" / "measures.parquet",
        frame=frame,
        figures=results / "figures" / "facts",
        anatomy=results / "figures" / "anatomy",
        claims=results / "facts" / "claims.parquet",
        gathered=results / "claims.parquet",
        model=results / "models" / "tiny" / "provenance.json",
        lock=Path("requirements.lock"),
        intake=results / "data" / "letters.intake.parquet",
    )
    provenance = {"seed": 0, "dtype": "float32", "packages": {"torch": "2.13.0"}}
    write_table(run.measures, MEASURES, frame, provenance)
    draw(run.figures / "values.png", frame["value"])
    prompts = Least(5, "prompts")
    last = Statement(
        "Yu 2024", "The last layers <i>matter</i> most.", "71 % (Llama-7B)", "", prompts
    )
    fails = Statement("Yu 2024", "It fails here.", "1", "nats", prompts)
    larger = Statement("Yu 2024", "Needs a larger model.", "3", "", prompts)
    claims = [
        last.judged(
            "tiny",
            "letters",
            evidence=8,
            measured_value=0.625,
            low=0.5,
            high=0.75,
            holds=True,
            note="Share above one half; 95 % bootstrap interval over 8 prompts.",
        ),
        fails.judged(
            "tiny", evidence=8, measured_value=-2.0, holds=False, note="Measured on 8 prompts."
        ),
        fails.judged(
            "tiny", "few", evidence=4, measured_value=2.0, holds=True, note="Measured on 4 prompts."
        ),
        larger.untested("tiny", why="the model is small"),
        fails.judged(
            "tiny",
            "open",
            evidence=8,
            measured_value=0.5,
            low=-0.5,
            high=1.5,
            holds=None,
            note="Holds above 0.",
        ),
    ]
    write_table(run.claims, CLAIMS, pd.DataFrame(claims), provenance)
    layers = results / "anatomy" / "tiny" / "layers.parquet"
    layer = {"study": "facts", "series": "ffn", "unit": "nat", "about": "letters"}
    rows = [layer | {"layer": number, "value": number - 0.5} for number in range(3)]
    write_table(layers, ANATOMY, ANATOMY.frame(rows), provenance)
    write_figures(
        run.anatomy, "anatomy", anatomy_figures(Collection([layers], [ANATOMY]), ["tiny"])
    )
    run.model.parent.mkdir(parents=True)
    record = {
        "model": "tiny",
        "revision": "r1",
        "source": {"kind": "path", "id": "models/tiny"},
        "licence": "mit",
        "parameters": 12_300_000,
        "weights_sha256": "ab" * 32,
        "files": {},
    }
    write_record(run.model.parent, record, {})
    tally = pd.DataFrame(
        {
            "outcome": ["in", "used", "set aside", "set aside", "warning"],
            "reason": ["", "", "empty text", "copy of an earlier text", "'z' never occurs"],
            "rows": [12, 9, 1, 2, 0],
            "examples": ["", "", "row 3", "rows 5, 7", ""],
        }
    )
    write_table(run.intake, INTAKE, tally, {"source": "letters.csv", "licence": "CC0-1.0"})
    run.lock.write_text("torch==2.13.0\n")
    write_exhibits(
        run.figures,
        "facts",
        [
            Exhibit(
                title="Values by row",
                caption="They rise.\n\nThe paper saw <them> fall & rise.",
                figure="values.png",
                table=run.measures,
                rows=(),
                alt="A line of four points",
            ),
            Exhibit(
                title="Some rows",
                caption="Rows out of order.",
                table=run.measures,
                columns=("token", "value", "right"),
                rows=(3, 0, 1),
            ),
            Exhibit(title="All rows", caption="Everything.", table=run.measures),
        ],
    )
    return run
