"""What the columns of a table mean, as text for a terminal."""

import difflib
import textwrap
from pathlib import Path

import pyarrow.parquet as pq

from llm_anatomy.errors import UserError
from llm_anatomy.tables.core import TABLE_KEY, TableSchema, read_provenance
from llm_anatomy.tables.registry import ALL_TABLES

WIDTH = 100
# What of a file's provenance says where its numbers come from at a glance.
SHOWN = ("model", "revision", "dtype", "seed")


def list_tables() -> str:
    """Every table with what one row is."""
    width = max(map(len, ALL_TABLES))
    return "\n".join(
        textwrap.fill(
            schema.description,
            WIDTH,
            initial_indent=f"{name:<{width}}  ",
            subsequent_indent=" " * (width + 2),
        )
        for name, schema in sorted(ALL_TABLES.items())
    )


def explain_table(name: str) -> str:
    """A table's place, rule and columns; of a file also its rows and where its numbers come from.

    Args:
        name: A table's name (`facts/layer_importance`), its last part, or a Parquet file.

    Raises:
        UserError: There is no such table or file, or the file is none of this project's.
    """
    path = Path(name)
    if path.suffix != ".parquet":
        return "\n\n".join(map(_described, _schemas_called(name)))
    schema, rows = _schema_of(path)
    provenance = read_provenance(path)
    known = ", ".join(f"{key} {provenance[key]}" for key in SHOWN if key in provenance)
    return f"{path}: {rows} rows{f'; {known}' if known else ''}\n\n{_described(schema)}"


def _schemas_called(name: str) -> list[TableSchema]:
    if name in ALL_TABLES:
        return [ALL_TABLES[name]]
    found = [schema for full, schema in ALL_TABLES.items() if full.rpartition("/")[2] == name]
    if not found:
        parts = {part for full in ALL_TABLES for part in (full, full.rpartition("/")[2])}
        close = difflib.get_close_matches(name, sorted(parts), n=1)
        hint = f"did you mean '{close[0]}'?" if close else "all tables: llm-anatomy explain"
        raise UserError(f"there is no table '{name}'; {hint}")
    return found


def _schema_of(path: Path) -> tuple[TableSchema, int]:
    if not path.is_file():
        raise UserError(f"there is no file {path}; all tables: llm-anatomy explain")
    try:
        metadata = pq.read_metadata(path)
        name = (metadata.metadata or {}).get(TABLE_KEY, b"").decode(errors="replace")
    except Exception as error:  # pyarrow raises a dozen types for damaged bytes
        raise UserError(f"{path} is no Parquet file that can be read ({error})") from error
    if name not in ALL_TABLES:
        raise UserError(f"{path} is no table of LLM Anatomy; all tables: llm-anatomy explain")
    return ALL_TABLES[name], metadata.num_rows


def _described(schema: TableSchema) -> str:
    lines = [schema.name, *textwrap.wrap(f"One row: {schema.description}", WIDTH)]
    lines += [f"File: {schema.path}", f"Made by the rule {schema.rule}.", ""]
    width = max(len(column.name) for column in schema.columns)
    for column in schema.columns:
        unit = f" [{column.unit}]" if column.unit else ""
        missing = "; may be missing" if column.nullable else ""
        lines.append(
            textwrap.fill(
                f"{column.meaning}{unit} ({column.type}{missing})",
                WIDTH,
                initial_indent=f"  {column.name:<{width}}  ",
                subsequent_indent=" " * (width + 4),
            )
        )
    return "\n".join(lines)
