"""A hash over a table's content, made of one hash for every column of every row group.

H(column of a group) = sha256(rows, H(nulls), H(lengths), H(values)): what is read of a table can be
verified without the rest. H(table) = sha256(metadata, then of each column: name, type, rows, its
hashes): the groups' hashes can be trusted when the table's is right.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def column_sha256(column: pa.ChunkedArray) -> str:
    """Hash of a column's values, or of its part in one row group; its chunks do not matter."""
    content = _ColumnHash(column.type)
    for chunk in column.chunks:
        content.update(chunk)
    return hashlib.sha256(f"{content.rows};".encode() + content.digest()).hexdigest()


def content_sha256(
    schema: pa.Schema,
    rows: int,
    columns: Mapping[str, Sequence[str]],
    metadata: Mapping[bytes, bytes],
) -> str:
    """Hash of a table: its columns' names, types and values, and its metadata.

    Args:
        schema: Names and types of the columns.
        rows: Rows of the table.
        columns: Of each column `column_sha256` of every row group.
        metadata: The table's metadata, but for hashes.
    """
    digest = hashlib.sha256()
    for key, value in sorted(metadata.items()):
        digest.update(b"%d:%s=%d:%s;" % (len(key), key, len(value), value))
    for field in schema:
        digest.update(f"{field.name}:{_type_name(field.type)}:{rows};".encode())
        digest.update("".join(columns[field.name]).encode())
    return digest.hexdigest()


class _ColumnHash:
    """One column: which rows are null, lengths of texts and lists, and the values themselves."""

    def __init__(self, kind: pa.DataType) -> None:
        self.rows = 0
        self._nulls, self._lengths, self._values = (hashlib.sha256() for _ in range(3))
        self._items = _ColumnHash(kind.value_type) if pa.types.is_list(kind) else None

    def update(self, array: pa.Array) -> None:
        if array.null_count:
            places = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)) + self.rows
            self._nulls.update(places.astype("<i8").tobytes())
        self.rows += len(array)
        kind = array.type
        if self._items is not None:
            self._feed_lengths(array.value_lengths())
            self._items.update(array.flatten())
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            texts = array.fill_null("") if array.null_count else array
            # Lengths too, so that ("ab", "c") and ("a", "bc") differ.
            self._feed_lengths(pc.binary_length(texts))
            self._values.update(_characters(texts))
        else:
            fill = False if pa.types.is_boolean(kind) else 0
            values = array.fill_null(fill) if array.null_count else array
            self._values.update(values.to_numpy(zero_copy_only=False).tobytes())

    def digest(self) -> bytes:
        items = b"" if self._items is None else self._items.digest()
        parts = (self._nulls, self._lengths, self._values)
        return b"".join(part.digest() for part in parts) + items

    def _feed_lengths(self, lengths: pa.Array) -> None:
        filled = lengths.fill_null(-1).to_numpy(zero_copy_only=False)
        self._lengths.update(filled.astype("<i8").tobytes())


def _type_name(kind: pa.DataType) -> str:
    """A type's name; Parquet renames the inner field of lists, so it is left out."""
    return f"list<{_type_name(kind.value_type)}>" if pa.types.is_list(kind) else str(kind)


def _characters(texts: pa.Array) -> memoryview:
    """The UTF-8 bytes of a string array, one value behind the other, as they lie in memory."""
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return memoryview(b"")
    width = "<i8" if pa.types.is_large_string(texts.type) else "<i4"
    bounds = np.frombuffer(offsets, dtype=width)
    return memoryview(data)[int(bounds[texts.offset]) : int(bounds[texts.offset + len(texts)])]
