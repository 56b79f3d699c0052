"""The cheap check of a configured data set, while the workflow is being read.

Only the first rows of a user's file are read; nothing is fetched.
"""

import importlib.util
from collections import Counter
from itertools import islice
from pathlib import Path

from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data import relations, texts
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.readers import read_rows
from llm_anatomy.errors import UserError

CHECKED_ROWS = 5000


def check_dataset(dataset: Dataset) -> None:
    """Check that a data set's file is there, has the columns, and can be read and labelled.

    Raises:
        UserError: It does not; one sentence names file, row and column.
    """
    if dataset.hub is not None and importlib.util.find_spec("datasets") is None:
        raise UserError(
            f"the data set '{dataset.name}' comes from the hub, which needs the package datasets; "
            "install it with: pip install 'llm-anatomy[hub]'"
        )
    if dataset.path is None:
        return
    intake = Intake()
    if dataset.kind == "relation":
        rows = read_rows(dataset, relations.needed_columns(dataset))
        used = sum(
            1 for _ in relations.examples(dataset, islice(rows, CHECKED_ROWS), dataset.path, intake)
        )
    else:
        used = _check_texts(dataset, intake)
    if intake.rows_in == 0:
        raise UserError(f"the data set '{dataset.name}': {dataset.path} holds no rows")
    if used == 0:
        raise UserError(
            f"the data set '{dataset.name}': none of the first {intake.rows_in} rows of "
            f"{dataset.path} is usable ({', '.join(intake.aside)})"
        )


def _check_texts(dataset: Dataset, intake: Intake) -> int:
    source = str(Path(dataset.path or ""))
    rows = islice(read_rows(dataset, texts.needed_columns(dataset)), CHECKED_ROWS)
    seen: dict[str, Counter[str]] = {}
    items = list(texts.candidates(dataset, rows, source, intake, seen))
    if items and intake.rows_in < CHECKED_ROWS:
        # The whole file was read, so that a label without both classes is certain.
        texts.texts_table(dataset, items, seen)
    return len(items)
