"""How much a data set holds: counted in its table, else in the user's file, else assumed."""

from functools import cache
from pathlib import Path

import pyarrow.parquet as pq

from llm_anatomy.config.root import Configuration

DATA = Path("results/data")
# What a data set is taken to hold before it has been read.
ASSUMED_ROWS = 1000
ASSUMED_TOKENS = 200
# Rows and mean tokens of the builtin data, which pinned packages bring.
BUILTIN_ROWS = {
    "harmful_responses": 671,
    "toxicity_types": 623,
    "domains": 240,
    "refusals": 99,
    "capitals": 171,
    "languages": 108,
    "currencies": 174,
    "continents": 185,
    "months": 12,
    "numbers": 19,
}
BUILTIN_TOKENS = {"harmful_responses": 90, "toxicity_types": 17, "domains": 68, "refusals": 90}
# Of English and code, with the marks between the values of a column.
BYTES_PER_TOKEN = 4.4
# Files with one row a line; of a larger one the first bytes tell how long a line is.
LINES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
READ_BYTES = 1 << 24


def rows_of(configuration: Configuration, name: str) -> int:
    """Rows of a data set or relation: of its table, else of its file, else as it may hold."""
    table = DATA / f"{name}.parquet"
    try:
        return _rows(table, table.stat().st_mtime_ns)
    except Exception:  # absent, or damaged: the stage that reads it says so
        dataset = next((d for d in configuration.datasets if d.name == name), None)
    if dataset is None:
        return ASSUMED_ROWS
    held = BUILTIN_ROWS.get(dataset.builtin or "")
    if dataset.path:
        held = _rows_of_file(Path(dataset.path))
    limits = [count for count in (held, dataset.max_rows) if count is not None]
    return min(limits, default=ASSUMED_ROWS)


def tokens_of(configuration: Configuration, name: str) -> float:
    """Mean tokens of a data set's texts: by the bytes of its table, else as it may have."""
    table = DATA / f"{name}.parquet"
    try:
        return _bytes_per_text(table, table.stat().st_mtime_ns) / BYTES_PER_TOKEN
    except Exception:  # absent, damaged or without texts
        dataset = next((d for d in configuration.datasets if d.name == name), None)
    builtin = dataset.builtin if dataset is not None else None
    return BUILTIN_TOKENS.get(builtin or "", ASSUMED_TOKENS)


def _rows_of_file(path: Path) -> int | None:
    """Rows of a user's file, about; None where they cannot be told without reading it all."""
    try:
        if path.suffix == ".parquet":
            return _rows(path, path.stat().st_mtime_ns)
        if path.suffix in LINES:
            return _lines(path, path.stat().st_mtime_ns, path.stat().st_size)
    except Exception:  # absent, or damaged: the stage that reads it says so
        pass
    return None


@cache
def _rows(table: Path, made: int) -> int:
    """Rows of a table that was made at a time: read again when it is made again."""
    return int(pq.read_metadata(table).num_rows)


@cache
def _lines(path: Path, made: int, size: int) -> int:
    """Lines of a text file without its head."""
    with path.open("rb") as file:
        read = file.read(READ_BYTES)
    lines = read.count(b"\n") + (0 if read.endswith(b"\n") or not read else 1)
    head = 1 if path.suffix in (".csv", ".tsv") else 0
    return max(round(lines * size / max(len(read), 1)) - head, 0)


@cache
def _bytes_per_text(table: Path, made: int) -> float:
    """Mean bytes of the column `text`."""
    metadata = pq.read_metadata(table)
    column = metadata.schema.names.index("text")
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    return float(sum(g.column(column).total_uncompressed_size for g in groups) / metadata.num_rows)
