"""Typed Parquet tables: declared schemas, atomic checksummed writes, checked reads.

Every table of the workflow is declared as a `TableSchema`. Writing goes to a temporary name in the
same folder, is flushed to disk and renamed; reading verifies page checksums, the declared columns
and a hash over the whole content, so a damaged or foreign file is an error and never a number.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from llm_anatomy.artefacts.files import atomic_path as atomic_path
from llm_anatomy.artefacts.remake import remake_command
from llm_anatomy.artefacts.results import result_name
from llm_anatomy.artefacts.shortage import shortage_of
from llm_anatomy.errors import UserError
from llm_anatomy.tables.content_hash import column_sha256, content_sha256
from llm_anatomy.tables.row_groups import (
    COLUMNS_KEY,
    CONTENT_KEY,
    Condition,
    RowGroups,
    checked_conditions,
)

PROVENANCE_KEY = b"llm_anatomy.provenance"
TABLE_KEY = b"llm_anatomy.table"
ROW_GROUP_ROWS = 1 << 17

Data: TypeAlias = pd.DataFrame | pa.Table | Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: The column's name, or with `pattern` a readable form of it such as `l{layer}_f{n}`.
        type: Arrow type of the stored values.
        meaning: What a value says, in words.
        unit: Unit of the value; empty for names, flags and counts.
        nullable: Whether a value may be missing.
        pattern: Regular expression for a family of columns that share this declaration.
    """

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""
    nullable: bool = False
    pattern: str | None = None

    def matches(self, name: str) -> bool:
        """Whether a stored column of this name falls under this declaration."""
        return name == self.name if self.pattern is None else bool(re.fullmatch(self.pattern, name))


@dataclass(frozen=True)
class TableSchema:
    """A table that the workflow writes.

    Attributes:
        name: Unique name, recorded inside every file, `study/table`.
        path: Where the file lies, with wildcards in braces.
        rule: The Snakemake rule that makes it; may hold wildcards of the path.
        description: What one row is.
        columns: The declared columns, in order.
    """

    name: str
    path: str
    rule: str
    description: str
    columns: tuple[Column, ...]

    @property
    def wildcards(self) -> tuple[str, ...]:
        """The wildcards of its path, in order: what tells its files apart."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))

    def owner(self, path: Path) -> dict[str, str] | None:
        """The wildcards that the path of one file of this table names; nothing for another path.

        Raises:
            UserError: The path can be read in two ways, such as `a-to-b-to-c` by `{x}-to-{y}`.
        """
        first, second = self._read(path, "[^/]+"), self._read(path, "[^/]+?")
        if first != second:
            raise UserError(
                f"{path} can be read in two ways as {self.path}: as {first} and as {second}; give "
                "the configuration's entries other names"
            )
        return first

    def rule_of(self, path: Path) -> str:
        """The rule that makes one file of this table, with the wildcards that its path names."""
        values = self._read(path, "[^/]+")
        return self.rule if values is None else self.rule.format_map(values)

    def _read(self, path: Path, wildcard: str) -> dict[str, str] | None:
        pattern = re.sub(r"\\{(\w+)\\}", rf"(?P<\1>{wildcard})", re.escape(self.path))
        match = re.search(rf"(?:^|/){pattern}$", result_name(path))
        return None if match is None else match.groupdict()

    def frame(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Rows as a frame of the declared columns, in their order; without rows an empty one."""
        names = [column.name for column in self.columns if column.pattern is None]
        return pd.DataFrame(list(rows), columns=names)

    def declare(self, names: Sequence[str], source: str) -> list[Column]:
        """Match stored column names against the declaration, in order.

        Raises:
            ValueError: A column is missing, unknown or out of order; the sentence names it.
        """
        found = []
        for name in names:
            column = next((c for c in self.columns if c.matches(name)), None)
            if column is None:
                raise ValueError(f"{source} has the undeclared column '{name}'")
            found.append(column)
        for column in self.columns:
            if column.pattern is None and column.name not in names:
                raise ValueError(f"{source} lacks the column '{column.name}'")
        return found


def write_table(
    path: Path,
    schema: TableSchema,
    data: Data,
    provenance: Mapping[str, Any],
) -> None:
    """Write a table atomically, with page checksums and a hash of its content.

    The bytes depend only on the arguments: no time, host or path is stored.

    Args:
        path: Target file; its folder is made when missing.
        schema: The declaration; columns are cast to the declared types.
        data: Columns by name.
        provenance: What the numbers depend on (settings hash, model, weights, seed, versions).

    Raises:
        ValueError: A column is missing, undeclared, of another type, or null where not allowed.
    """
    with open_table(path, schema, provenance) as table:
        table.write(data)


