"""Data of the atlas as scripts: what a page that is opened from disk can load piece by piece.

A page under `file://` may not fetch, but it may add a script element. A chunk is one call with the
chunk's name and a payload: a JSON document, deflated, in base64. Payloads therefore hold letters,
digits and `+/=` alone, whatever the texts of strangers hold, and names are escaped.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

# A name inside its part, and a document of plain values.
Chunk: TypeAlias = tuple[str, Any]
# Characters of JSON from which a new chunk is begun: about 100 kB of a script.
CHUNK_CHARACTERS = 400_000
_DIGITS = 4


def write_part(folder: Path, part: str, chunks: Iterable[Chunk]) -> None:
    """Write the chunks of one part of the atlas.

    Args:
        folder: The part's folder, which exists.
        part: Its name from the atlas's folder, such as `neurons/smollm2`.
        chunks: Names and documents.
    """
    for name, document in chunks:
        (folder / f"{name}.js").write_text(script(f"{part}/{name}", document), encoding="ascii")


def script(name: str, document: Any) -> str:
    """The script of one chunk; the same bytes for the same arguments.

    Raises:
        ValueError: The document holds a number that JSON does not have; `plain` leaves none.
    """
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    payload = base64.b64encode(zlib.compress(text.encode("ascii"), 6)).decode()
    quoted = json.dumps(name).replace("<", "\\u003c").replace("\x7f", "\\u007f")
    return f'LA.chunk({quoted},"{payload}")\n'


def read_script(text: str) -> Chunk:
    """The name and document of a chunk's script, as the page reads it."""
    name, payload = json.loads(f"[{text.strip().removeprefix('LA.chunk(').removesuffix(')')}]")
    return name, json.loads(zlib.decompress(base64.b64decode(payload)))


def packed(prefix: str, documents: Iterable[tuple[str, Any]]) -> Iterator[Chunk]:
    """Documents by key, several to a chunk, and last `{prefix}`: the number of every key's chunk.

    Args:
        prefix: Chunks are named `{prefix}-0000` and so on.
        documents: Keys, each once, and documents of plain values.
    """
    places: dict[str, int] = {}
    waiting: dict[str, Any] = {}
    size = number = 0
    for key, document in documents:
        waiting[key] = document
        places[key] = number
        size += len(json.dumps(document))
        if size >= CHUNK_CHARACTERS:
            yield f"{prefix}-{number:04d}", waiting
            waiting, size, number = {}, 0, number + 1
    if waiting:
        yield f"{prefix}-{number:04d}", waiting
    yield prefix, places


def significant(values: Any, digits: int = _DIGITS) -> list[float | int | None]:
    """Numbers rounded to so many significant digits; None where one is missing or not finite."""
    array = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(array)
    safe = np.where(finite, array, 0.0)
    with np.errstate(divide="ignore"):
        exponent = np.floor(np.log10(np.abs(safe)))
    exponent = np.where(np.isfinite(exponent), exponent, 0.0)
    # A whole power of ten as divisor gives the double that is nearest to the decimal number.
    scale = 10.0 ** np.clip(digits - 1 - exponent, 0, 22)
    rounded = np.round(safe * scale) / scale
    return [
        (int(value) if value == int(value) else value) if there else None
        for value, there in zip(rounded.tolist(), finite.tolist(), strict=True)
    ]


def columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """A frame as plain columns: floats to four digits, missing values as None.

    Texts are kept as they are, and so are whole numbers and flags.
    """
    return {str(name): plain(frame[name]) for name in frame.columns}


def plain(values: pd.Series) -> list[Any]:
    """One column as plain values."""
    if pd.api.types.is_float_dtype(values.dtype):
        return significant(values.to_numpy())
    return [_plain_value(value) for value in values.tolist()]


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.ndarray | list | tuple):
        items = list(value)
        return significant(items) if _all_floats(items) else [_plain_value(item) for item in items]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return significant([value])[0]
    return None if value is None or value is pd.NA else value


def _all_floats(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, float | np.floating) for item in items)
