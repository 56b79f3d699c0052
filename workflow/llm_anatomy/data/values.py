"""What a cell of a user's table means: missing, a boolean, a class, a score, a list, a text.

One rule each, whatever the kind of data:

* **Missing** is a cell that is empty, holds nothing visible, or a typed null (JSON's null, NaN).
  Every word is a value: `none`, `NA` and `null` are classes, ids and answers. Only where a number
  or a boolean is asked for, which no such word can be, do they mean that there is none.
* **Numbers** are compared exactly, whatever their type: 2, 2.0 and "2" are one class, integers of
  any length are told apart, and "007", "1e5" and "1_0" are texts.
* **Booleans** are true and false in any case; `positive` and `filters` name other words.
* **Lists** are typed lists, or a JSON list in a text cell; a text cell that begins like a list and
  is none is an error.
"""

import difflib
import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any

# Words for "no number" and "no boolean", as numpy, R and spreadsheets write them.
MISSING_WORDS = {"nan", "null", "none", "na", "n/a", "<na>"}
TRUE_WORDS = {"true", "yes", "t", "y", "1"}
FALSE_WORDS = {"false", "no", "f", "n", "0"}
ANSWER_SEPARATOR = "|"

# ASCII digits without leading zeros: what else Python takes for a number may be a name.
_NUMBER = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_UNSEEN = ("Zs", "Zl", "Zp", "Cc", "Cf")
# Characters that show nothing although their category says letter, mark or symbol: Hangul fillers,
# blank Braille, the grapheme joiner, variation selectors.
_BLANK = re.compile(
    "[\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)


def is_missing(value: Any) -> bool:
    """Whether a cell says nothing: a typed null, or text in which nothing can be seen."""
    if isinstance(value, str):
        return is_blank(value)
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_blank(text: str) -> bool:
    """Whether nothing in a text can be seen: white space, zero-width and control characters."""
    return not any(_shows(character) for character in text)


def plain_text(value: Any) -> str:
    """One value as text: texts stripped, numbers without an exponent or empty decimals.

    Raises:
        ValueError: The value is missing, a list, an object, or bytes; the sentence says so.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal):
        exact = Decimal(repr(value)) if isinstance(value, float) else value
        return _number(format(exact, "f")) or str(value)
    if isinstance(value, date | time):
        return value.isoformat()
    raise ValueError(f"it holds {_kind(value)} where one value belongs ({shorten(value)})")


def canonical(value: Any) -> str:
    """One spelling for equal values, so that 2, 2.0, "2" and " 2 " are the same class.

    A missing value is spelled "".

    Raises:
        ValueError: The cell holds a list or an object.
    """
    if is_missing(value):
        return ""
    text = unicodedata.normalize("NFC", plain_text(value))
    lowered = text.lower()
    return lowered if lowered in ("true", "false") else _number(text) or text


def as_boolean(value: Any) -> bool | None:
    """A boolean from true/false, yes/no or 1/0 in any case; None where there is none.

    Raises:
        ValueError: The value is none of these; the sentence says so.
    """
    word = canonical(value).lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    if not word or word in MISSING_WORDS:
        return None
    raise ValueError(
        f"'{shorten(value)}' is no boolean; write true/false, yes/no or 1/0, or say with "
        "'positive' which values are true"
    )


def as_score(value: Any) -> float | None:
    """A finite number; None where there is none.

    Raises:
        ValueError: The value is something else.
    """
    if is_missing(value) or str(value).strip().lower() in MISSING_WORDS:
        return None
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"'{shorten(value)}' is no number, which 'at_least' needs")
    return score


def as_members(value: Any, separator: str | None = None) -> frozenset[str] | None:
    """The members of a list cell, spelled canonically; an empty list is known to hold none.

    Args:
        value: A list, a JSON list, text with separated members, or one value, its only member.
        separator: What separates the members of a text that is no JSON list.

    Raises:
        ValueError: The cell begins like a list and is none, or a member is a list or an object.
    """
    if isinstance(value, str):
        if is_blank(value):
            # An empty cell of a separated list is an empty list; elsewhere nothing is known.
            return None if separator is None else frozenset()
        value = _listed(value, separator)
    if is_missing(value):
        return None
    items = value if isinstance(value, list | tuple | set | frozenset) else [value]
    return frozenset(canonical(item) for item in items if not is_missing(item))


def as_texts(value: Any, separator: str | None = ANSWER_SEPARATOR) -> tuple[str, ...]:
    """The texts of a cell that may hold several, each once and stripped; empty ones are left out.

    A cell is one text or number, a list of them, text separated by `separator`, or one of SQuAD's
    forms: `{"text": [...]}` or a list of `{"text": ...}`. Lists and SQuAD's forms may be written as
    JSON, in a CSV file for example.

    Raises:
        ValueError: The cell holds another object, or begins like a list and is none.
    """
    if isinstance(value, str):
        value = _from_json(value, separator)
    if isinstance(value, Mapping):
        value = _squad_text(value)
    parts = value if isinstance(value, list | tuple) else [value]
    found = [_squad_text(part) if isinstance(part, Mapping) else part for part in parts]
    texts = (plain_text(part) for part in found if not is_missing(part))
    return tuple(dict.fromkeys(texts))


def look_up(values: Mapping[str, Any], column: str) -> Any:
    """A column's value in a row; `a.b` reaches into an object unless a column is called that."""
    return _reach(values, column)[0]


def has_column(values: Mapping[str, Any], column: str) -> bool:
    """Whether a row has a column, be it empty; `a.b` is in the object that `a` holds."""
    return _reach(values, column)[1]


def suggest(name: str, known: Sequence[str]) -> str:
    """A closing half-sentence for an unknown name: the nearest known one, or all of them."""
    lowered = {item.strip().lower(): item for item in known}
    close = lowered.get(name.strip().lower())
    if close is None:
        nearest = difflib.get_close_matches(name, known, n=1)
        close = nearest[0] if nearest else None
    if close is not None:
        return f"did you mean '{close}'?"
    return f"it has {', '.join(repr(item) for item in known[:20]) or 'none'}"


def shorten(value: Any, length: int = 40) -> str:
    """A value as it appears in a message."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _shows(character: str) -> bool:
    return unicodedata.category(character) not in _UNSEEN and not _BLANK.match(character)


def _number(text: str) -> str:
    """A plain number without a sign at zero and zeros at its end; empty for any other text."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return ""
    sign, whole, decimals = match.groups(default="")
    decimals = decimals.rstrip("0")
    number = f"{whole}.{decimals}" if decimals else whole
    return number if number == "0" else sign + number


def _listed(text: str, separator: str | None) -> Any:
    """The members of a text: a JSON list, or parts between separators, or the text itself."""
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            if separator is None:
                raise ValueError(_no_list(text)) from error
    return text if separator is None else text.split(separator)


def _from_json(text: str, separator: str | None) -> Any:
    """What a cell that begins like a JSON list or object holds; other text as separated parts."""
    begin = text.strip()[:2]
    if begin.startswith(("[", "{")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            if begin.startswith("["):
                raise ValueError(_no_list(text)) from error
            if begin in ('{"', "{'"):
                raise ValueError(f"'{shorten(text)}' begins like an object and is none") from error
    return text if separator is None else text.split(separator)


def _no_list(text: str) -> str:
    return (
        f"'{shorten(text)}' begins like a list and is no JSON list; write one in double quotes, "
        'such as ["a", "b"], or, for a text that begins so, ["[a text"]'
    )


def _squad_text(value: Mapping[str, Any]) -> Any:
    if "text" not in value:
        raise ValueError(
            f"it holds an object ({shorten(json.dumps(value, default=str, ensure_ascii=False))}) "
            "where a text, a number or a list of them belongs; name a value inside it, such as "
            "column.key"
        )
    return value["text"]


def _reach(values: Mapping[str, Any], column: str) -> tuple[Any, bool]:
    """A column's value in a row, and whether the row has the column."""
    if column in values or "." not in column:
        return values.get(column), column in values
    found: Any = values
    for part in column.split("."):
        if isinstance(found, str) and found.lstrip().startswith("{"):
            found = _object(found)
        if not isinstance(found, Mapping) or part not in found:
            return None, False
        found = found[part]
    return found, True


def _object(text: str) -> Any:
    """What a text cell holds that may be a JSON object."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple | set | frozenset):
        return "a list"
    return "nothing" if is_missing(value) else f"a value of type {type(value).__name__}"