@contextmanager
def open_table(
    path: Path, schema: TableSchema, provenance: Mapping[str, Any]
) -> Iterator["TableWriter"]:
    """Write a table as `write_table` does, but in pieces, which do not stay in memory.

    The file appears when the block is left without an error, and its bytes do not show in which
    pieces its rows came. Without any piece the table is empty.
    """
    with atomic_path(path) as temporary, TableWriter(temporary, schema, provenance) as writer:
        yield writer


class TableWriter:
    """Writes a table piece by piece; `open_table` makes one."""

    def __init__(self, file: Path, schema: TableSchema, provenance: Mapping[str, Any]) -> None:
        self._path, self._schema = file, schema
        self._metadata = {
            TABLE_KEY: schema.name.encode(),
            PROVENANCE_KEY: json.dumps(provenance, sort_keys=True, ensure_ascii=False).encode(),
        }
        self._file: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> "TableWriter":
        return self

    def write(self, data: Data) -> None:
        """Append rows: columns by name, cast to the declared types."""
        table = _cast(self._schema, data).replace_schema_metadata(self._metadata)
        if self._file is None:
            self._file = pq.ParquetWriter(
                self._path, table.schema, compression="zstd", write_page_checksum=True
            )
            self._columns: dict[str, list[str]] = {name: [] for name in table.column_names}
        self._waiting.append(table)
        if sum(map(len, self._waiting)) >= ROW_GROUP_ROWS:
            self._write_groups(last=False)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is None and kind is None:
            self.write({column.name: [] for column in self._schema.columns})
        if self._file is not None:
            with self._file:
                if kind is None:
                    schema = self._waiting[0].schema
                    self._write_groups(last=True)
                    digest = content_sha256(schema, self._rows, self._columns, self._metadata)
                    self._file.add_key_value_metadata(
                        {COLUMNS_KEY: json.dumps(self._columns), CONTENT_KEY: digest}
                    )

    def _write_groups(self, last: bool) -> None:
        """Write what waits, in groups of one size; a smaller one only at the end."""
        assert self._file is not None
        rows = pa.concat_tables(self._waiting).combine_chunks()
        ready = len(rows) if last else len(rows) // ROW_GROUP_ROWS * ROW_GROUP_ROWS
        for start in range(0, ready, ROW_GROUP_ROWS):
            group = rows.slice(start, min(ROW_GROUP_ROWS, ready - start))
            self._file.write_table(group, row_group_size=ROW_GROUP_ROWS)
            for name, hashes in self._columns.items():
                hashes.append(column_sha256(group.column(name)))
        self._rows += ready
        self._waiting = [rows.slice(ready)]


def read_arrow(
    path: Path,
    schema: TableSchema,
    columns: Sequence[str] | None = None,
    where: Sequence[Condition] = (),
) -> pa.Table:
    """Read a table back, or some columns and rows of it; what is read is verified.

    Page checksums and content hashes are kept for every column of every row group, so that nothing
    else is loaded. Rows are chosen by the values of columns, which are read first, and not by the
    statistics in the file, which no hash covers.

    Args:
        path: The file.
        schema: Which table it is.
        columns: Columns to read, in this order; all where none are named.
        where: What holds for the rows to read, such as `("layer", "=", 3)`, `("rank", "<", 5)` or
            `("matrix", "in", ["up", "gate"])`, all of it. A missing value fulfils nothing.

    Raises:
        UserError: The file is missing, damaged, or another table; the sentence names the file, the
            rule that makes it and the command that remakes it.
        ValueError: A column that the table does not have, or an unknown comparison.
    """
    with _opened(path, schema) as (groups, remedy):
        chosen, conditions = _selection(schema, groups, columns, where)
        with _reading(path, remedy):
            return groups.read(chosen, conditions)


