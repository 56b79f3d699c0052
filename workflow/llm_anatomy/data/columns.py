"""A row of a source, and whether the source has the columns that are asked of it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm_anatomy.data.values import has_column, suggest
from llm_anatomy.errors import UserError

# Names of columns that are kept to suggest one.
MOST_NAMES = 200


@dataclass(frozen=True)
class Row:
    """One row of a source.

    Attributes:
        number: Its number among the data rows, from 1.
        place: The same for a reader, such as `row 17 (line 18)`.
        values: Its values by column name.
        fault: Why it cannot be used as it stands; empty for a sound row.
        template: A prompt with `{}` for the subject that the file's format brings; mostly empty.
    """

    number: int
    place: str
    values: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    template: str = ""


def check_columns(source: str, known: Sequence[str], wanted: Sequence[str]) -> None:
    """Check that a source has the wanted columns (for `a.b`, the column `a`), each once.

    Raises:
        UserError: One is missing or there twice; the sentence suggests the nearest name.
    """
    for column in wanted:
        name = column if column in known else column.split(".")[0]
        if name not in known:
            raise UserError(f"{source} has no column '{column}'; {suggest(column, known)}")
        if known.count(name) > 1:
            raise UserError(f"{source} has the column '{name}' twice; rename one of them")


def with_columns(
    rows: Iterable[Row], source: str, wanted: Sequence[str], filtered: Collection[str] = ()
) -> Iterator[Row]:
    """Hand rows on, and check at the end that every wanted column, nested or not, occurred.

    JSON objects may leave keys out, so that only the end of a file shows a wrong name.

    Args:
        rows: The rows.
        source: The file or hub id, for messages.
        wanted: The columns that have to occur.
        filtered: Columns of filters. A nested one may never occur where what it is in does: a part
            of the objects may lack it, and the filter then warns of it.

    Raises:
        UserError: No row has one of the columns.
    """
    missing, sound = list(wanted), False
    outer: set[str] = set()
    known: dict[str, None] = {}
    for row in rows:
        if not row.fault:
            sound = True
            if missing:
                missing = [column for column in missing if not has_column(row.values, column)]
                if missing and len(known) < MOST_NAMES:
                    known |= dict.fromkeys(names_of(row.values))
                if missing:
                    outer.update(column for column in missing if column.split(".")[0] in row.values)
        yield row
    missing = [column for column in missing if not (column in filtered and column in outer)]
    if sound and missing:
        raise UserError(f"{source} has no column '{missing[0]}'; {suggest(missing[0], [*known])}")


def names_of(values: Mapping[str, Any]) -> Iterator[str]:
    """Names of columns as a configuration writes them, two levels deep."""
    for name, value in values.items():
        yield name
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in value)
