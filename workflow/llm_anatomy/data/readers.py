"""Rows out of a user's CSV, TSV, JSON, JSONL or Parquet file, streamed, with their places.

A row that cannot be read without doubt about its neighbours is an error; a row that is merely
malformed in itself is handed on with its fault, to be set aside and counted.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from llm_anatomy.artefacts.shortage import shortage_of
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.columns import Row, check_columns, with_columns
from llm_anatomy.data.json_rows import check_size, json_rows
from llm_anatomy.data.lines import Lines, begins_like, is_gzipped
from llm_anatomy.data.values import shorten, suggest
from llm_anatomy.errors import UserError

# A field longer than this is a quote that was never closed.
FIELD_LIMIT = 1 << 27
RAGGED = "another number of fields than the header"
BATCH_ROWS = 8192
DELIMITERS = (",", ";", "\t", "|")


def read_rows(
    dataset: Dataset, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[Row]:
    """Stream the rows of a data set's file.

    Args:
        dataset: A data set with a `path`.
        columns: The columns that are needed; a missing one is an error, before any row is read
            where the file names its columns first.
        optional: Columns that are read where they are there.

    Raises:
        UserError: The file is missing or unreadable, or a column is not there; the sentence names
            file, row and column.
    """
    path = Path(dataset.path or "")
    check_readable(path, dataset.name)
    if dataset.file_suffix == ".parquet":
        rows = _parquet_rows(path, columns, optional)
    elif dataset.file_suffix in (".json", ".jsonl", ".ndjson"):
        if dataset.file_suffix == ".json":
            # Before a document of one line is read.
            check_size(path.stat().st_size, str(path))
        rows = json_rows(Lines.of_file(path, dataset.encoding), dataset)
    else:
        rows = _csv_rows(path, dataset, columns)
    yield from with_columns(rows, str(path), columns, dataset.filter_columns)


def read_lines(data: bytes, column: str, source: str, encoding: str = "utf-8") -> list[Row]:
    """Rows of text without columns, one text per line; an empty line is an empty text.

    Args:
        data: The text.
        column: What the one column is to be called.
        source: Where it comes from, for the error message.
        encoding: Its encoding.

    Raises:
        UserError: The data are no text in this encoding.
    """
    # Only line feeds end a text: str.splitlines would also cut at rare separators inside one.
    lines = Lines(source, encoding, lambda: io.BytesIO(data))
    texts = (line.removesuffix("\n").removesuffix("\r") for line in lines)
    return [Row(n, f"line {n}", {column: text}) for n, text in enumerate(texts, 1)]


def check_readable(path: Path, name: str) -> None:
    """Check that a file exists, is a file, and is not empty.

    Raises:
        UserError: It is not.
    """
    if path.is_dir():
        raise UserError(f"the data set '{name}': {path} is a folder; name one file in it")
    if path.is_symlink() and not path.exists():
        raise UserError(
            f"the data set '{name}': {path} is a link to {path.readlink()}, where there is no file"
        )
    if not path.exists():
        near = (
            suggest(path.name, sorted(p.name for p in path.parent.iterdir()))
            if (path.parent.is_dir())
            else f"there is no folder {path.parent} either"
        )
        raise UserError(f"the data set '{name}': there is no file {path}; {near}")
    if path.stat().st_size == 0:
        raise UserError(f"the data set '{name}': {path} is empty")


def _csv_rows(path: Path, dataset: Dataset, columns: Sequence[str]) -> Iterator[Row]:
    delimiter = dataset.delimiter or ("\t" if dataset.file_suffix == ".tsv" else ",")
    lines = Lines.of_file(path, dataset.encoding)
    csv.field_size_limit(FIELD_LIMIT)
    if dataset.quotes:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    header = _next_record(reader, lines)
    while header == []:
        # Blank lines before the header.
        header = _next_record(reader, lines)
    if header is None:
        raise UserError(f"{path} holds no header line")
    lines.header = header
    _check_header(str(path), header, columns, delimiter)
    number = 0
    while True:
        start = reader.line_num + 1
        record = _next_record(reader, lines)
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
    source: str, header: Sequence[str], columns: Sequence[str], delimiter: str
) -> None:
    line = delimiter.join(header)
    if line.startswith("sep=") and len(line) <= 5:
        found = json.dumps(line.removeprefix("sep=") or delimiter)
        raise UserError(
            f"{source} begins with Excel's line '{shorten(line)}', which is no header; delete this "
            f"line and set delimiter: {found}"
        )
    for other in DELIMITERS:
        names = next(csv.reader([line], delimiter=other), [])
        lacking = any(column.split(".")[0] not in header for column in columns)
        if lacking and other != delimiter and all(c.split(".")[0] in names for c in columns):
            raise UserError(
                f"{source} has the columns asked for where its header is separated by "
                f"{json.dumps(other)} and not by {json.dumps(delimiter)}; set delimiter: "
                f"{json.dumps(other)}"
            )
        if lacking and other != delimiter and len(header) == 1 and other in line:
            raise UserError(
                f"{source} has one column, '{shorten(line)}'; if it is separated by "
                f"{json.dumps(other)}, set delimiter: {json.dumps(other)}"
            )
    check_columns(source, header, columns)


def _next_record(reader: Iterator[list[str]], lines: Lines) -> list[str] | None:
    start = lines.number + 1
    try:
        return next(reader, None)
    except csv.Error as error:
        if "unexpected end of data" in str(error) or "field larger" in str(error):
            raise UserError(
                f"{lines.source}: a quote that opens in row {lines.rows + 1} (line {start}) is "
                "never closed; close it, or set quotes: false if quotes are ordinary characters"
            ) from error
        if "new-line character" in str(error):
            raise UserError(
                f"{lines.source}: line {start} ends in a carriage return alone; save the file with "
                "the line ends of this system"
            ) from error
        raise UserError(
            f"{lines.source}: row {lines.rows + 1} (line {start}) has broken quoting ({error}); "
            "double the quotes inside a quoted field, or set quotes: false if quotes are ordinary "
            "characters"
        ) from error


def _parquet_rows(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    # Imported here: the workflow reads this module before any job, mostly for text files.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        if shortage_of(error):
            raise
        what = "gzipped; unpack it" if is_gzipped(path) else begins_like(path)
        reason = f"it is {what}" if what else _first(error)
        raise UserError(f"{path} is not a readable Parquet file ({reason})") from error
    known = file.schema_arrow.names
    check_columns(str(path), known, columns)
    wanted = {c if c in known else c.split(".")[0] for c in (*columns, *optional)}
    needed = [name for name in known if name in wanted]
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


def _first(error: Exception) -> str:
    return shorten(error, 120)
