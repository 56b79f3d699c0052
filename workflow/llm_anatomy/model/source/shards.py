"""Which safetensors file holds which tensor; reads headers only."""

import json
import struct
from pathlib import Path
from typing import Any

from llm_anatomy.errors import UserError


def tensor_files(weights: Path) -> dict[str, str]:
    """Tensor name to file name, from the headers of a folder's safetensors files.

    Raises:
        UserError: There is no safetensors file, a shard of the index is missing, or a header
            cannot be read.
    """
    index = weights / "model.safetensors.index.json"
    if index.exists():
        mapping: dict[str, str] = json.loads(index.read_text())["weight_map"]
        missing = sorted({f for f in mapping.values() if not (weights / f).exists()})
        if missing:
            raise UserError(f"{weights} lacks the shard {missing[0]} that {index.name} names")
        return mapping
    files = sorted(weights.glob("*.safetensors"))
    if not files:
        raise UserError(f"{weights} holds no safetensors file; convert the weights to safetensors")
    return {name: file.name for file in files for name in _header(file) if name != "__metadata__"}


def _header(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        prefix = stream.read(8)
        size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        try:
            header: dict[str, Any] = json.loads(stream.read(size))
        except (ValueError, OverflowError, MemoryError) as error:
            raise UserError(f"{file} is not a readable safetensors file") from error
    return header
