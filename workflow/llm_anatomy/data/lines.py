"""Decoded lines of a text file, whatever wraps or encodes it, and what to say where it is none."""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from llm_anatomy.errors import UserError

# How files begin that are no text, what they are, and what to do.
_SHEET = "save the sheet as CSV (UTF-8)"
_NO_TEXT: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1\x15", "a Parquet file", "give its name the suffix .parquet"),
    (b"PK\x03\x04", "a zip archive, as Excel workbooks (.xlsx) are", _SHEET),
    (b"PK\x05\x06", "an empty zip archive", "give the file that was meant to be in it"),
    (b"\xd0\xcf\x11\xe0", "an old Office document, such as an Excel workbook (.xls)", _SHEET),
    (b"%PDF-", "a PDF document", "give its text as a CSV or JSONL file"),
    (b"{\\rtf", "a rich text document", "save it as plain text"),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV or Parquet"),
    (b"\x89HDF", "an HDF5 file", "save the table as CSV or Parquet"),
    (b"ARROW1", "an Arrow file", "save the table as Parquet"),
    (b"\xff\xff\xff\xff", "an Arrow stream", "save the table as Parquet"),
    (b"\x80\x04\x95", "a Python pickle, which can run code", "save the table as CSV or Parquet"),
    (b"\x80\x05\x95", "a Python pickle, which can run code", "save the table as CSV or Parquet"),
    (b"\xfd7zXZ\0", "compressed with xz", "unpack it, or compress it with gzip"),
    (b"(\xb5/\xfd", "compressed with zstd", "unpack it, or compress it with gzip"),
    (b"BZh91AY", "compressed with bzip2", "unpack it, or compress it with gzip"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"\x1f\x8b", "gzipped twice", "unpack it once"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the data", "fetch it: git lfs pull"),
    (b"<!doctype html", "a web page, not the data", "download the file itself"),
    (b"<html", "a web page, not the data", "download the file itself"),
)
_HEAD = 4096
GZIP = b"\x1f\x8b"
# Every byte is a character of theirs, so that UTF-8 would be read without a word, as other letters.
_WESTERN = ("iso8859-1", "iso8859-15", "cp1252")
_UTF8 = ("utf-8", "utf-8-sig")
# Marks that name an encoding, longest first: UTF-32's little-endian one begins like UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)


