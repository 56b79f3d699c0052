"""Hand-made tables of the studies: what a test does not name is neutral."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import TableSchema, write_table

Rows = list[dict[str, Any]]


class Made(NamedTuple):
    """One file: its schema, its rows, and whose it is."""

    schema: TableSchema
    rows: Rows
    owner: dict[str, str]


def neutral(type_: pa.DataType) -> Any:
    if pa.types.is_boolean(type_):
        return False
    if pa.types.is_list(type_):
        return []
    return "" if pa.types.is_string(type_) else 0


def filled(schema: TableSchema, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows with the schema's other columns: missing where that is allowed, else neutral."""
    rows = list(rows)
    other = {
        column.name: None if column.nullable else neutral(column.type)
        for column in schema.columns
        if column.pattern is None
    }
    family = [name for name in (rows[0] if rows else {}) if name not in other]
    return pd.DataFrame([other | dict(row) for row in rows], columns=[*other, *family])


def collection(folder: Path, made: Iterable[Made]) -> Collection:
    """The tables, written where they lie in a run."""
    paths, schemas = [], set()
    for schema, rows, owner in made:
        path = folder / schema.path.format_map(owner)
        write_table(path, schema, filled(schema, rows), {})
        paths.append(path)
        schemas.add(schema)
    return Collection(paths, schemas)


def grid(**columns: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Rows of columns that are as long as each other."""
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))
