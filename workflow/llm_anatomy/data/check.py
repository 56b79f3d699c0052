"""The cheap check of a configured data set, while the workflow is being read.

Only the first rows of a user's file are read; nothing is fetched.
"""

import importlib.util
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data import records, relations, texts
from llm_anatomy.data.columns import Row
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
    check = CHECKS.get(dataset.kind, _check_records)
    used = check(dataset, dataset.path, intake)
    if intake.rows_in == 0:
        raise UserError(f"the data set '{dataset.name}': {dataset.path} holds no rows")
    if used == 0:
        raise UserError(
            f"the data set '{dataset.name}': none of the first {intake.rows_in} rows of "
            f"{dataset.path} is usable ({', '.join([*intake.aside, *intake.warnings])})"
        )


def _first_rows(
    dataset: Dataset, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[Row]:
    return islice(read_rows(dataset, columns, optional), CHECKED_ROWS)


def _check_texts(dataset: Dataset, source: str, intake: Intake) -> int:
    rows = _first_rows(dataset, texts.needed_columns(dataset))
    seen: dict[str, Counter[str]] = {}
    items = list(texts.candidates(dataset, rows, source, intake, seen))
    if items and intake.rows_in < CHECKED_ROWS:
        # The whole file was read, so that a label without both classes is certain.
        texts.texts_table(dataset, items, seen)
    return len(items)


def _check_relation(dataset: Dataset, source: str, intake: Intake) -> int:
    optional = relations.optional_columns(dataset)
    rows = _first_rows(dataset, relations.needed_columns(dataset), optional)
    return sum(1 for _ in relations.examples(dataset, rows, source, intake))


def _check_records(dataset: Dataset, source: str, intake: Intake) -> int:
    rows = _first_rows(dataset, records.needed_columns(dataset))
    items = list(records.records(dataset, rows, source, intake))
    if items and dataset.kind == "prompts" and intake.rows_in < CHECKED_ROWS:
        records.check_prompts(items, source)
    return len(items)


CHECKS = {
    "texts": _check_texts,
    "relation": _check_relation,
    "completions": _check_relation,
}