class Lines:
    """Lines of a file with their ends, unpacked if it is gzipped, decoded and counted.

    Args:
        source: What messages call the file.
        encoding: The configured encoding.
        opened: Opens its bytes.

    Attributes:
        number: Lines read so far.
        rows: Rows that were made of them, set by the reader, for messages.
        header: Names of the columns, set by the reader, for messages.
    """

    def __init__(self, source: str, encoding: str, opened: Callable[[], IO[bytes]]) -> None:
        self.source, self.encoding = source, encoding
        self._opened = opened
        self.number = 0
        self.rows = 0
        self.header: Sequence[str] = ()

    @classmethod
    def of_file(cls, path: Path, encoding: str) -> "Lines":
        """The lines of a file on the disk."""
        return cls(str(path), encoding, lambda: path.open("rb"))

    @classmethod
    def of_text(cls, source: str, text: str) -> "Lines":
        """The lines of a text that is decoded already."""
        return cls(source, "utf-8", lambda: io.BytesIO(text.encode("utf-8", "surrogatepass")))

    def __iter__(self) -> Iterator[str]:
        name = self._codec()
        with self._opened() as raw:
            stream = io.BufferedReader(cast(io.RawIOBase, raw), 2 * _HEAD)
            try:
                if stream.peek(2)[:2] == GZIP:
                    unpacked = gzip.GzipFile(fileobj=stream)
                    stream = io.BufferedReader(cast(io.RawIOBase, unpacked), 2 * _HEAD)
                self._check_head(stream.peek(_HEAD)[:_HEAD], name)
                # Where a line feed is more than its byte, lines cannot be cut before decoding.
                narrow = name in _UTF8 or "\n".encode(name) == b"\n"
                yield from self._narrow(stream) if narrow else self._wide(stream)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise UserError(f"{self.source} is damaged or cut short ({error})") from error

    def _codec(self) -> str:
        try:
            # Codecs that are no encodings of text, such as base64, fail here.
            "x".encode(self.encoding)
            return codecs.lookup(self.encoding).name
        except (LookupError, ValueError) as error:
            raise UserError(
                f"{self.source}: Python knows no text encoding '{self.encoding}'; write utf-8, "
                "latin-1 or cp1252, for example"
            ) from error

    def _check_head(self, head: bytes, name: str) -> None:
        """Refuse what is no text, or text in another encoding than the configured one."""
        lowered = head[:64].lower()
        for begin, what, remedy in _NO_TEXT:
            if head.startswith(begin) or (begin[:1] == b"<" and lowered.startswith(begin)):
                raise UserError(f"{self.source} is {what}; {remedy}")
        marked = next((found for mark, found in _MARKS if head.startswith(mark)), None)
        wide = name.startswith(("utf-16", "utf-32"))
        if marked is not None and not name.startswith(marked):
            raise UserError(
                f"{self.source} begins with the mark of {marked.upper()}; set encoding: {marked}"
            )
        guess = None if marked else _unmarked(head)
        if guess is not None and name != guess:
            raise UserError(
                f"{self.source} is written in {guess.upper()} without a mark that says so; set "
                f"encoding: {guess}"
            )
        if name in _WESTERN and _is_utf8(head):
            raise UserError(
                f"{self.source} is UTF-8, which {self.encoding} would read as other letters; leave "
                "'encoding' out"
            )
        if wide and not marked and guess is None and name in ("utf-16", "utf-32"):
            raise UserError(
                f"{self.source} has no byte order mark; set encoding: {name}-le or {name}-be"
            )

    def _narrow(self, stream: io.BufferedIOBase) -> Iterator[str]:
        for raw in stream:
            self.number += 1
            try:
                line = raw.decode(self.encoding)
            except UnicodeDecodeError as error:
                raise UserError(self._undecodable(raw, error)) from error
            yield line.lstrip("\ufeff") if self.number == 1 else line

    def _wide(self, stream: io.BufferedIOBase) -> Iterator[str]:
        text = io.TextIOWrapper(cast(IO[bytes], stream), encoding=self.encoding, newline="\n")
        try:
            for line in text:
                self.number += 1
                yield line.lstrip("\ufeff") if self.number == 1 else line
        except UnicodeError as error:
            raise UserError(
                f"{self.source}: line {self.number + 1} is not {self.encoding}; correct 'encoding'"
            ) from error

    def _undecodable(self, raw: bytes, error: UnicodeDecodeError) -> str:
        column = self._column_at(raw, error.start)
        where = f"line {self.number}"
        if self.header:
            where = f"row {self.rows + 1} ({where})"
        # Latin-1 gives every byte a character, so that something can be shown.
        around = raw[max(0, error.start - 15) : error.start + 15].decode("latin-1").strip()
        return (
            f"{self.source}: {where}{column} is not valid {self.encoding} (byte "
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


def is_gzipped(path: Path) -> bool:
    """Whether a file begins as gzip's do."""
    with path.open("rb") as file:
        return file.read(2) == GZIP


def begins_like(path: Path) -> str:
    """What a file is that is no text, by its first bytes; empty for any other."""
    with path.open("rb") as file:
        head = file.read(64)
    return next((what for begin, what, _ in _NO_TEXT if head.startswith(begin)), "")


def _is_utf8(head: bytes) -> bool:
    """Whether the beginning of a file is UTF-8 with letters that are no ASCII."""
    try:
        # What is cut in the middle of a letter is no fault.
        text, _ = codecs.utf_8_decode(head, "strict", False)
    except UnicodeDecodeError:
        return False
    return not text.isascii()


def _unmarked(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, by where its zero bytes lie; None for any other text."""
    # The first line, such as a header, is mostly of Latin letters, whose other bytes are zero.
    head = head.partition(b"\n")[0][: _HEAD // 2] or head[:64]
    for width, name in ((4, "utf-32"), (2, "utf-16")):
        units = len(head) // width
        zeros = [head[place : units * width : width].count(0) for place in range(width)]
        if units < 4:
            continue
        if min(zeros[1:]) > 0.7 * units and zeros[0] == 0:
            return f"{name}-le"
        if min(zeros[:-1]) > 0.7 * units and zeros[-1] <= 1:
            return f"{name}-be"
    return None
