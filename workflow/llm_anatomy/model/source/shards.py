"""Safetensors files, of which the headers alone are read: which holds which tensor, of what shape.

Standard library only, so that the workflow can ask while it is being read.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_anatomy.errors import UserError


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself.

    Attributes:
        tensors: Of every tensor its `dtype`, `shape` and `data_offsets`, by its name.
        n_bytes: How long the whole file is when it is complete.
    """

    tensors: dict[str, dict[str, Any]]
    n_bytes: int


def read_header(file: Path) -> Header:
    """The header of a safetensors file.

    Raises:
        ValueError: The file does not begin with one.
    """
    try:
        with file.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            if size > file.stat().st_size:
                raise ValueError("header longer than the file")
            entries = json.loads(stream.read(size))
        tensors = {name: entry for name, entry in entries.items() if name != "__metadata__"}
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{file} is not a readable safetensors file") from error
    return Header(tensors, 8 + size + end)


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
    try:
        return {name: file.name for file in files for name in read_header(file).tensors}
    except ValueError as error:
        raise UserError(str(error)) from error


def tensor_shapes(weights: Path) -> dict[str, list[int]]:
    """Shape of every tensor of a folder's safetensors files, by its name.

    Raises:
        ValueError: A header cannot be read.
    """
    return {
        name: entry["shape"]
        for file in sorted(weights.glob("*.safetensors"))
        for name, entry in read_header(file).tensors.items()
    }
