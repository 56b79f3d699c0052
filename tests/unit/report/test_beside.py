"""What another table says of the shown rows stands beside them, and only there."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from llm_anatomy.errors import UserError
from llm_anatomy.figures.exhibit import Beside, Exhibit, read_exhibits, write_figures
from llm_anatomy.report.shown import TableReader
from llm_anatomy.tables.core import Column, TableSchema, write_table

ANSWERS = TableSchema(
    "test/answers",
    "results/test/answers.parquet",
    "answer",
    "One answer.",
    (Column("key", pa.string(), "Whose."), Column("said", pa.string(), "What.")),
)
PEOPLE = TableSchema(
    "test/people",
    "results/test/people.parquet",
    "people",
    "Somebody.",
    (
        Column("key", pa.string(), "Who."),
        Column("name", pa.string(), "The name.", nullable=True),
        Column("age", pa.int32(), "The age."),
    ),
)


@pytest.fixture
def exhibit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exhibit:
    monkeypatch.chdir(tmp_path)
    answers, people = (Path(schema.path) for schema in (ANSWERS, PEOPLE))
    said = pd.DataFrame({"key": ["b", "a", "b", "z"], "said": ["one", "two", "three", "four"]})
    write_table(answers, ANSWERS, said, {})
    # More rows than the report shows of a whole table.
    keys = [*(f"k{n}" for n in range(60)), "a", "b"]
    known = pd.DataFrame({"key": keys, "name": [*["x"] * 60, "Ann", None], "age": 7})
    write_table(people, PEOPLE, known, {})
    beside = Beside(people, "key", ("name",))
    made = Exhibit("t", "c", table=answers, columns=("key", "said"), rows=(3, 0, 1), beside=beside)
    write_figures(Path("results/figures/test"), "test", [made])
    return made


@pytest.fixture
def reader() -> TableReader:
    return TableReader({schema.name: schema for schema in (ANSWERS, PEOPLE)})


def test_rows_stand_beside_what_the_other_table_says(exhibit: Exhibit, reader: TableReader) -> None:
    back = read_exhibits(Path("results/figures/test"))
    (shown,) = back.exhibits
    assert shown == exhibit
    table = reader.show(shown, back.content_sha256)
    assert table is not None
    assert [heading.name for heading in table.headings] == ["key", "said", "name"]
    rows = [[cell.text for cell in row] for row in table.rows]
    assert rows == [["z", "four", "–"], ["b", "one", "–"], ["a", "two", "Ann"]]
    loaded = eval(table.load, {"pandas": pd})
    assert loaded.columns.tolist() == ["key", "said", "name"]
    assert loaded.fillna("–").to_numpy().tolist() == rows


def test_a_newer_table_beside_is_refused(exhibit: Exhibit, reader: TableReader) -> None:
    back = read_exhibits(Path("results/figures/test"))
    write_table(Path(PEOPLE.path), PEOPLE, {"key": ["a"], "name": ["Bo"], "age": [1]}, {})
    with pytest.raises(UserError, match=r"people\.parquet has changed"):
        reader.show(exhibit, back.content_sha256)


def test_a_key_that_is_not_shown_is_a_fault(exhibit: Exhibit, tmp_path: Path) -> None:
    wrong = Exhibit("t", "c", table=exhibit.table, columns=("said",), beside=exhibit.beside)
    with pytest.raises(ValueError, match="cannot stand beside"):
        write_figures(tmp_path / "figures", "test", [wrong])
