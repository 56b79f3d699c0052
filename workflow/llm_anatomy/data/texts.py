"""From rows to the table of texts: label, set aside what cannot be used, sample, count."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from llm_anatomy.config.datasets import Dataset, Filter, Label
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.readers import Row
from llm_anatomy.data.sampling import Sample, count_undrawn, lowest
from llm_anatomy.data.values import (
    LabelValue,
    canonical,
    is_missing,
    look_up,
    read_label,
    shorten,
)
from llm_anatomy.errors import UserError

logger = logging.getLogger(__name__)

MOST_VALUES = 100
REPORT_ROWS = 1_000_000


@dataclass(frozen=True)
class Candidate:
    """A text that may be used.

    Attributes:
        number: Position in the source, which orders the table.
        place: Where it stands in the source, for messages.
        text_id: Its id.
        text: The text.
        labels: Label name to what the row says about it.
    """

    number: int
    place: str
    text_id: str
    text: str
    labels: Mapping[str, LabelValue] = field(default_factory=dict)


def needed_columns(dataset: Dataset) -> list[str]:
    """The columns of a user's source that a data set reads, each once."""
    columns = [dataset.text, *([dataset.id] if dataset.id else [])]
    columns += [label.source_column for label in dataset.labels]
    columns += [rule.column for rule in dataset.filters]
    return list(dict.fromkeys(columns))


def candidates(
    dataset: Dataset,
    rows: Iterable[Row],
    source: str,
    intake: Intake,
    seen: dict[str, Counter[str]],
) -> Iterator[Candidate]:
    """Read ids, texts and labels out of rows; rows without a usable text are set aside.

    Args:
        dataset: What the columns mean.
        rows: The rows of the source.
        source: The file or hub id, for messages.
        intake: Counts every row.
        seen: Filled with the raw values of every label's column, to explain a label that fails.

    Raises:
        UserError: An id is missing or repeated, a text is no text, or a label cannot be read.
    """
    ids: dict[str, str] = {}
    for row in rows:
        intake.read()
        if row.number % REPORT_ROWS == 0:
            logger.info("%s: %d rows read", dataset.name, row.number)
        if row.fault:
            intake.set_aside(row.fault, row.place)
            continue
        dropped = filtered_out(dataset.filters, row)
        if dropped:
            intake.set_aside(dropped, row.place)
            continue
        text_id = row_id(dataset, row, source, ids)
        text = look_up(row.values, dataset.text)
        if text is not None and not isinstance(text, str) and text == text:
            raise UserError(
                f"{source}: {row.place}, column '{dataset.text}', holds {type(text).__name__} "
                f"'{shorten(text)}' where a text belongs; name the column of the text under 'text'"
            )
        unusable = text_fault(text)
        if unusable:
            intake.set_aside(unusable, row.place)
            continue
        labels = _labels(dataset.labels, row, source, seen)
        if labels and all(value is None for value in labels.values()):
            intake.set_aside("no label has a value", row.place)
            continue
        yield Candidate(row.number, row.place, text_id, str(text), labels)


def text_fault(text: Any) -> str:
    """Why a text cannot be used; empty for a usable one."""
    if not isinstance(text, str) or not text.strip():
        return "empty text"
    if "\0" in text:
        return "text with a NUL byte"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "text with half a surrogate pair"
    return ""


def unique_texts(items: Iterable[Candidate], keep: bool, intake: Intake) -> Iterator[Candidate]:
    """Let the first copy of every text through; later ones are set aside unless they are kept.

    Copies are equal up to surrounding white space. A copy with other labels has its own reason,
    because it says that the source contradicts itself.
    """
    first: dict[bytes, Mapping[str, LabelValue]] = {}
    for item in items:
        if keep:
            yield item
            continue
        key = hashlib.blake2b(item.text.strip().encode(), digest_size=16).digest()
        if key not in first:
            first[key] = item.labels
            yield item
        elif first[key] == item.labels:
            intake.set_aside("copy of an earlier text", item.place)
        else:
            intake.set_aside("copy of an earlier text with other labels", item.place)


