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
        UserError: There is no safetensors file, a shard of the index is missing, a header cannot be
            read, two files hold the same tensor, or the index says something else.
    """
    index = weights / "model.safetensors.index.json"
    named: dict[str, str] | None = None
    if index.exists():
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        missing = sorted({f for f in named.values() if not (weights / f).exists()})
        if missing:
            raise UserError(f"{weights} lacks the shard {missing[0]} that {index.name} names")
    files = sorted(weights.glob("*.safetensors"))
    if not files:
        raise UserError(f"{weights} holds no safetensors file; convert the weights to safetensors")
    found: dict[str, str] = {}
    for file in files:
        for name in _header(file).tensors:
            if name in found:
                raise UserError(
                    f"{weights}: {found[name]} and {file.name} both hold the tensor '{name}', and "
                    "which of them counts is chance; save the model again (save_pretrained)"
                )
            found[name] = file.name
    if named is not None and named != found:
        wrong = min(name for name in named.keys() | found if named.get(name) != found.get(name))
        raise UserError(
            f"{weights}: {index.name} says that the tensor '{wrong}' is in "
            f"{named.get(wrong, 'no file')}, but it is in {found.get(wrong, 'none')}; the shards "
            "of two models may be mixed, so download or save the model again"
        )
    return found


def _header(file: Path) -> Header:
    try:
        return read_header(file)
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


def stored_tensors(weights: Path) -> dict[str, dict[str, Any]]:
    """Of every tensor of a folder's safetensors files its `dtype` and `shape`, by its name.

    Raises:
        UserError: As `tensor_files`.
    """
    files = tensor_files(weights)
    headers = {file: _header(weights / file).tensors for file in set(files.values())}
    return {name: headers[file][name] for name, file in files.items()}
