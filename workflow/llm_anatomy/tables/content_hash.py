"""A hash over a table's content, taken batch by batch: where the batches end does not matter.

H(table) = sha256(metadata, then of each column: name, type, rows, H(nulls), H(lengths), H(values))
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class ContentHash:
    """The hash of a table that is seen in batches of rows.

    Args:
        schema: Names and types of its columns.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = [(field, _ColumnHash(field.type)) for field in schema]

    def update(self, table: pa.Table) -> None:
        """Take in the next rows."""
        for (_, content), column in zip(self._columns, table.columns, strict=True):
            for chunk in column.chunks:
                content.update(chunk)

    def hexdigest(self, metadata: Mapping[bytes, bytes]) -> str:
        """The hash of all rows so far, with the table's metadata."""
        digest = hashlib.sha256()
        for key, value in sorted(metadata.items()):
            digest.update(b"%d:%s=%d:%s;" % (len(key), key, len(value), value))
        for field, content in self._columns:
            digest.update(f"{field.name}:{_type_name(field.type)}:{content.rows};".encode())
            digest.update(content.digest())
        return digest.hexdigest()


def content_sha256(table: pa.Table) -> str:
    """Hash of a table's column names, types, values and metadata."""
    content = ContentHash(table.schema)
    content.update(table)
    return content.hexdigest(table.schema.metadata or {})


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
