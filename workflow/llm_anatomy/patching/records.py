"""Read a task's own file or hub dataset into plain records."""

import csv
import json
from pathlib import Path
from typing import Any

from llm_anatomy.config.patching import HubDataset
from llm_anatomy.errors import UserError

Record = dict[str, Any]
FORMATS = ".json (SQuAD), .csv, .jsonl or .parquet"


def read_records(path: Path) -> list[Record]:
    """Rows of a CSV, JSONL or Parquet file, or the questions of a SQuAD JSON file.

    Raises:
        UserError: The file is missing, empty, of another kind, or not readable as what it says.
    """
    if not path.exists():
        raise UserError(f"the task file {path} does not exist; check the task's `file`")
    try:
        records = _READERS[path.suffix.lower()](path)
    except KeyError:
        raise UserError(
            f"the task file {path} ends in '{path.suffix}'; it must be {FORMATS}"
        ) from None
    except (ValueError, OSError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"the task file {path} cannot be read as {path.suffix}: {reason}"
        ) from error
    if not records:
        raise UserError(f"the task file {path} has no rows; give at least one example")
    return records


def read_hub(dataset: HubDataset) -> list[Record]:
    """Rows of a hub dataset.

    Raises:
        UserError: The package `datasets` is not installed, or the hub does not give the data.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"the hub dataset '{dataset.id}' needs the package datasets; install it with: "
            "pip install 'llm-anatomy[hub]'"
        ) from error
    try:
        rows = datasets.load_dataset(
            dataset.id, dataset.config, split=dataset.split, revision=dataset.revision
        )
    except Exception as error:  # the hub client raises a dozen types
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the hub dataset '{dataset.id}' (split '{dataset.split}', revision "
            f"'{dataset.revision}') cannot be read: {reason}"
        ) from error
    return [dict(row) for row in rows]


def require_columns(records: list[Record], columns: tuple[str, ...], source: str) -> None:
    """Check that every record has the columns.

    Raises:
        UserError: One lacks a column; the sentence names the row.
    """
    for number, record in enumerate(records, start=1):
        for column in columns:
            if record.get(column) is None:
                raise UserError(
                    f"{source}: row {number} has no '{column}'; the columns needed are "
                    f"{', '.join(columns)}, found: {', '.join(map(str, record))}"
                )


def _csv(path: Path) -> list[Record]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _jsonl(path: Path) -> list[Record]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(json.loads(line)) for line in lines if line.strip()]


def _parquet(path: Path) -> list[Record]:
    import pyarrow.parquet as pq

    records: list[Record] = pq.read_table(path).to_pylist()
    return records


def _squad(path: Path) -> list[Record]:
    """Questions of a SQuAD v1.1 or v2.0 file, one record each."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or "data" not in document:
        raise ValueError("it has no 'data' list, which SQuAD's format begins with")
    return [
        {
            "id": question["id"],
            "context": paragraph["context"],
            "question": question["question"],
            "answers": question["answers"],
        }
        for article in document["data"]
        for paragraph in article.get("paragraphs", [article])
        for question in paragraph.get("qas", [paragraph])
    ]


_READERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet, ".json": _squad}
