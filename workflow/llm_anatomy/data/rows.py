"""What rows of every kind share: counting, filters, ids, and cells that hold a text."""

import logging
from collections.abc import Iterable, Iterator, Sequence

from llm_anatomy.config.datasets import Dataset, Filter
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.readers import Row
from llm_anatomy.data.values import canonical, is_absent, is_missing, look_up, shorten
from llm_anatomy.errors import UserError

logger = logging.getLogger(__name__)

REPORT_ROWS = 1_000_000


def usable_rows(dataset: Dataset, rows: Iterable[Row], intake: Intake) -> Iterator[Row]:
    """Count every row, and hand on those that can be read and that no filter leaves out."""
    for row in rows:
        intake.read()
        if row.number % REPORT_ROWS == 0:
            logger.info("%s: %d rows read", dataset.name, row.number)
        reason = row.fault or filtered_out(dataset.filters, row)
        if reason:
            intake.set_aside(reason, row.place)
        else:
            yield row


def filtered_out(filters: Sequence[Filter], row: Row) -> str:
    """The reason for which a row is filtered out; empty if it passes."""
    for rule in filters:
        value = canonical(look_up(row.values, rule.column))
        if rule.keep is not None and value not in {canonical(v) for v in rule.keep}:
            return f"filtered: '{rule.column}' is none of the values to keep"
        if rule.drop is not None and value in {canonical(v) for v in rule.drop}:
            return f"filtered: '{rule.column}' is one of the values to drop"
    return ""


def row_id(dataset: Dataset, row: Row, source: str, ids: dict[str, str]) -> str:
    """A row's id: its own, checked to be there once, or one from its number.

    Args:
        dataset: Says which column holds ids, if any does.
        row: The row.
        source: The file or hub id, for messages.
        ids: Places of the ids so far; the row's is added.

    Raises:
        UserError: The id is missing or stands in an earlier row too.
    """
    if dataset.id is None:
        return f"row-{row.number}"
    value = look_up(row.values, dataset.id)
    if is_missing(value):
        raise UserError(
            f"{source}: {row.place} has no id in column '{dataset.id}'; fill it, or leave 'id' out "
            "to number the rows"
        )
    text_id = str(value).strip()
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
    if is_absent(value):
        return ""
    if not isinstance(value, str):
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
    try:
        text.encode()
    except UnicodeEncodeError:
        return "text with half a surrogate pair"
    return ""
