"""What rows of every kind share: counting, filters, ids, and cells that hold a text."""

import logging
from collections.abc import Iterable, Iterator

from llm_anatomy.config.datasets import Dataset
from llm_anatomy.config.labels import Filter
from llm_anatomy.data.columns import MOST_NAMES, Row, names_of
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.values import (
    as_members,
    canonical,
    has_column,
    is_blank,
    is_missing,
    look_up,
    plain_text,
    shorten,
    suggest,
)
from llm_anatomy.data.wanted import Wanted
from llm_anatomy.errors import UserError

logger = logging.getLogger(__name__)

REPORT_ROWS = 1_000_000


def usable_rows(
    dataset: Dataset, rows: Iterable[Row], source: str, intake: Intake
) -> Iterator[Row]:
    """Count every row, and hand on those that can be read and that no filter leaves out.

    Behind the last row the tally has a warning for each value of a filter that never occurred.

    Raises:
        UserError: A filter's cell holds an object.
    """
    filters = [RowFilter(rule, source) for rule in dataset.filters]
    for row in rows:
        intake.read()
        if row.number % REPORT_ROWS == 0:
            logger.info("%s: %d rows read", dataset.name, row.number)
        # Not only up to the first that leaves the row out: each is to see every row.
        reasons = [rule.leaves_out(row) for rule in filters] if not row.fault else [row.fault]
        reason = next(filter(None, reasons), "")
        if reason:
            intake.set_aside(reason, row.place)
        else:
            yield row
    for rule in filters:
        intake.warn(rule.never())


class RowFilter:
    """One filter, which notes which of its values occur; of a list cell each member counts."""

    def __init__(self, rule: Filter, source: str) -> None:
        self._column, self._keeps, self._source = rule.column, rule.keep is not None, source
        key = "'keep'" if self._keeps else "'drop'"
        self._occurs, self._known = False, dict[str, None]()
        self._wanted = Wanted(f"{key} of a filter", rule.column, rule.keep or rule.drop or [])

    def leaves_out(self, row: Row) -> str:
        """The reason for which a row is left out; empty if it passes."""
        value = look_up(row.values, self._column)
        if not self._occurs:
            self._occurs = has_column(row.values, self._column)
            if len(self._known) < MOST_NAMES:
                self._known |= dict.fromkeys(names_of(row.values))
        try:
            members = as_members(value) if isinstance(value, list) else {canonical(value)}
            # Not any(): every member is to be seen.
            found = True in [self._wanted.holds(member) for member in sorted(members or {""})]
        except ValueError as error:
            raise cell_error(self._source, row, self._column, error) from error
        if found == self._keeps:
            return ""
        words = "none of the values to keep" if self._keeps else "one of the values to drop"
        return f"filtered: '{self._column}' is {words}"

    def never(self) -> list[str]:
        """One sentence for each of its values that no cell met, or one for a column without any."""
        if self._occurs or not self._known:
            return self._wanted.never()
        return [
            f"the column '{self._column}' of a filter never occurs; "
            f"{suggest(self._column, [*self._known])}"
        ]


def cell_error(source: str, row: Row, column: str, error: ValueError) -> UserError:
    """What is wrong with a cell, and where it stands."""
    return UserError(f"{source}: {row.place}, column '{column}': {error}")


def row_id(dataset: Dataset, row: Row, source: str, ids: dict[str, str]) -> str:
    """A row's id: its own, checked to be there once, or one from its number.

    Args:
        dataset: Says which column holds ids, if any does.
        row: The row.
        source: The file or hub id, for messages.
        ids: Places of the ids so far; the row's is added.

    Raises:
        UserError: The id is missing, no single value, or stands in an earlier row too.
    """
    if dataset.id is None:
        return f"row-{row.number}"
    value = look_up(row.values, dataset.id)
    if is_missing(value):
        raise UserError(
            f"{source}: {row.place} has no id in column '{dataset.id}'; fill it, or leave 'id' out "
            "to number the rows"
        )
    try:
        text_id = plain_text(value)
        text_id.encode()
    except ValueError as error:
        raise cell_error(source, row, dataset.id, error) from error
    if text_id in ids:
        raise UserError(
            f"{source}: the id '{shorten(text_id)}' in column '{dataset.id}' stands in "
            f"{ids[text_id]} and in {row.place}; make ids unique, or leave 'id' out to "
            "number the rows"
        )
    ids[text_id] = row.place
    return text_id


def read_text(row: Row, column: str, key: str, source: str) -> str:
    """The text in a row's cell, unchanged; empty where the cell holds nothing.

    Args:
        row: The row.
        column: The column to read.
        key: The key of the configuration that names the column, for messages.
        source: The file or hub id, for messages.

    Raises:
        UserError: The cell holds something else.
    """
    value = look_up(row.values, column)
    if not isinstance(value, str):
        if is_missing(value):
            return ""
        raise UserError(
            f"{source}: {row.place}, column '{column}', holds {type(value).__name__} "
            f"'{shorten(value)}' where a text belongs; name the column of the text under '{key}'"
        )
    return value


def text_fault(text: str) -> str:
    """Why a text cannot be used; empty for a usable one."""
    if not text.strip():
        return "empty text"
    if "\0" in text:
        return "text with a NUL byte"
    if is_blank(text):
        return "text of invisible characters"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "text with half a surrogate pair"
    return ""
