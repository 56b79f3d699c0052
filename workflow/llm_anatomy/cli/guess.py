"""What a user's file holds: its columns, and which of them are texts, labels, subjects, answers."""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import ValidationError

from llm_anatomy.config.datasets import FILE_SUFFIXES, Dataset
from llm_anatomy.data.check import CHECKED_ROWS
from llm_anatomy.data.lines import Lines
from llm_anatomy.data.readers import DELIMITERS, read_rows
from llm_anatomy.data.values import as_boolean, as_score, canonical, is_missing, suggest
from llm_anatomy.errors import UserError

# A label of classes has no more values than this, and each on so many rows on average.
MOST_CLASSES = 20
ROWS_OF_A_CLASS = 4
# Characters: subjects and answers are names, texts are sentences.
LONGEST_NAME = 40
ID_NAME = re.compile(r"(^|_)(id|uuid|key|index)$", re.IGNORECASE)


@dataclass(frozen=True)
class ColumnLook:
    """One column of a file, over the rows that were read.

    Attributes:
        name: Its name.
        filled: Cells that say something.
        values: Different values, each with its number of rows, in order of first appearance.
        length: Characters of a filled cell, on average.
        nested: Whether a cell holds a list or an object.
    """

    name: str
    filled: int
    values: dict[str, int]
    length: float
    nested: bool

    def all_are(self, meaning: Callable[[Any], Any]) -> bool:
        """Whether every value has a meaning, such as `as_boolean`."""
        try:
            return bool(self.values) and all(meaning(v) is not None for v in self.values)
        except ValueError:
            return False


@dataclass(frozen=True)
class FileLook:
    """A file: how its columns are separated, how many rows were read, whether that is all."""

    delimiter: str | None
    rows: int
    whole: bool
    columns: tuple[ColumnLook, ...]


@dataclass(frozen=True)
class Guess:
    """A data set's entry in the configuration, and what was said of every column.

    Attributes:
        entry: The keys of the entry but `name` and `path`.
        reasons: Column and reason, in the file's order.
        look: The file.
    """

    entry: dict[str, Any]
    reasons: dict[str, str]
    look: FileLook


def guess_dataset(
    path: Path,
    text: str | None = None,
    labels: Sequence[str] = (),
    subject: str | None = None,
    answer: str | None = None,
) -> Guess:
    """Guess what a file's columns are; what the user names is taken, and only the rest guessed.

    Args:
        path: A CSV, TSV, JSON, JSONL or Parquet file.
        text: Column with the texts.
        labels: Columns with labels.
        subject: Column with the subjects of a relation.
        answer: Column with their answers.

    Raises:
        UserError: The file cannot be read, lacks a named column or has no column of texts.
    """
    look = look_at(path)
    by_name = {column.name: column for column in look.columns}
    for name in filter(None, (text, *labels, subject, answer)):
        if name not in by_name:
            raise UserError(f"{path} has no column '{name}'; {suggest(name, list(by_name))}")
    if (subject is None) != (answer is None):
        raise UserError("--subject and --answer belong together; give both, or neither")
    if subject and answer:
        return _relation(look, subject, answer, "named on the command line")
    if not text and not labels and (pair := _names_with_answers(look)):
        return _relation(look, *pair, "names of at most 40 characters, and no column of texts")
    return _texts(path, look, text, labels)


def look_at(path: Path) -> FileLook:
    """Read the first rows of a file.

    Raises:
        UserError: It is missing, empty, unreadable or of an unknown kind.
    """
    try:
        dataset = Dataset(name="data", path=str(path))
    except ValidationError as error:
        raise UserError(
            f"{path} has a suffix that is not known; known are {', '.join(FILE_SUFFIXES)}"
        ) from error
    delimiter, names = None, []
    if dataset.file_suffix in (".csv", ".tsv") and path.is_file():
        delimiter = _delimiter(path, "\t" if dataset.file_suffix == ".tsv" else ",")
        dataset = dataset.model_copy(update={"delimiter": delimiter})
    if dataset.file_suffix == ".parquet" and path.is_file():
        names = _parquet_columns(path)
    read = list(islice(read_rows(dataset, names), CHECKED_ROWS + 1))
    rows = [row.values for row in read[:CHECKED_ROWS] if not row.fault]
    if not rows:
        raise UserError(f"{path} holds no rows that can be read")
    known = list(dict.fromkeys(name for row in rows for name in row))
    usual = {".csv": ",", ".tsv": "\t"}.get(dataset.file_suffix)
    return FileLook(
        delimiter=delimiter if delimiter != usual else None,
        rows=len(rows),
        whole=len(read) <= CHECKED_ROWS,
        columns=tuple(_column(name, [row.get(name) for row in rows]) for name in known),
    )


