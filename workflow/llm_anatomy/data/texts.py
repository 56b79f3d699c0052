"""From rows to the table of texts: label, set aside what cannot be used, sample, count."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from llm_anatomy.config.datasets import Dataset
from llm_anatomy.config.templates import fill
from llm_anatomy.data.columns import Row
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.labels import LabelReader, LabelValue
from llm_anatomy.data.rows import cell_error, read_text, row_id, text_fault, usable_rows
from llm_anatomy.data.sampling import Sample, count_undrawn, lowest
from llm_anatomy.data.values import canonical, is_blank, look_up, shorten
from llm_anatomy.errors import UserError

MOST_VALUES = 100


@dataclass(frozen=True)
class Candidate:
    """A text that may be used.

    Attributes:
        number: Position in the source, which orders the table.
        place: Where it stands in the source, for messages.
        text_id: Its id.
        text: The text.
        labels: Label name to what the row says about it.
        group: What it belongs to, such as a prompt or an author; None where nothing is said.
    """

    number: int
    place: str
    text_id: str
    text: str
    labels: Mapping[str, LabelValue] = field(default_factory=dict)
    group: str | None = None


def needed_columns(dataset: Dataset) -> list[str]:
    """The columns of a user's source that a data set reads, each once."""
    columns = [*dataset.text_columns, *filter(None, (dataset.id, dataset.group))]
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
        intake: Counts every row; warned of configured values that never occurred.
        seen: Filled with the raw values of every label's column, to explain a label that fails.

    Raises:
        UserError: An id is missing or repeated, a text is no text, or a label cannot be read.
    """
    ids: dict[str, str] = {}
    readers = [LabelReader(label) for label in dataset.labels]
    groupless = 0
    for row in usable_rows(dataset, rows, source, intake):
        text, unusable = _text(dataset, row, source)
        if unusable:
            intake.set_aside(unusable, row.place)
            continue
        text_id = row_id(dataset, row, source, ids)
        labels = _labels(readers, row, source, seen)
        if labels and all(value is None for value in labels.values()):
            intake.set_aside("no label has a value", row.place)
            continue
        group = _group(dataset, row, source)
        groupless += group is None
        yield Candidate(row.number, row.place, text_id, text, labels, group)
    for reader in readers:
        intake.warn(reader.never())
    if dataset.group and groupless:
        intake.warn(
            [
                f"{groupless} usable rows have no value in the column '{dataset.group}' of groups; "
                "each is a group of its own"
            ]
        )


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
        side = _balance_side(item, dataset, dataset.balance)
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
    if any(item.group is not None for item in items):
        columns["group"] = pa.array([item.group for item in items], pa.string())
    for name in items[0].labels:
        found = [item.labels[name] for item in items]
        if any(isinstance(value, frozenset) for value in found):
            new = _expanded(dataset, name, found)
        else:
            new = {f"label_{name}": pa.array(found, pa.bool_())}
        if twice := sorted(columns.keys() & new.keys()):
            raise UserError(
                f"the data set '{dataset.name}': two labels would have the column '{twice[0]}', "
                f"one of them by a value of the label '{name}'; give the other label another name"
            )
        columns |= new
    for name, column in columns.items():
        if name.startswith("label_"):
            _check_two_classes(dataset, name.removeprefix("label_"), column, seen)
    return pa.table(columns)


def label_name(value: str) -> str:
    """A value as a label's name: letters, digits and signs of any script, joined by underscores.

    A value of punctuation alone, such as `+`, is named by its code points.
    """
    kept = "".join(c if _is_named(c) else " " for c in unicodedata.normalize("NFC", value))
    return "_".join(kept.replace("_", " ").split()) or "_".join(f"u{ord(c):02X}" for c in value)


def value_label(dataset: Dataset, label: str, value: str) -> str:
    """The name of the label that one value of an `every_value` label becomes.

    Where a data set has several such labels, each value is named with its label before it.
    """
    several = sum(label.every_value for label in dataset.labels) > 1
    return f"{label}_{label_name(value)}" if several else label_name(value)


def _is_named(character: str) -> bool:
    """Whether a character belongs into a name: letters, marks, digits, signs such as emoji."""
    if character.isascii():
        return character.isalnum()
    return unicodedata.category(character)[0] in "LMNS"


def _text(dataset: Dataset, row: Row, source: str) -> tuple[str, str]:
    """A row's text, and why it cannot be used (else empty)."""
    if dataset.template is None:
        text = read_text(row, dataset.text, "text", source)
        return text, text_fault(text)
    cells = {name: read_text(row, name, "template", source) for name in dataset.text_columns}
    lacking = next((name for name, cell in cells.items() if is_blank(cell)), None)
    if lacking is not None:
        return "", f"no text in the column '{lacking}' of the template"
    text = fill(dataset.template, **cells)
    return text, text_fault(text)


def _group(dataset: Dataset, row: Row, source: str) -> str | None:
    """What a row belongs to, spelled canonically, so that 2 and 2.0 are one group."""
    if dataset.group is None:
        return None
    try:
        return canonical(look_up(row.values, dataset.group)) or None
    except ValueError as error:
        raise cell_error(source, row, dataset.group, error) from error


def _labels(
    readers: Sequence[LabelReader], row: Row, source: str, seen: dict[str, Counter[str]]
) -> dict[str, LabelValue]:
    found = {}
    for reader in readers:
        label = reader.label
        value = look_up(row.values, label.source_column)
        try:
            found[label.name] = reader.read(value)
        except ValueError as error:
            raise cell_error(source, row, label.source_column, error) from error
        counts = seen.setdefault(label.name, Counter())
        if shorten(value) in counts or len(counts) < MOST_VALUES:
            counts[shorten(value)] += 1
    return found


def _balance_side(item: Candidate, dataset: Dataset, balance: str) -> bool | None:
    if balance in item.labels and not isinstance(item.labels[balance], frozenset):
        value = item.labels[balance]
        return value if isinstance(value, bool) else None
    return any(
        value_label(dataset, name, member) == balance
        for name, members in item.labels.items()
        if isinstance(members, frozenset)
        for member in members
    )


def _expanded(dataset: Dataset, name: str, found: Sequence[LabelValue]) -> dict[str, pa.Array]:
    """One boolean column for each value that a label's column holds."""
    members: dict[str, str] = {}
    for value in sorted({m for v in found if isinstance(v, frozenset) for m in v}):
        short = value_label(dataset, name, value)
        other = members.setdefault(short, value)
        if other != value:
            raise UserError(
                f"the data set '{dataset.name}': the values '{other}' and '{value}' of the label "
                f"'{name}' would both be called '{short}'; rename one of them"
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
