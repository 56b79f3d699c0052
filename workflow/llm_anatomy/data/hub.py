"""Rows of a data set on the Hugging Face hub, through the optional package `datasets`.

The token comes from the environment variable HF_TOKEN alone; offline mode (HF_HUB_OFFLINE=1) is
`datasets`' own.
"""

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from llm_anatomy.artefacts.shortage import shortage_of
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.columns import Row, check_columns, with_columns
from llm_anatomy.data.values import shorten
from llm_anatomy.errors import UserError

# What `datasets` says, version by version, of data that come with a loading script.
_SCRIPT = re.compile(r"[Dd]ataset scripts|trust_remote_code|custom code|loading script")


def hub_rows(
    dataset: Dataset, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[Row]:
    """The rows of one split at one pinned revision, of which only the needed columns are decoded.

    Raises:
        UserError: `datasets` is not installed, the data cannot be fetched, or a column is missing.
    """
    table = _load(dataset)
    known = list(table.column_names)
    source = source_name(dataset)
    check_columns(source, known, columns)
    needed = {c if c in known else c.split(".")[0] for c in (*columns, *optional)}
    # Images and sounds beside the texts are left as they are stored.
    chosen = table.select_columns([name for name in known if name in needed])
    rows = (Row(number, f"row {number}", values) for number, values in enumerate(chosen, start=1))
    yield from with_columns(rows, source, columns, dataset.filter_columns)


def source_name(dataset: Dataset) -> str:
    """A hub data set's id, revision and split, for messages and provenance."""
    subset = f" ({dataset.subset})" if dataset.subset else ""
    return f"{dataset.hub}{subset} at {dataset.revision}, split {dataset.split}"


def _load(dataset: Dataset) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"the data set '{dataset.name}' comes from the hub, which needs the package datasets; "
            "install it with: pip install 'llm-anatomy[hub]'"
        ) from error
    try:
        return datasets.load_dataset(
            dataset.hub,
            name=dataset.subset,
            revision=dataset.revision,
            split=dataset.split,
            # `False` keeps a token that some login left on disk from being used.
            token=os.environ.get("HF_TOKEN") or False,
        )
    except Exception as error:  # datasets raises dozens of types, and those of its HTTP library
        if shortage_of(error):
            raise
        kind = type(error).__name__
        reason = shorten(error, 200)
        hints = {
            "DatasetNotFoundError": "check the id, the revision and, for a gated one, HF_TOKEN",
            "OfflineModeIsEnabled": "offline mode is on and it is not in the cache",
            "ValueError": "check 'split' and 'subset'",
        }
        hint = hints.get(kind, "check the network, or give a file under 'path'")
        if _SCRIPT.search(str(error)):
            hint = (
                "it comes as a program, which is not run; set revision: refs/convert/parquet, "
                "where the hub keeps the same data as files"
            )
        raise UserError(
            f"the data set '{dataset.name}': {source_name(dataset)} cannot be read ({kind}: "
            f"{reason}); {hint}"
        ) from error
