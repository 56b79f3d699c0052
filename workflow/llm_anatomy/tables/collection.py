"""Many tables, asked by what they hold and whose they are.

A table's schema stands in the file, and whose it is in its path: the collection never goes by the
order in which paths are given.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from llm_anatomy.artefacts.remake import remake_command
from llm_anatomy.artefacts.shortage import shortage_of
from llm_anatomy.errors import UserError
from llm_anatomy.tables.core import (
    TABLE_KEY,
    Data,
    TableSchema,
    read_arrow,
    read_provenance,
    read_table,
    write_table,
)
from llm_anatomy.tables.row_groups import Condition

Owner: TypeAlias = dict[str, str]
# One value of a wildcard, or several in the order wanted.
Wanted: TypeAlias = str | Sequence[str]


class Collection:
    """Tables by schema and owner; each is read, and verified, when it is asked for.

    An owner is what the wildcards of the schema's path stand for. Where a question leaves wildcards
    open, answers come in the order of their values; a list of values gives its own order:
    `tables.each(CURVE, model="m", relation=["b", "a"])`.

    Args:
        paths: The files, in any order; two that are the same count once.
        schemas: The tables that can be among them.

    Raises:
        UserError: A file is missing, damaged, of none of these schemas or not where its schema
            lies, or two files are one owner's.
    """

    def __init__(self, paths: Iterable[Path], schemas: Iterable[TableSchema]) -> None:
        self._schemas = {schema.name: schema for schema in schemas}
        self._paths: dict[str, dict[tuple[str, ...], Path]] = {name: {} for name in self._schemas}
        for path in sorted(set(paths)):
            schema, owner = self._recognise(path)
            others = self._paths[schema.name]
            if owner in others:
                raise UserError(
                    f"{others[owner]} and {path} are both the table {_named(schema, owner)}; "
                    "give one of them"
                )
            others[owner] = path

    @property
    def paths(self) -> list[Path]:
        """Every file, sorted by schema and owner."""
        return [each[owner] for _, each in sorted(self._paths.items()) for owner in sorted(each)]

    def owners(self, schema: TableSchema, **wanted: Wanted) -> list[Owner]:
        """Whose tables of a schema there are, in order.

        Raises:
            UserError: An owner that the question names in full has none.
        """
        there = self._tables(schema, wanted)
        listed = {
            name: [value] if isinstance(value, str) else list(value)
            for name, value in wanted.items()
        }
        if len(listed) == len(schema.wildcards):
            found = list(product(*(listed[name] for name in schema.wildcards)))
            for owner in found:
                self._check(schema, owner)
        else:
            places = [listed.get(name) for name in schema.wildcards]
            found = sorted(
                (owner for owner in there if _matches(owner, places)),
                key=lambda owner: _order(owner, places),
            )
        return [dict(zip(schema.wildcards, owner, strict=True)) for owner in found]

    def has(self, schema: TableSchema, **wanted: str) -> bool:
        """Whether there is one owner's table."""
        return self._owner(schema, wanted) in self._tables(schema, wanted)

    def path(self, schema: TableSchema, **wanted: str) -> Path:
        """The file of one owner's table.

        Raises:
            UserError: There is none.
            ValueError: The question leaves a wildcard open.
        """
        there, owner = self._tables(schema, wanted), self._owner(schema, wanted)
        self._check(schema, owner)
        return there[owner]

    def frame(
        self,
        schema: TableSchema,
        columns: Sequence[str] | None = None,
        where: Sequence[Condition] = (),
        /,
        **wanted: str,
    ) -> pd.DataFrame:
        """One owner's table, or some columns and rows of it; raises as `path` and `read_table`."""
        return read_table(self.path(schema, **wanted), schema, columns, where)

    def each(
        self,
        schema: TableSchema,
        columns: Sequence[str] | None = None,
        where: Sequence[Condition] = (),
        /,
        **wanted: Wanted,
    ) -> Iterator[tuple[Owner, pd.DataFrame]]:
        """Tables of several owners, one after the other; raises as `owners` and `read_table` do."""
        for owner in self.owners(schema, **wanted):
            yield owner, self.frame(schema, columns, where, **owner)

    def joined(
        self,
        schema: TableSchema,
        columns: Sequence[str] | None = None,
        where: Sequence[Condition] = (),
        /,
        **wanted: Wanted,
    ) -> pd.DataFrame:
        """Tables of several owners in one, with columns that tell the owners apart.

        Those are the wildcards that the question does not fix to one value, but for columns that
        the table has of its own. Without any table the frame is empty.
        """
        open_ = [name for name in schema.wildcards if not isinstance(wanted.get(name), str)]
        frames = []
        for owner, frame in self.each(schema, columns, where, **wanted):
            frames.append(frame.assign(**{n: owner[n] for n in open_ if n not in frame}))
        if not frames:
            frame = schema.frame([])
            frame = frame if columns is None else frame[list(columns)]
            return frame.assign(**{n: pd.Series(dtype=str) for n in open_ if n not in frame})
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)

    def provenance(self, schema: TableSchema, **wanted: str) -> dict[str, Any]:
        """What the numbers of one owner's table depend on, as stored in it."""
        return read_provenance(self.path(schema, **wanted))

    def _tables(
        self, schema: TableSchema, wanted: Mapping[str, Wanted]
    ) -> dict[tuple[str, ...], Path]:
        if schema.name not in self._paths:
            raise ValueError(f"this collection was not told of the table {schema.name}")
        if unknown := sorted(set(wanted) - set(schema.wildcards)):
            raise ValueError(f"the table {schema.name} is not told apart by {unknown}")
        return self._paths[schema.name]

    def _owner(self, schema: TableSchema, wanted: Mapping[str, str]) -> tuple[str, ...]:
        if missing := sorted(set(schema.wildcards) - set(wanted)):
            raise ValueError(f"the table {schema.name} is told apart by {missing}, too")
        return tuple(wanted[name] for name in schema.wildcards)

    def _check(self, schema: TableSchema, owner: tuple[str, ...]) -> None:
        there = self._paths[schema.name]
        if owner in there:
            return
        path = Path(schema.path.format_map(dict(zip(schema.wildcards, owner, strict=True))))
        others = ", ".join(_named(schema, other) for other in sorted(there))
        rule = schema.rule_of(path)
        raise UserError(
            f"the table {_named(schema, owner)} is not among those given "
            f"({others or 'none of this kind'}); it is made by the rule {rule}; make it with: "
            f"{remake_command(rule, path)}"
        )

    def _recognise(self, path: Path) -> tuple[TableSchema, tuple[str, ...]]:
        """The schema and owner of a file; raises as the class does."""
        placed = [schema for schema in self._schemas.values() if schema.owner(path) is not None]
        if not placed:
            names = ", ".join(sorted(self._schemas))
            raise UserError(f"{path} does not lie where any table lies that is read here: {names}")
        # `{manipulation}.parquet` is any file of its folder but those that have names of their own.
        fewest = min(len(schema.wildcards) for schema in placed)
        candidates = [schema for schema in placed if len(schema.wildcards) == fewest]
        stored = _stored_name(path)
        schema = next((each for each in candidates if each.name == stored), None)
        if schema is None:
            read_arrow(path, candidates[0])  # says what is wrong
            raise UserError(f"{path} changed while it was read; run the same command again")
        owner = schema.owner(path) or {}
        return schema, tuple(owner[name] for name in schema.wildcards)


