"""How a value of a table reads in the report."""

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

MISSING = "–"
SIGNIFICANT_DIGITS = 4
# Whitespace is part of a token: ` Paris` and `Paris` are two different ones.
_MARKS = {"\n": "↵", "\r": "␍", "\t": "⇥", "\v": "␋", "\f": "␌"}
_MARK_SPACE = "␣"
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What is read.
        value: A number's exact value; none for anything else.
        marked: Whether a mark stands for whitespace.
    """

    text: str
    value: str | None = None
    marked: bool = False


def column_kind(kind: pa.DataType) -> str:
    """`number`, `flag` or `text`: how a column of this type is set."""
    if pa.types.is_boolean(kind):
        return "flag"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    return "text"


def format_cell(value: Any) -> Cell:
    """Format one value of a table."""
    if value is None:
        return Cell(MISSING)
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(str(value).replace("-", "−"), str(value))
    if isinstance(value, float):
        return Cell(format_number(value), repr(value))
    if isinstance(value, list):
        cells = [format_cell(item) for item in value]
        return Cell(", ".join(cell.text for cell in cells), marked=any(c.marked for c in cells))
    text = mark_whitespace(str(value))
    return Cell(text, marked=text != value)


def format_number(value: float) -> str:
    """Four significant digits, without an exponent where a reader does not need one."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value)).replace("-", "−")
    text = f"{value:.{SIGNIFICANT_DIGITS}g}"
    if SIGNIFICANT_DIGITS <= math.log10(abs(value)) < 6:
        text = f"{value:.0f}"
    elif "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return text.replace("-", "−")


def mark_whitespace(text: str) -> str:
    """Show whitespace that would be invisible: at either end, and line breaks and tabs."""
    stripped = text.strip(" ")
    if not stripped:
        return _MARK_SPACE * len(text)
    start = len(text) - len(text.lstrip(" "))
    end = len(text) - len(text.rstrip(" "))
    for character, mark in _MARKS.items():
        stripped = stripped.replace(character, mark)
    return _MARK_SPACE * start + stripped + _MARK_SPACE * end
