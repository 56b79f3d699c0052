"""The libraries of the report and the atlas: pinned, kept in the project, never changed here."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).parent / "vendor"
LIST = VENDOR / "vendored.json"


def libraries() -> list[dict[str, Any]]:
    """Every library: package, version, licence, what for, on which page, and its files.

    Of each file: its name here, its path in the npm package, its size in bytes and its SHA-256.
    """
    found: list[dict[str, Any]] = json.loads(LIST.read_text(encoding="utf-8"))
    return found


def vendored_files(page: str, licences: bool = False) -> list[str]:
    """Names of a page's scripts and styles, in the order in which they are loaded.

    Args:
        page: `atlas` or `report`.
        licences: Whether the licences are named, too.
    """
    return [
        file["name"]
        for library in libraries()
        for file in library["files"]
        if library["page"] == page and (licences or not file["name"].endswith("LICENSE"))
    ]


def differences(folder: Path = VENDOR) -> Iterator[str]:
    """One sentence for every vendored file that is missing, or not the one that was pinned."""
    for library in libraries():
        for file in library["files"]:
            path = folder / file["name"]
            if not path.is_file():
                yield f"{path} is missing"
                continue
            content = path.read_bytes()
            if len(content) != file["bytes"]:
                yield f"{path} has {len(content)} bytes, not {file['bytes']}"
            elif hashlib.sha256(content).hexdigest() != file["sha256"]:
                yield f"{path} is not the file that was pinned"
