"""Which files of a model were checked, and what they looked like from outside then."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from llm_anatomy.artefacts.documents import write_json

# Hidden: it belongs to this copy of the files on this disk, not to the results.
MEMORY = ".checked.json"


def remember(folder: Path, hashes: Mapping[Path, str]) -> None:
    """Note that files have these hashes, as long as nothing touches them.

    Args:
        folder: The model's folder; where nothing can be written there, nothing is remembered.
        hashes: Sha256 of files, just read.
    """
    with suppress(OSError):
        write_json(folder / MEMORY, {file.name: _seen(file, h) for file, h in hashes.items()})


def untouched(folder: Path, hashes: Mapping[Path, str]) -> set[Path]:
    """The files that were seen with these hashes, and have kept size, time and inode since."""
    try:
        memory = json.loads((folder / MEMORY).read_text(encoding="utf-8"))
        return {file for file, h in hashes.items() if memory.get(file.name) == _seen(file, h)}
    except (OSError, ValueError, AttributeError):
        return set()


def _seen(file: Path, sha256: str) -> list[str | int]:
    status = file.stat()
    return [sha256, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
