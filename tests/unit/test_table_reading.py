"""Some columns and rows of a table: those of the whole table, verified where they are read."""

import operator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.errors import UserError
from llm_anatomy.tables import core
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.row_groups import COLUMNS_KEY, CONTENT_KEY

WORDS = core.TableSchema(
    name="test/words",
    path="results/{model}/words.parquet",
    rule="make_words",
    description="A word.",
    columns=(
        core.Column("layer", pa.int16(), "Layer."),
        core.Column("word", pa.string(), "Word.", nullable=True),
        core.Column("score", pa.float64(), "Score.", nullable=True),
        core.Column("right", pa.bool_(), "Whether it is right.", nullable=True),
        core.Column("answers", pa.list_(pa.string()), "Answers."),
        core.Column("score.l{layer}", pa.float32(), "Score.", pattern=r"score\.l\d+"),
    ),
)
NAMES = ["layer", "word", "score", "right", "answers", "score.l0"]
GROUP = 5
COMPARISONS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, values: value in values,
}
FLOATS = st.floats(-3, 3, allow_nan=False, width=32)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "layer": st.integers(0, 3),
            "word": st.none() | st.sampled_from(["a", "b", "ab", ""]),
            "score": st.none() | FLOATS,
            "right": st.none() | st.booleans(),
            "answers": st.lists(st.sampled_from(["x", "y"]), max_size=2),
            "score.l0": FLOATS,
        }
    ),
    max_size=3 * GROUP,
)
CONDITIONS = st.one_of(
    st.tuples(st.just("layer"), st.sampled_from(["=", "!="]), st.integers(0, 3)),
    st.tuples(st.just("layer"), st.sampled_from(["<", "<=", ">", ">="]), st.integers(0, 3)),
    st.tuples(st.just("layer"), st.just("in"), st.lists(st.integers(0, 3), max_size=2)),
    st.tuples(st.just("word"), st.sampled_from(["=", "!=", "<"]), st.sampled_from(["a", "ab"])),
    st.tuples(st.just("word"), st.just("in"), st.lists(st.sampled_from(["a", ""]), max_size=2)),
    st.tuples(st.just("score"), st.sampled_from(["=", ">", "<="]), FLOATS),
    st.tuples(st.just("right"), st.just("="), st.booleans()),
)


def _write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "results/m/words.parquet"
    columns = {name: [row[name] for row in rows] for name in NAMES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "ROW_GROUP_ROWS", GROUP)
        core.write_table(path, WORDS, columns, {"seed": 1})
    return path


def _some_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "layer": i // GROUP,
            "word": f"w{i}",
            "score": i / 7,
            "right": i % 2 == 0,
            "answers": [f"a{i}"],
            "score.l0": float(i),
        }
        for i in range(count)
    ]


def _fulfils(row: dict[str, Any], condition: tuple[str, str, Any]) -> bool:
    name, comparison, value = condition
    return row[name] is not None and COMPARISONS[comparison](row[name], value)


@settings(max_examples=150, deadline=None)
@given(
    rows=ROWS,
    columns=st.none() | st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
    where=st.lists(CONDITIONS, max_size=3),
)
def test_any_part_is_that_of_the_whole_table(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    columns: list[str] | None,
    where: list[tuple[str, str, Any]],
) -> None:
    path = _write(tmp_path_factory.mktemp("part"), rows)
    whole = core.read_arrow(path, WORDS)
    assert whole.to_pylist() == rows
    chosen = [row for row in rows if all(_fulfils(row, condition) for condition in where)]
    part = core.read_arrow(path, WORDS, columns, where)
    names = columns or NAMES
    assert part.to_pylist() == [{name: row[name] for name in names} for row in chosen]
    assert part.schema.equals(whole.select(names).schema)
    frame = core.read_table(path, WORDS, columns, where)
    assert list(frame.columns) == names
    assert len(frame) == len(chosen)
    pd.testing.assert_frame_equal(
        Collection([path], [WORDS]).frame(WORDS, columns, where, model="m"), frame
    )


