"""Tables as the report shows them: read again from Parquet, never retyped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llm_anatomy.artefacts.results import result_name
from llm_anatomy.errors import UserError
from llm_anatomy.figures.exhibit import Beside, Exhibit
from llm_anatomy.report.cells import Cell, column_kind, format_cell
from llm_anatomy.tables.core import (
    TABLE_KEY,
    TableSchema,
    read_arrow,
    read_content_sha256,
    read_provenance,
)

MAX_ROWS = 40


@dataclass(frozen=True)
class Heading:
    """One column's heading, with what its schema says about it."""

    name: str
    unit: str
    meaning: str
    kind: str


@dataclass(frozen=True)
class ShownTable:
    """The part of a table that the report shows.

    Attributes:
        source: Name of the Parquet file.
        load: A pandas expression that loads exactly what is shown.
        headings: One per shown column.
        rows: Formatted cells.
        n_rows: Rows in the file.
    """

    source: str
    load: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    n_rows: int

    @property
    def marked(self) -> bool:
        """Whether a cell shows whitespace by a mark, which then needs explaining."""
        return any(cell.marked for row in self.rows for cell in row)


@dataclass(frozen=True)
class TableRecord:
    """Where the numbers of a table come from.

    Attributes:
        source: Name of the Parquet file.
        rule: Rule that makes it.
        n_rows: Rows in the file.
        content_sha256: Hash over its columns, values and metadata.
        provenance: What was recorded with it.
    """

    source: str
    rule: str
    n_rows: int
    content_sha256: str
    provenance: dict[str, Any]


class TableReader:
    """Reads what is shown of declared tables, and checks that they are those of the figures."""

    def __init__(self, schemas: Mapping[str, TableSchema]) -> None:
        self._schemas = schemas
        self._records: dict[str, TableRecord] = {}

    @property
    def records(self) -> list[TableRecord]:
        """Every table that was shown or named so far, by name."""
        return [self._records[source] for source in sorted(self._records)]

    def show(self, exhibit: Exhibit, content_sha256: Mapping[str, str]) -> ShownTable | None:
        """Read the rows and columns that an exhibit names.

        Args:
            exhibit: Something to show.
            content_sha256: Hashes of tables' contents when the exhibit was made, by name.

        Returns:
            What to show; nothing when the exhibit has no table.

        Raises:
            UserError: The table is missing, damaged, undeclared, or no longer the one that the
                exhibit was made from.
        """
        if exhibit.table is None:
            return None
        for table in exhibit.tables:
            record = self.record(table)
            if record.content_sha256 != content_sha256.get(record.source):
                raise UserError(
                    f"{table} has changed since the figures were made from it; run the same "
                    "command again so that they are made anew"
                )
        record = self.record(exhibit.table)
        if exhibit.rows == ():
            load = _load_expression(record.source, exhibit.columns, None, record.n_rows)
            return ShownTable(record.source, load, (), (), record.n_rows)
        shown = self._part(exhibit.table, exhibit.columns, exhibit.rows)
        return shown if exhibit.beside is None else self._joined(shown, exhibit.beside)

    def record(self, path: Path) -> TableRecord:
        """Where the numbers of a table come from.

        Raises:
            UserError: The file is missing or is not a table of this workflow.
        """
        source = result_name(path)
        if source not in self._records:
            schema, file = self._schema(path), pq.ParquetFile(path)
            self._records[source] = TableRecord(
                source=source,
                rule=schema.rule,
                n_rows=file.metadata.num_rows,
                content_sha256=read_content_sha256(path),
                provenance=read_provenance(path),
            )
        return self._records[source]

    def _part(
        self,
        path: Path,
        columns: Sequence[str],
        rows: Sequence[int] | None,
        whole: bool = False,
    ) -> ShownTable:
        source, schema = result_name(path), self._schema(path)
        stored = pq.read_schema(path).names
        names = list(columns) or stored
        table = read_arrow(path, schema, names)
        by_name = dict(zip(stored, schema.declare(stored, str(path)), strict=True))
        most = table.num_rows if whole else min(table.num_rows, MAX_ROWS)
        positions = range(most) if rows is None else rows
        part = table.take(pa.array(list(positions), type=pa.int64()))
        return ShownTable(
            source=source,
            load=_load_expression(source, columns, positions, table.num_rows),
            headings=tuple(
                Heading(
                    name,
                    by_name[name].unit,
                    by_name[name].meaning,
                    column_kind(part.schema.field(name).type),
                )
                for name in names
            ),
            rows=tuple(
                tuple(format_cell(value) for value in row)
                for row in zip(*(part.column(name).to_pylist() for name in names), strict=True)
            ),
            n_rows=table.num_rows,
        )

    def _joined(self, shown: ShownTable, beside: Beside) -> ShownTable:
        """Rows with what another table says of them, as `merge` in the expression gives it."""
        other = self._part(beside.table, (beside.key, *beside.columns), None, whole=True)
        by_key = {row[0].text: row[1:] for row in other.rows}
        place = [heading.name for heading in shown.headings].index(beside.key)
        missing = tuple(format_cell(None) for _ in beside.columns)
        return replace(
            shown,
            load=f'{shown.load}.merge({other.load}, on="{beside.key}", how="left")',
            headings=shown.headings + other.headings[1:],
            rows=tuple((*row, *by_key.get(row[place].text, missing)) for row in shown.rows),
        )

    def read(self, path: Path) -> pa.Table:
        """The whole table, verified.

        Raises:
            UserError: The file is missing or damaged.
        """
        return read_arrow(path, self._schema(path))

    def _schema(self, path: Path) -> TableSchema:
        try:
            metadata = pq.read_schema(path).metadata or {}
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(
                f"{path} is missing or damaged ({' '.join(str(error).split())}); run the same "
                "command again, with --forcerun and the rule that makes it if that does not help"
            ) from error
        name = metadata.get(TABLE_KEY, b"").decode(errors="replace")
        if name not in self._schemas:
            raise UserError(f"{path} is not a table of this workflow; remove it and run again")
        return self._schemas[name]


def _load_expression(
    source: str, columns: Sequence[str], positions: Sequence[int] | None, n_rows: int
) -> str:
    """The pandas expression that loads these columns and rows."""
    text = f'pandas.read_parquet("{source}")'
    if columns:
        text += "[[" + ", ".join(f'"{name}"' for name in columns) + "]]"
    if positions is None or list(positions) == list(range(n_rows)):
        return text
    places = list(positions)
    if places == list(range(places[0], places[0] + len(places))):
        return f"{text}.iloc[{places[0]}:{places[-1] + 1}]"
    return f"{text}.iloc[{places}]"
