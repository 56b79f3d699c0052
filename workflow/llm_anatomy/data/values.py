"""What a cell of a user's table means: missing, a boolean, a class, a score, a list."""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from llm_anatomy.config.datasets import Label

MISSING_WORDS = {"", "nan", "null", "none", "na", "n/a", "<na>"}
TRUE_WORDS = {"true", "yes", "t", "y", "1", "1.0"}
FALSE_WORDS = {"false", "no", "f", "n", "0", "0.0"}
ANSWER_SEPARATOR = "|"

LabelValue = bool | frozenset[str] | None


def is_absent(value: Any) -> bool:
    """Whether there is no cell, or nothing in it: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_missing(value: Any) -> bool:
    """Whether a cell says nothing: absent, empty, or a word that spreadsheets write for it.

    For cells that hold a value. In a text, `None` or `null` may be what somebody wrote.
    """
    return is_absent(value) or (isinstance(value, str) and value.strip().lower() in MISSING_WORDS)


def canonical(value: Any) -> str:
    """One spelling for equal values, so that 2, 2.0, "2" and " 2 " are the same class."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        lowered = text.lower()
        return lowered if lowered in ("true", "false") else text
    return str(int(number)) if number.is_integer() else repr(number)


def as_boolean(value: Any) -> bool:
    """A boolean from true/false, yes/no or 1/0 in any case.

    Raises:
        ValueError: The value is none of these; the sentence says so.
    """
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError(
        f"'{shorten(value)}' is no boolean; write true/false, yes/no or 1/0, or say with "
        "'positive' which values are true"
    )


def read_label(label: Label, value: Any) -> LabelValue:
    """What one cell says about a label.

    Returns:
        True, False, None for unknown, or with `every_value` the set of the cell's values.

    Raises:
        ValueError: The cell cannot be read that way; the sentence gives the value.
    """
    if label.contains is not None or label.every_value:
        members = as_members(value, label.separator)
        if label.every_value or members is None:
            return members
        return canonical(label.contains) in members
    if is_missing(value):
        return None
    if label.positive is not None:
        found = canonical(value)
        if found in {canonical(v) for v in label.positive}:
            return True
        if label.negative is not None and found not in {canonical(v) for v in label.negative}:
            return None
        return False
    if label.at_least is not None:
        score = as_score(value)
        if score >= label.at_least:
            return True
        below = label.at_least if label.below is None else label.below
        return False if score < below else None
    return as_boolean(value)


def as_score(value: Any) -> float:
    """A finite number.

    Raises:
        ValueError: The value is none.
    """
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"'{shorten(value)}' is no number, which 'at_least' needs")
    return score


def as_members(value: Any, separator: str | None) -> frozenset[str] | None:
    """The members of a list cell, spelled canonically; an empty list is known to hold none."""
    if isinstance(value, list | tuple | set | frozenset):
        return frozenset(canonical(item) for item in value if not is_missing(item))
    if is_missing(value):
        # An empty cell of a separated list is an empty list; elsewhere nothing is known.
        return frozenset() if separator is not None and isinstance(value, str) else None
    if separator is not None and isinstance(value, str):
        parts = (part.strip() for part in value.split(separator))
        return frozenset(canonical(part) for part in parts if part)
    return frozenset({canonical(value)})


def as_texts(value: Any) -> tuple[str, ...]:
    """The texts of a cell that may hold several, each once and stripped; empty ones are left out.

    A cell is a list, text separated by `|`, or one of SQuAD's forms: `{"text": [...]}` or a list of
    `{"text": ...}`. Lists and SQuAD's forms may be written as JSON, in a CSV file for example.
    """
    if isinstance(value, str):
        value = _from_json(value)
    if isinstance(value, Mapping):
        value = value.get("text")
    if isinstance(value, str):
        value = value.split(ANSWER_SEPARATOR)
    parts = value if isinstance(value, list | tuple) else [value]
    found = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    texts = (str(part).strip() for part in found if not is_absent(part))
    return tuple(dict.fromkeys(text for text in texts if text))


def look_up(values: Mapping[str, Any], column: str) -> Any:
    """A column's value in a row; `a.b` reaches into an object unless a column is called that."""
    if column in values or "." not in column:
        return values.get(column)
    found: Any = values
    for part in column.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


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
    text = str(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _from_json(text: str) -> Any:
    """What a cell that begins like a JSON list or object holds; other text as it is."""
    if text.lstrip()[:1] not in ("[", "{"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