def _damaged_copy(path: Path, column: str, group: int) -> Path:
    """The table with one value changed in one column and group, whatever its pages say."""
    file = pq.ParquetFile(path)
    other = path.parent / "damaged" / "results/m/words.parquet"
    other.parent.mkdir(parents=True, exist_ok=True)
    keys = (COLUMNS_KEY, CONTENT_KEY)
    metadata = dict(file.schema_arrow.metadata)
    added = {key: file.metadata.metadata[key] for key in keys}
    with pq.ParquetWriter(other, file.schema_arrow.with_metadata(metadata)) as writer:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number).replace_schema_metadata(metadata)
            if number == group:
                values = table.column(column).to_pylist()
                changed = {bool: not values[-1], str: "other", list: ["other"]}
                values[-1] = changed.get(type(values[-1]), 99)
                place, field = table.column_names.index(column), table.schema.field(column)
                table = table.set_column(place, field, pa.array(values, field.type))
            writer.write_table(table)
        writer.add_key_value_metadata(added)
    return other


@pytest.mark.parametrize("column", NAMES)
@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_changed_value_is_found_exactly_where_it_is_read(
    tmp_path: Path, column: str, group: int
) -> None:
    path = _write(tmp_path, _some_rows(2 * GROUP + 4))
    damaged = _damaged_copy(path, column, group)
    sentence = r"words.parquet is damaged \(its content does not match its recorded hash\); it is "
    sentence += "made by the rule make_words; remake it with: snakemake"
    others = [name for name in NAMES if name != column]
    with pytest.raises(UserError, match=sentence):
        core.read_arrow(damaged, WORDS)
    with pytest.raises(UserError, match=sentence):
        core.read_table(damaged, WORDS, [column])
    if column != "answers":
        with pytest.raises(UserError, match=sentence):
            core.read_table(damaged, WORDS, others, [(column, "=", None)])
    assert core.read_arrow(damaged, WORDS, others).equals(core.read_arrow(path, WORDS, others))
    if column == "layer":
        return  # rows are chosen by it
    for layer in range(3):
        where = [("layer", "=", layer)]
        if layer == group:
            with pytest.raises(UserError, match=sentence):
                core.read_arrow(damaged, WORDS, where=where)
        else:
            found = core.read_arrow(damaged, WORDS, where=where)
            assert found.equals(core.read_arrow(path, WORDS, where=where))


def test_flipped_bits_never_give_another_number(tmp_path: Path) -> None:
    path = _write(tmp_path, _some_rows(3 * GROUP))
    questions = [
        (None, []),
        (["score"], []),
        (["word"], [("layer", "=", 1)]),
        (["answers", "right"], [("score", ">", 1.0)]),
    ]
    expected = [core.read_arrow(path, WORDS, *question) for question in questions]
    intact, draw = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        content = bytearray(intact)
        bit = int(draw.integers(8 * len(content)))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        for question, right in zip(questions, expected, strict=True):
            try:
                found = core.read_arrow(path, WORDS, *question)
            except UserError:
                refused += 1
            else:
                assert found.equals(right, check_metadata=True)
    assert refused > 400


def test_what_the_table_does_not_have_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, _some_rows(2))
    with pytest.raises(ValueError, match="the table test/words has no column 'nope'"):
        core.read_arrow(path, WORDS, ["nope"])
    with pytest.raises(ValueError, match="no column 'nope' to choose rows by"):
        core.read_arrow(path, WORDS, where=[("nope", "=", 1)])
    with pytest.raises(ValueError, match="'~' is no comparison of columns; known are =, !=, <"):
        core.read_arrow(path, WORDS, where=[("layer", "~", 1)])
    with pytest.raises(ValueError, match="the column 'layer' cannot be 'three'"):
        core.read_arrow(path, WORDS, where=[("layer", "=", "three")])


def test_nothing_else_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path, _some_rows(3 * GROUP))
    asked = []
    read = pq.ParquetFile.read_row_group

    def note(file: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
        asked.append((group, columns))
        return read(file, group, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", note)
    core.read_table(path, WORDS, ["layer", "score"], [("layer", "=", 1)])
    assert asked == [(0, ["layer"]), (1, ["layer"]), (1, ["score"]), (2, ["layer"])]
