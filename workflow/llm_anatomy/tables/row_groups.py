"""Reading the columns and rows of a Parquet file that are asked for, and verifying just those."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llm_anatomy.tables.content_hash import column_sha256, content_sha256

CONTENT_KEY = b"llm_anatomy.content_sha256"
# Of each column the hash of its part in every row group, as JSON.
COLUMNS_KEY = b"llm_anatomy.column_sha256"

# Where pyarrow keeps the schema.
_ARROW_KEY = b"ARROW:schema"

# A column, a comparison and a value.
Condition: TypeAlias = tuple[str, str, Any]

_COMPARISONS: Mapping[str, Callable[[pa.ChunkedArray, Any], pa.ChunkedArray]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
    "in": lambda column, values: pc.is_in(column, value_set=values),
}


class RowGroups:
    """The row groups of an open file.

    Args:
        file: The file, opened with page checksums.

    Raises:
        ValueError: What the file says of itself does not match its hash.
    """

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        # The file's own metadata: hashes are known, and added, only after the schema is written.
        metadata = dict(file.metadata.metadata or {})
        metadata.pop(_ARROW_KEY, None)
        expected = metadata.pop(CONTENT_KEY, b"").decode(errors="replace")
        hashes = metadata.pop(COLUMNS_KEY, b"{}")
        self._hashes: dict[str, list[str]] = json.loads(hashes)
        rows = file.metadata.num_rows
        if content_sha256(file.schema_arrow, rows, self._hashes, metadata) != expected:
            raise ValueError("its content does not match its recorded hash")
        # With the metadata that the hash covers: pyarrow keeps, and would give, a second copy.
        self.schema = file.schema_arrow.with_metadata(metadata)

    def read(self, columns: Sequence[str], where: Sequence[Condition]) -> pa.Table:
        """Some columns of the rows for which every condition holds, group by group.

        Columns of conditions are read first; where no row of a group is left, nothing else is.

        Raises:
            ValueError: Something that was read does not match its hash.
        """
        parts = [self._part(group, columns, where) for group in range(self.count)]
        empty = self.schema.empty_table().select(list(columns))
        return pa.concat_tables(parts) if parts else empty

    @property
    def count(self) -> int:
        """How many row groups there are."""
        return int(self._file.num_row_groups)

    def piece(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of all rows of one row group.

        Raises:
            ValueError: Something that was read does not match its hash.
        """
        return self._part(group, columns, ())

    def _part(self, group: int, columns: Sequence[str], where: Sequence[Condition]) -> pa.Table:
        conditions = self._verified(group, list(dict.fromkeys(name for name, _, _ in where)))
        mask: pa.ChunkedArray | None = None
        for name, comparison, value in where:
            holds = _COMPARISONS[comparison](conditions.column(name), value)
            mask = holds if mask is None else pc.and_(mask, holds)
        if mask is not None and not pc.any(mask).as_py():
            return self.schema.empty_table().select(list(columns))
        others = self._verified(group, [c for c in columns if c not in conditions.column_names])
        arrays = [
            (conditions if name in conditions.column_names else others).column(name)
            for name in columns
        ]
        fields = [self.schema.field(name) for name in columns]
        table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, self.schema.metadata))
        return table if mask is None else table.filter(mask)

    def _verified(self, group: int, columns: list[str]) -> pa.Table:
        # A name selects nested columns below it, too.
        table = self._file.read_row_group(group, columns=columns).select(columns)
        for name in columns:
            if column_sha256(table.column(name)) != self._hashes[name][group]:
                raise ValueError("its content does not match its recorded hash")
        return table


def checked_conditions(schema: pa.Schema, where: Sequence[Condition]) -> list[Condition]:
    """Conditions whose values have the types of their columns.

    Raises:
        ValueError: An unknown column or comparison, or a value of another type.
    """
    checked = []
    for name, comparison, value in where:
        if comparison not in _COMPARISONS:
            known = ", ".join(_COMPARISONS)
            raise ValueError(f"'{comparison}' is no comparison of columns; known are {known}")
        if name not in schema.names:
            raise ValueError(f"there is no column '{name}' to choose rows by")
        kind = schema.field(name).type
        try:
            typed = pa.array(value, kind) if comparison == "in" else pa.scalar(value, kind)
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise ValueError(f"the column '{name}' cannot be {value!r}: {error}") from error
        checked.append((name, comparison, typed))
    return checked
