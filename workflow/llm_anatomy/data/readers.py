"""Rows out of a user's CSV, TSV, JSONL or Parquet file, streamed, or SQuAD file, with their places.

A row that cannot be read without doubt about its neighbours is an error; a row that is merely
malformed in itself is handed on with its fault, to be set aside and counted.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from llm_anatomy.artefacts.shortage import shortage_of
from llm_anatomy.config.datasets import SQUAD_SUFFIX, Dataset
from llm_anatomy.data.values import shorten, suggest
from llm_anatomy.errors import UserError

# A field longer than this is a quote that was never closed.
FIELD_LIMIT = 1 << 27
RAGGED = "another number of fields than the header"
BATCH_ROWS = 8192
SQUAD_COLUMNS = ("id", "context", "question", "answers")
UTF8 = ("utf-8", "utf8", "utf_8", "utf-8-sig")


@dataclass(frozen=True)
class Row:
    """One row of a source.

    Attributes:
        number: Its number among the data rows, from 1.
        place: The same for a reader, such as `row 17 (line 18)`.
        values: Its values by column name.
        fault: Why it cannot be used as it stands; empty for a sound row.
    """

    number: int
    place: str
    values: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""


def read_rows(dataset: Dataset, columns: Sequence[str]) -> Iterator[Row]:
    """Stream the rows of a data set's file.

    Args:
        dataset: A data set with a `path`.
        columns: The columns that are needed; a missing one is an error before any row is read.

    Raises:
        UserError: The file is missing or unreadable, or a column is not there; the sentence names
            file, row and column.
    """
    path = Path(dataset.path or "")
    check_readable(path, dataset.name)
    if dataset.file_suffix == ".parquet":
        yield from _parquet_rows(path, columns)
    elif dataset.file_suffix in (".jsonl", ".ndjson"):
        yield from _jsonl_rows(path, dataset, columns)
    elif dataset.file_suffix == SQUAD_SUFFIX:
        yield from _squad_rows(path, dataset, columns)
    else:
        yield from _csv_rows(path, dataset, columns)


def read_lines(data: bytes, column: str, source: str) -> list[Row]:
    """Rows of UTF-8 text without columns, one text per line; an empty line is an empty text.

    Args:
        data: The text.
        column: What the one column is to be called.
        source: Where it comes from, for the error message.

    Raises:
        UserError: A line is not UTF-8.
    """
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{source}: line {line} is not UTF-8 text") from error
    # Only line feeds end a text: str.splitlines would also cut at rare separators inside one.
    lines = [line.removesuffix("\r") for line in content.split("\n")]
    if lines[-1] == "":
        lines.pop()
    return [Row(n, f"line {n}", {column: line}) for n, line in enumerate(lines, 1)]


def check_readable(path: Path, name: str) -> None:
    """Check that a file exists, is a file, and is not empty.

    Raises:
        UserError: It is not.
    """
    if path.is_dir():
        raise UserError(f"the data set '{name}': {path} is a folder; name one file in it")
    if not path.exists():
        near = (
            suggest(path.name, sorted(p.name for p in path.parent.iterdir()))
            if (path.parent.is_dir())
            else f"there is no folder {path.parent} either"
        )
        raise UserError(f"the data set '{name}': there is no file {path}; {near}")
    if path.stat().st_size == 0:
        raise UserError(f"the data set '{name}': {path} is empty")


def check_columns(path: Path, known: Sequence[str], wanted: Sequence[str]) -> None:
    """Check that a file has the wanted columns (for `a.b`, the column `a`), each once.

    Raises:
        UserError: One is missing or there twice; the sentence suggests the nearest name.
    """
    for column in wanted:
        name = column if column in known else column.split(".")[0]
        if name not in known:
            raise UserError(f"{path} has no column '{column}'; {suggest(column, known)}")
        if known.count(name) > 1:
            raise UserError(f"{path} has the column '{name}' twice; rename one of them")


def _csv_rows(path: Path, dataset: Dataset, columns: Sequence[str]) -> Iterator[Row]:
    delimiter = dataset.delimiter or ("\t" if dataset.file_suffix == ".tsv" else ",")
    lines = _Lines(path, dataset)
    csv.field_size_limit(FIELD_LIMIT)
    if dataset.quotes:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    header = _next_record(reader, lines, path)
    if header is None:
        raise UserError(f"{path} holds no header line")
    lines.header = header
    _check_header(path, header, columns, delimiter)
    number = 0
    while True:
        start = reader.line_num + 1
        record = _next_record(reader, lines, path)
        if record is None:
            break
        if not record:
            # A blank line between records is no row.
            continue
        number += 1
        lines.rows = number
        place = f"row {number} (line {start})"
        if len(record) != len(header):
            yield Row(number, place, fault=RAGGED)
        else:
            yield Row(number, place, dict(zip(header, record, strict=True)))


def _check_header(
    path: Path, header: Sequence[str], columns: Sequence[str], delimiter: str
) -> None:
    if len(header) == 1:
        other = next((d for d in (",", ";", "\t", "|") if d in header[0] and d != delimiter), None)
        if other is not None:
            raise UserError(
                f"{path} has one column, '{shorten(header[0])}'; if it is separated by "
                f"{json.dumps(other)}, set delimiter: {json.dumps(other)}"
            )
    check_columns(path, header, columns)


def _next_record(reader: Iterator[list[str]], lines: "_Lines", path: Path) -> list[str] | None:
    start = lines.number + 1
    try:
        return next(reader, None)
    except csv.Error as error:
        if "unexpected end of data" in str(error) or "field larger" in str(error):
            raise UserError(
                f"{path}: a quote that opens in row {lines.rows + 1} (line {start}) is never "
                "closed; close it, or set quotes: false if quotes are ordinary characters"
            ) from error
        if "new-line character" in str(error):
            raise UserError(
                f"{path}: line {start} ends in a carriage return alone; save the file with "
                "the line ends of this system"
            ) from error
        raise UserError(
            f"{path}: row {lines.rows + 1} (line {start}) has broken quoting ({error}); double the "
            "quotes inside a quoted field, or set quotes: false if quotes are ordinary characters"
        ) from error


def _jsonl_rows(path: Path, dataset: Dataset, columns: Sequence[str]) -> Iterator[Row]:
    lines = _Lines(path, dataset)
    number = 0
    seen: dict[str, None] = {}
    for line in lines:
        if not line.strip():
            continue
        number += 1
        lines.rows = number
        place = f"row {number} (line {lines.number})"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: {place} is not valid JSON ({error})") from error
        if not isinstance(values, dict):
            raise UserError(f"{path}: {place} holds no JSON object with named columns")
        seen.update(dict.fromkeys(values))
        yield Row(number, place, values)
    # JSON objects may leave keys out, so that only the end of the file shows a wrong name.
    if number:
        check_columns(path, list(seen), columns)


def _squad_rows(path: Path, dataset: Dataset, columns: Sequence[str]) -> Iterator[Row]:
    """The questions of a SQuAD file, version 1.1 or 2.0, each with its passage.

    Passages and questions may stand one level higher than in SQuAD, as some converters write them.
    """
    try:
        document = json.loads("".join(_Lines(path, dataset)))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        raise UserError(f"{path} has no list 'data', which SQuAD's format begins with")
    check_columns(path, SQUAD_COLUMNS, columns)
    number = 0
    for article in document["data"]:
        for paragraph in _inside(path, article, "paragraphs"):
            for question in _inside(path, paragraph, "qas"):
                number += 1
                values = {**paragraph, **question}
                yield Row(number, f"question {number}", {c: values.get(c) for c in SQUAD_COLUMNS})


def _inside(path: Path, outer: Any, key: str) -> list[dict[str, Any]]:
    found = outer.get(key, [outer]) if isinstance(outer, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise UserError(f"{path}: '{key}' is no list of objects, as SQuAD's format has it")
    return found


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    # Imported here: the workflow reads this module before any job, mostly for text files.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        if shortage_of(error):
            raise
        raise UserError(f"{path} is not a readable Parquet file ({_first(error)})") from error
    known = file.schema_arrow.names
    check_columns(path, known, columns)
    needed = sorted({c if c in known else c.split(".")[0] for c in columns}, key=known.index)
    number = 0
    try:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=needed):
            for values in batch.to_pylist():
                number += 1
                yield Row(number, f"row {number}", values)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if shortage_of(error):
            raise
        raise UserError(f"{path}: damaged after row {number} ({_first(error)})") from error


class _Lines:
    """Decoded lines of a text file, counting them, and turning bad bytes into one sentence."""

    def __init__(self, path: Path, dataset: Dataset) -> None:
        self.path, self.encoding = path, dataset.encoding
        self.number = 0
        self.rows = 0
        self.header: Sequence[str] = ()

    def __iter__(self) -> Iterator[str]:
        is_gzip = self.path.name.lower().endswith(".gz")
        with self.path.open("rb") as raw:
            stream: io.BufferedIOBase = gzip.GzipFile(fileobj=raw) if is_gzip else raw
            try:
                if self.encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
                    yield from self._wide(stream)
                else:
                    yield from self._narrow(stream)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise UserError(f"{self.path} is damaged or cut short ({error})") from error

    def _narrow(self, stream: io.BufferedIOBase) -> Iterator[str]:
        for raw in stream:
            if self.number == 0:
                raw = self._without_mark(raw)
            self.number += 1
            try:
                yield raw.decode(self.encoding)
            except UnicodeDecodeError as error:
                raise UserError(self._undecodable(raw, error)) from error
            except LookupError as error:
                raise UserError(
                    f"{self.path}: Python knows no encoding '{self.encoding}'; write utf-8, "
                    "latin-1 or cp1252, for example"
                ) from error

    def _wide(self, stream: io.BufferedIOBase) -> Iterator[str]:
        try:
            for line in io.TextIOWrapper(
                cast(IO[bytes], stream), encoding=self.encoding, newline="\n"
            ):
                self.number += 1
                yield line
        except UnicodeError as error:
            raise UserError(
                f"{self.path}: line {self.number + 1} is not {self.encoding}; correct 'encoding'"
            ) from error

    def _without_mark(self, raw: bytes) -> bytes:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UserError(f"{self.path} is written in UTF-16; set encoding: utf-16")
        return raw.removeprefix(b"\xef\xbb\xbf") if self.encoding.lower() in UTF8 else raw

    def _undecodable(self, raw: bytes, error: UnicodeDecodeError) -> str:
        column = self._column_at(raw, error.start)
        where = f"line {self.number}"
        if self.header:
            where = f"row {self.rows + 1} ({where})"
        # Latin-1 gives every byte a character, so that something can be shown.
        around = raw[max(0, error.start - 15) : error.start + 15].decode("latin-1").strip()
        return (
            f"{self.path}: {where}{column} is not valid {self.encoding} (byte "
            f"0x{raw[error.start]:02x} in '{around}'); set 'encoding' to the file's own, such as "
            "latin-1 or cp1252, or save the file as UTF-8"
        )

    def _column_at(self, raw: bytes, position: int) -> str:
        """The column that a byte falls into, where the line is a whole record."""
        try:
            # Latin-1 gives every byte one character, so that positions stay.
            before = next(csv.reader([raw[:position].decode("latin-1")]), [])
            whole = next(csv.reader([raw.decode("latin-1")]), [])
        except csv.Error:
            return ""
        if not self.header or len(whole) != len(self.header):
            return ""
        return f", column '{self.header[max(0, len(before) - 1)]}',"


def _first(error: Exception) -> str:
    return shorten(" ".join(str(error).split()), 120)
