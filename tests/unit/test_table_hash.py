"""The hash of a table's content reads strings where they lie and equals its slow definition."""

import hashlib

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.tables.core import content_sha256

VALUES = st.lists(st.none() | st.text(max_size=6), max_size=12)


def slow_sha256(values: list[str | None]) -> str:
    """One string column `x`, written out: lengths in bytes, then the bytes."""
    encoded = [value.encode() if value is not None else b"" for value in values]
    digest = hashlib.sha256(f"x:string:{len(values)};".encode())
    if None in values:
        digest.update(bytes(value is None for value in values))
    digest.update(",".join(str(len(value)) for value in encoded).encode())
    digest.update(b"".join(encoded))
    return digest.hexdigest()


@settings(max_examples=80, deadline=None)
@given(values=VALUES, cut=st.integers(0, 12))
def test_strings_hash_as_defined_whole_sliced_and_in_chunks(
    values: list[str | None], cut: int
) -> None:
    whole = pa.array(values, pa.string())
    table = pa.table({"x": whole})
    assert content_sha256(table) == slow_sha256(values)
    assert content_sha256(table.slice(cut)) == slow_sha256(values[cut:])
    chunks = pa.chunked_array([whole.slice(0, cut), whole.slice(cut)], pa.string())
    assert content_sha256(pa.table({"x": chunks})) == slow_sha256(values)