def _column(name: str, cells: Sequence[Any]) -> ColumnLook:
    filled = [cell for cell in cells if not is_missing(cell)]
    nested = any(isinstance(cell, list | dict | tuple) for cell in filled)
    values: dict[str, int] = {}
    for cell in filled:
        value = str(cell) if nested else canonical(cell)
        values[value] = values.get(value, 0) + 1
    length = sum(len(str(cell)) for cell in filled) / max(len(filled), 1)
    return ColumnLook(name, len(filled), values, length, nested)


def _delimiter(path: Path, usual: str) -> str:
    header = next(iter(Lines.of_file(path, "utf-8")), "")
    fields = {mark: len(next(csv.reader([header], delimiter=mark), [])) for mark in DELIMITERS}
    return max((usual, *DELIMITERS), key=lambda mark: fields[mark])


def _parquet_columns(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except Exception:  # read_rows says in one sentence what is wrong with the file
        return []


def _names_with_answers(look: FileLook) -> tuple[str, str] | None:
    """Two columns of short names, the first without repetition, and nothing longer beside them."""
    names = [c for c in look.columns if not c.nested and not c.all_are(as_score)]
    names = [c for c in names if not ID_NAME.search(c.name) and not c.all_are(as_boolean)]
    if len(names) < 2 or any(column.length > LONGEST_NAME for column in names):
        return None
    subject = next((c for c in names if len(c.values) == c.filled), None)
    if subject is None:
        return None
    answer = next((c for c in names if c is not subject and not _classes(c)), None)
    return (subject.name, answer.name) if answer else None


def _relation(look: FileLook, subject: str, answer: str, why: str) -> Guess:
    reasons = {column.name: "left out" for column in look.columns}
    reasons |= {subject: f"subject ({why})", answer: f"answer ({why})"}
    entry = {"kind": "relation", **_format(look), "subject": subject, "answer": answer}
    return Guess(entry, reasons, look)


def _texts(path: Path, look: FileLook, text: str | None, labels: Sequence[str]) -> Guess:
    wordy = [c for c in look.columns if not c.nested and not c.all_are(as_score)]
    if text is None:
        if not wordy:
            raise UserError(f"{path} has no column of texts; name one with --text COLUMN")
        longest = max(wordy, key=lambda column: column.length)
        text, why = longest.name, f"the longest texts, {longest.length:.0f} characters on average"
    else:
        why = "named on the command line"
    entry: dict[str, Any] = {**_format(look), "text": text}
    reasons, found = {}, []
    for column in look.columns:
        reasons[column.name] = "left out"
        if column.name == text:
            reasons[text] = f"text ({why})"
        elif ID_NAME.search(column.name) and len(column.values) == look.rows and not labels:
            reasons[column.name] = "id (a name for ids, and no value twice)"
            entry["id"] = column.name
        elif column.name in labels or not labels:
            label, reason = _label(column)
            if label is None and column.name in labels:
                label, reason = {"column": column.name, "every_value": True}, "named; every value"
            reasons[column.name] = reason
            found += [] if label is None else [label]
    entry["labels"] = [_named(label) for label in found]
    return Guess(entry, reasons, look)


def _label(column: ColumnLook) -> tuple[dict[str, Any] | None, str]:
    """A column as a label, with the reason; nothing where it looks like none."""
    shown = ", ".join(f"{value} on {n} rows" for value, n in list(column.values.items())[:4])
    if column.nested or not column.values:
        return None, "left out (lists or objects)" if column.nested else "left out (empty)"
    if len(column.values) == 1:
        return None, "left out (one value on every row)"
    if column.all_are(as_boolean):
        return {"column": column.name}, f"label (true or false: {shown})"
    if _scores(column):
        return {"column": column.name, "at_least": 0.5}, "label (scores; true from 0.5 on)"
    if _classes(column):
        entry = {"column": column.name, "every_value": True}
        return entry, f"one label for each value ({shown})"
    return None, f"left out ({len(column.values)} different values)"


def _scores(column: ColumnLook) -> bool:
    if not column.all_are(as_score):
        return False
    scores = [float(value) for value in column.values]
    broken = any(score != round(score) for score in scores)
    return broken and min(scores) >= 0 and max(scores) <= 1 and min(scores) < 0.5 <= max(scores)


def _classes(column: ColumnLook) -> bool:
    few = 2 <= len(column.values) <= MOST_CLASSES
    return few and column.filled >= ROWS_OF_A_CLASS * len(column.values)


def _named(label: dict[str, Any]) -> dict[str, Any] | str:
    """A label with a name; its column's alone where that is all there is to say."""
    column = str(label["column"])
    name = re.sub(r"\W+", "_", column).strip("_") or "label"
    return column if name == column and len(label) == 1 else {"name": name, **label}


def _format(look: FileLook) -> dict[str, Any]:
    return {} if look.delimiter is None else {"delimiter": look.delimiter}
