"""Templates of prompts: their placeholders, checked when they are configured, and filled in.

A placeholder is a name in single braces; all other text, lone braces too, stands for itself.
"""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

_BRACES = re.compile(r"\{([^{}]*)\}")
# What is meant as a placeholder: a name or nothing, also as other template languages write it.
_MEANT = re.compile(r"\s*\$?\w*\s*([:!.\[].*)?", re.DOTALL)
# Braces of a formula, such as \frac{1}{2} and x^{2}.
_FORMULA = re.compile(r"(\\[A-Za-z]+(\{[^{}]*\})*|[\^_])$")
# White space within a line: an answer would be read behind a second space.
_TRAILING = re.compile(r"[^\S\r\n]+$")


def check_template(text: str, required: Sequence[str], optional: Sequence[str] = ()) -> str:
    """Check a template's placeholders.

    Args:
        text: The template.
        required: Placeholders without which all prompts would be alike.
        optional: Further ones.

    Raises:
        ValueError: One is missing, not known or written in another way; the sentence says which.
    """
    known = [*required, *optional]
    listed = " and ".join(f"{{{name}}}" for name in known)
    for found in _BRACES.finditer(text):
        inside = found[1]
        around = text[max(0, found.start() - 1) : found.end() + 1]
        if inside in known and (around.startswith("{{") or around.endswith("}}")):
            raise ValueError(f"the placeholder {{{inside}}} has one brace on each side, not two")
        meant = _MEANT.fullmatch(inside) or any(name in inside.split() for name in known)
        if inside not in known and meant and not _FORMULA.search(text[: found.start()]):
            raise ValueError(
                f"the placeholder {found[0]} is not known, and would stay as it is in every "
                f"prompt; what is filled in here is {listed}"
            )
    missing = next((name for name in required if f"{{{name}}}" not in text), None)
    if missing is not None:
        raise ValueError(
            f"the text has no {{{missing}}}, so that what belongs there would be in no prompt; "
            f"write {{{missing}}} where it belongs"
        )
    return text


def placeholders(template: str) -> list[str]:
    """The names in a template's braces, each once, in order."""
    return list(dict.fromkeys(_BRACES.findall(template)))


def check_columns_named(template: str) -> str:
    """Check that a template whose placeholders are columns names one, and each in single braces.

    Raises:
        ValueError: It does not.
    """
    if "{{" in template or "}}" in template:
        raise ValueError("a column stands in one brace on each side, such as {prompt}, not in two")
    if not all(name.strip() for name in placeholders(template)):
        raise ValueError("empty braces name no column; write one into them, such as {prompt}")
    if not placeholders(template):
        raise ValueError(
            "the text has no {column}, so that every row would have the same text; write the names "
            "of columns in braces where their cells belong"
        )
    return template


def check_end(text: str) -> str:
    """Check that a text which a model continues does not end in a space.

    Raises:
        ValueError: It does.
    """
    if _TRAILING.search(text):
        raise ValueError(
            "the text ends in a space, and answers, which begin with one, would stand behind two; "
            "leave it out at the end"
        )
    return text


def without_end(text: str) -> str:
    """A prompt of a data set without the spaces that it ends in; see `check_end`."""
    return _TRAILING.sub("", text)


def fill(template: str, **values: str) -> str:
    """Fill in a template's placeholders, all at once: braces in a value stand for themselves."""
    return _BRACES.sub(lambda found: values.get(found[1], found[0]), template)


def place_of(template: str, name: str, **values: str) -> int:
    """Character of the filled template at which a placeholder's last value begins."""
    before = template[: template.rfind(f"{{{name}}}")]
    return len(fill(before, **values))


# A text that a model goes on with.
OpenText = Annotated[str, Field(min_length=1), AfterValidator(check_end)]
# A text made of columns of a user's data.
ColumnsTemplate = Annotated[str, AfterValidator(check_columns_named)]
SubjectTemplate = Annotated[str, AfterValidator(lambda text: check_template(text, ["subject"]))]
OpenSubjectTemplate = Annotated[SubjectTemplate, AfterValidator(check_end)]