def read_pieces(
    path: Path, schema: TableSchema, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The rows of a table in pieces, one row group at a time, verified as by `read_arrow`.

    An empty table gives none.

    Raises:
        UserError, ValueError: As by `read_arrow`.
    """
    with _opened(path, schema) as (groups, remedy):
        chosen, _ = _selection(schema, groups, columns, ())
        for group in range(groups.count):
            with _reading(path, remedy):
                piece = groups.piece(group, chosen)
            yield piece


def stored_columns(path: Path, schema: TableSchema) -> list[str]:
    """Names of a table's columns, in order, without its rows.

    Raises:
        UserError: As by `read_arrow`.
    """
    with _opened(path, schema) as (groups, _):
        return list(groups.schema.names)


@contextmanager
def _opened(path: Path, schema: TableSchema) -> Iterator[tuple[RowGroups, str]]:
    """The row groups of a file that is the table it should be, and what to do when it is not."""
    rule = schema.rule_of(path)
    remedy = f"it is made by the rule {rule}; remake it with: {remake_command(rule, path)}"
    if not path.exists():
        raise UserError(f"{path} is missing; {remedy}")
    with _reading(path, remedy):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        stored = (file.schema_arrow.metadata or {}).get(TABLE_KEY, b"").decode(errors="replace")
        groups = RowGroups(file) if stored == schema.name else None
    with file:
        if groups is None:
            raise UserError(
                f"{path} holds the table '{stored}' where '{schema.name}' belongs; {remedy}"
            )
        try:
            schema.declare(groups.schema.names, str(path))
            _check_types(schema, groups.schema)
        except ValueError as error:
            raise UserError(f"{error}; {remedy}") from error
        yield groups, remedy


def _selection(
    schema: TableSchema,
    groups: RowGroups,
    columns: Sequence[str] | None,
    where: Sequence[Condition],
) -> tuple[list[str], list[Condition]]:
    chosen = groups.schema.names if columns is None else list(columns)
    if missing := sorted(set(chosen) - set(groups.schema.names)):
        raise ValueError(f"the table {schema.name} has no column '{missing[0]}'")
    return list(chosen), checked_conditions(groups.schema, where)


def read_table(
    path: Path,
    schema: TableSchema,
    columns: Sequence[str] | None = None,
    where: Sequence[Condition] = (),
) -> pd.DataFrame:
    """Read a table, or some of it, as a pandas frame; see `read_arrow` for what is verified."""
    frame: pd.DataFrame = read_arrow(path, schema, columns, where).to_pandas()
    return frame


def read_provenance(path: Path) -> dict[str, Any]:
    """The provenance stored in a table's metadata."""
    metadata = pq.read_metadata(path).metadata or {}
    provenance: dict[str, Any] = json.loads(metadata.get(PROVENANCE_KEY, b"{}"))
    return provenance


def read_content_sha256(path: Path) -> str:
    """The content hash stored in a table's metadata; empty in a file of another origin."""
    # The file's own metadata: the hash is known, and added, only after the schema is written.
    metadata = pq.read_metadata(path).metadata or {}
    return str(metadata.get(CONTENT_KEY, b"").decode())


def content_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """The stored content hashes of tables by their names: what other tables were made from."""
    return {result_name(path): read_content_sha256(path) for path in paths}


def _cast(schema: TableSchema, data: Data) -> pa.Table:
    if isinstance(data, pd.DataFrame):
        data = {str(name): data[name] for name in data.columns}
    if isinstance(data, pa.Table):
        data = {name: data.column(name) for name in data.column_names}
    columns = schema.declare(list(data), f"the table {schema.name}")
    arrays, fields = [], []
    for (name, values), column in zip(data.items(), columns, strict=True):
        if isinstance(values, pa.ChunkedArray | pa.Array):
            array = values.cast(column.type)
        else:
            array = pa.array(values, type=column.type, from_pandas=column.nullable)
        if array.null_count and not column.nullable:
            raise ValueError(
                f"the table {schema.name} has {array.null_count} missing values in '{name}'"
            )
        arrays.append(array)
        fields.append(pa.field(name, column.type, nullable=column.nullable))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


@contextmanager
def _reading(path: Path, remedy: str) -> Iterator[None]:
    """Call a file damaged that cannot be read, unless what is short is memory."""
    try:
        yield
    except Exception as error:  # pyarrow raises a dozen types for damaged bytes
        if shortage_of(error):
            raise
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged ({reason}); {remedy}") from error


def _check_types(schema: TableSchema, stored: pa.Schema) -> None:
    for field in stored:
        column = next(c for c in schema.columns if c.matches(field.name))
        if field.type != column.type:
            raise ValueError(
                f"the column '{field.name}' has the type {field.type}, not {column.type}"
            )