def sample(
    items: Iterable[Candidate], dataset: Dataset, seed: int, intake: Intake
) -> list[Candidate]:
    """Draw the sample that `max_rows` and `balance` ask for, in source order.

    Raises:
        UserError: The balanced label is true in no usable row, or false in none.
    """
    if dataset.balance is None:
        kept, total = lowest(items, dataset.max_rows, seed)
        count_undrawn(total - len(kept), dataset, intake)
        return kept
    most = None if dataset.max_rows is None else max(1, dataset.max_rows // 2)
    sides = {side: Sample[Candidate](most, seed) for side in (True, False)}
    for item in items:
        side = _balance_side(item, dataset.balance)
        if side is None:
            intake.set_aside(f"no value for the balanced label '{dataset.balance}'", item.place)
        else:
            sides[side].offer(item)
    offered = {side: found.offered for side, found in sides.items()}
    if not all(offered.values()):
        raise UserError(
            f"the data set '{dataset.name}' cannot be balanced: '{dataset.balance}' is true in "
            f"{offered[True]} and false in {offered[False]} usable rows"
        )
    half = min(*offered.values(), *([] if most is None else [most]))
    drawn = [item for found in sides.values() for item in found.drawn(half)]
    count_undrawn(sum(offered.values()) - len(drawn), dataset, intake)
    return sorted(drawn, key=lambda item: item.number)


def texts_table(
    dataset: Dataset, items: Sequence[Candidate], seen: Mapping[str, Counter[str]]
) -> pa.Table:
    """The `TEXTS` table of the drawn texts; `every_value` labels get one column per value.

    Raises:
        UserError: A label holds for all texts or for none.
    """
    columns: dict[str, Any] = {
        "text_id": pa.array([item.text_id for item in items], pa.string()),
        "text": pa.array([item.text for item in items], pa.string()),
    }
    for name in items[0].labels:
        found = [item.labels[name] for item in items]
        if any(isinstance(value, frozenset) for value in found):
            columns.update(_expanded(dataset, name, found))
        else:
            columns[f"label_{name}"] = pa.array(found, pa.bool_())
    for name, column in columns.items():
        if name.startswith("label_"):
            _check_two_classes(dataset, name.removeprefix("label_"), column, seen)
    return pa.table(columns)


def label_name(value: str) -> str:
    """A value as a label's name: letters, digits and underscores."""
    return re.sub(r"[^A-Za-z0-9]+", "_", value).strip("_") or "_"


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


def _labels(
    labels: Sequence[Label], row: Row, source: str, seen: dict[str, Counter[str]]
) -> dict[str, LabelValue]:
    found = {}
    for label in labels:
        value = look_up(row.values, label.source_column)
        try:
            found[label.name] = read_label(label, value)
        except ValueError as error:
            raise UserError(
                f"{source}: {row.place}, column '{label.source_column}': {error}"
            ) from error
        counts = seen.setdefault(label.name, Counter())
        if shorten(value) in counts or len(counts) < MOST_VALUES:
            counts[shorten(value)] += 1
    return found


def filtered_out(filters: Sequence[Filter], row: Row) -> str:
    """The reason for which a row is filtered out; empty if it passes."""
    for rule in filters:
        value = canonical(look_up(row.values, rule.column))
        if rule.keep is not None and value not in {canonical(v) for v in rule.keep}:
            return f"filtered: '{rule.column}' is none of the values to keep"
        if rule.drop is not None and value in {canonical(v) for v in rule.drop}:
            return f"filtered: '{rule.column}' is one of the values to drop"
    return ""


def _balance_side(item: Candidate, balance: str) -> bool | None:
    if balance in item.labels and not isinstance(item.labels[balance], frozenset):
        value = item.labels[balance]
        return value if isinstance(value, bool) else None
    sets = [value for value in item.labels.values() if isinstance(value, frozenset)]
    return any(label_name(member) == balance for members in sets for member in members)


def _expanded(dataset: Dataset, name: str, found: Sequence[LabelValue]) -> dict[str, pa.Array]:
    """One boolean column for each value that a label's column holds."""
    members: dict[str, str] = {}
    for value in sorted({m for v in found if isinstance(v, frozenset) for m in v}):
        other = members.setdefault(label_name(value), value)
        if other != value:
            raise UserError(
                f"the data set '{dataset.name}': the values '{other}' and '{value}' of the label "
                f"'{name}' would both be called '{label_name(value)}'; rename one of them"
            )
    if len(members) > MOST_VALUES:
        raise UserError(
            f"the data set '{dataset.name}': the label '{name}' has {len(members)} different "
            f"values; 'every_value' makes a label of each, at most {MOST_VALUES}"
        )
    return {
        f"label_{short}": pa.array(
            [value in v if isinstance(v, frozenset) else None for v in found], pa.bool_()
        )
        for short, value in members.items()
    }


def _check_two_classes(
    dataset: Dataset, name: str, column: pa.Array, seen: Mapping[str, Counter[str]]
) -> None:
    values = Counter(column.drop_null().to_pylist())
    if len(values) < 2:
        state = "has no value" if not values else f"is {str(next(iter(values))).lower()}"
        counts = seen.get(name, Counter())
        common = ", ".join(f"'{value}' ({count})" for value, count in counts.most_common(5))
        holds = f" (its column holds {common})" if common else ""
        raise UserError(
            f"the data set '{dataset.name}': the label '{name}' {state} in all {len(column)} used "
            f"rows{holds}, but a label needs both; correct what makes it true ('positive', "
            "'at_least', 'contains'), or leave the label out"
        )