def write_tables(
    paths: Iterable[Path], frames: Mapping[TableSchema, Data], provenance: Mapping[str, Any]
) -> None:
    """Write several tables of one stage, each where its schema lies.

    Args:
        paths: The files, in any order.
        frames: What each table holds, one for every path.
        provenance: What the numbers depend on.

    Raises:
        ValueError: A path has no frame, or a frame no path.
    """
    left = dict(frames)
    for path in paths:
        fitting = [schema for schema in left if schema.owner(path) is not None]
        if not fitting:
            raise ValueError(f"{path} does not lie where any of {[s.name for s in left]} lies")
        # `{manipulation}.parquet` is any file of its folder but those that have names of their own.
        schema = min(fitting, key=lambda each: len(each.wildcards))
        write_table(path, schema, left.pop(schema), provenance)
    if left:
        raise ValueError(f"no path is given for {[schema.name for schema in left]}")


def _matches(owner: Sequence[str], places: Sequence[list[str] | None]) -> bool:
    return all(at is None or value in at for value, at in zip(owner, places, strict=True))


def _order(owner: Sequence[str], places: Sequence[list[str] | None]) -> list[tuple[int, str]]:
    """Listed values in the order of their list, others by name."""
    return [
        (0 if at is None else at.index(value), value)
        for value, at in zip(owner, places, strict=True)
    ]


def _stored_name(path: Path) -> str:
    """The schema's name in a file; empty where there is no readable file."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        if shortage_of(error):
            raise
        return ""
    return str(metadata.get(TABLE_KEY, b"").decode(errors="replace"))


def _named(schema: TableSchema, owner: tuple[str, ...]) -> str:
    """A table and its owner, in words."""
    words = [f"{name} {value}" for name, value in zip(schema.wildcards, owner, strict=True)]
    return f"{schema.name} of {', '.join(words)}" if words else schema.name
