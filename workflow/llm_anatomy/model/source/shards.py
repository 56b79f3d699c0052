"""Which safetensors file holds which tensor; reads headers only."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_anatomy.errors import UserError


@dataclass(frozen=True)
class ShardHeader:
    """What a safetensors file says about itself.

    Attributes:
        tensors: Per tensor `dtype`, `shape` and `data_offsets`.
        data_start: Byte at which the tensors' data begin; offsets count from there.
    """

    tensors: dict[str, dict[str, Any]]
    data_start: int


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
    names: dict[str, str] = {}
    for file in files:
        try:
            names |= dict.fromkeys(read_header(file).tensors, file.name)
        except ValueError as error:
            raise UserError(f"{file} is not a readable safetensors file") from error
    return names


def read_header(file: Path) -> ShardHeader:
    """The header of a safetensors file: 8 bytes that say how long it is, then JSON.

    Raises:
        ValueError: It cannot be read.
    """
    with file.open("rb") as stream:
        prefix = stream.read(8)
        size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if size > file.stat().st_size:
            raise ValueError("header longer than the file")
        header = json.loads(stream.read(size))
    if not isinstance(header, dict):
        raise ValueError("header is not a JSON object")
    header.pop("__metadata__", None)
    return ShardHeader(header, 8 + size)
