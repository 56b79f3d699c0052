"""JSON documents whose bytes are deterministic, and which carry a hash of themselves."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_anatomy.artefacts.files import atomic_path


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document atomically, with deterministic bytes."""
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
        temporary.write_text(f"{text}\n", encoding="utf-8")


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with a hash of itself, as its key `sha256`."""
    body = {key: value for key, value in document.items() if key != "sha256"}
    text = json.dumps(body, sort_keys=True)
    return {**body, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a sealed document.

    Raises:
        ValueError: It is not the document that was written; the message says in which way.
        OSError: It cannot be read.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or sealed(document) != document:
        raise ValueError("its content does not match its recorded hash")
    return document
