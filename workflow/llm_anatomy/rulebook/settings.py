"""The settings of a stage as one parameter of its rule."""

import json
import re
from typing import Any

from pydantic import BaseModel


def settings_json(**sections: Any) -> str:
    """The settings of a stage as one deterministic line.

    Name exactly the sections that the stage reads: the line is a rule parameter, so a changed key
    reruns the stages whose lines hold it, and no other.

    Args:
        sections: Settings classes, lists of them, or plain values, by name.
    """
    text = json.dumps({name: _plain(part) for name, part in sections.items()}, sort_keys=True)
    # Snakemake would take a placeholder such as {subject} inside a text for a wildcard.
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda found: _escape_braces(found.group()), text)


def _escape_braces(text: str) -> str:
    return text.replace("{", r"\u007b").replace("}", r"\u007d")


def _plain(section: Any) -> Any:
    if isinstance(section, BaseModel):
        return section.model_dump(mode="json")
    if isinstance(section, list | tuple):
        return [_plain(item) for item in section]
    return section
