"""The hash of a table's content depends on its values alone, not on how it is cut into batches."""

import hashlib

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.tables.content_hash import column_sha256, content_sha256

VALUES = st.lists(st.none() | st.text(max_size=6), max_size=12)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.text(max_size=5),
            "number": st.none() | st.floats(width=32, allow_nan=False),
            "flag": st.none() | st.booleans(),
            "list": st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
        }
    ),
    max_size=10,
)
SCHEMA = pa.schema(
    {"text": pa.string(), "number": pa.float32(), "flag": pa.bool_(), "list": pa.list_(pa.string())}
)


def slow_sha256(values: list[str | None]) -> str:
    """A column of strings, written out: places of nulls, lengths in bytes, then the bytes."""
    encoded = [value.encode() if value is not None else b"" for value in values]
    parts = (
        [place.to_bytes(8, "little") for place, value in enumerate(values) if value is None],
        [len(value).to_bytes(8, "little") for value in encoded],
        encoded,
    )
    digest = hashlib.sha256(f"{len(values)};".encode())
    for part in parts:
        digest.update(hashlib.sha256(b"".join(part)).digest())
    return digest.hexdigest()


def table_sha256(table: pa.Table, metadata: dict[bytes, bytes] | None = None) -> str:
    """The hash of a table of one row group."""
    columns = {name: [column_sha256(table.column(name))] for name in table.column_names}
    return content_sha256(table.schema, len(table), columns, metadata or {})


@settings(max_examples=80, deadline=None)
@given(values=VALUES, cut=st.integers(0, 12))
def test_strings_hash_as_defined_whole_and_sliced(values: list[str | None], cut: int) -> None:
    table = pa.table({"x": pa.array(values, pa.string())})
    assert column_sha256(table.column("x")) == slow_sha256(values)
    assert column_sha256(table.slice(cut).column("x")) == slow_sha256(values[cut:])
    expected = hashlib.sha256(f"x:string:{len(values)};{slow_sha256(values)}".encode())
    assert table_sha256(table) == expected.hexdigest()


@settings(max_examples=80, deadline=None)
@given(rows=ROWS, cut=st.integers(0, 10))
def test_batches_do_not_matter(rows: list[dict[str, object]], cut: int) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    batched = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    assert table_sha256(batched) == table_sha256(table)


@settings(max_examples=80, deadline=None)
@given(rows=ROWS, others=ROWS)
def test_other_values_have_another_hash(
    rows: list[dict[str, object]], others: list[dict[str, object]]
) -> None:
    first, second = (pa.Table.from_pylist(each, SCHEMA) for each in (rows, others))
    # Zero and minus zero are equal and differ in their bits.
    assert first.equals(second) >= (table_sha256(first) == table_sha256(second))


def test_metadata_names_and_types_count() -> None:
    table = pa.table({"x": pa.array([1, 2], pa.int32())})
    others = [
        table_sha256(table, {b"a": b"b"}),
        table_sha256(table.rename_columns(["y"])),
        table_sha256(table.cast(pa.schema({"x": pa.int64()}))),
    ]
    assert len({table_sha256(table), *others}) == 4
