"""Which files and settings each model and data set is made from."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from snakemake.io import local

from llm_anatomy.artefacts.files import sha256_file
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.config.models import ModelSource
from llm_anatomy.config.root import Configuration
from llm_anatomy.data.builtin.registry import BUILTINS
from llm_anatomy.data.wheels import known_wheel
from llm_anatomy.model.source.folder import source_files
from llm_anatomy.rulebook.settings import settings_json

# Braces around a word, with or without a constraint, are a wildcard wherever they stand.
_WILDCARD = re.compile(r"\{\s*\w")
WHEEL_FOLDER = Path("results/wheels")

Entry = TypeVar("Entry", ModelSource, Dataset)
Answer = TypeVar("Answer")


def for_entry(
    wildcard: str, entries: Sequence[Entry], answer: Callable[[Entry], Answer]
) -> Callable[[Any], Answer]:
    """An input or parameter function: what `answer` says of the entry that a wildcard names."""

    def of_wildcards(wildcards: Any) -> Answer:
        name = getattr(wildcards, wildcard)
        return answer(next(entry for entry in entries if entry.name == name))

    return of_wildcards


def trackable(files: Sequence[str]) -> list[str]:
    """The files that Snakemake can track: not those in whose path it would read a wildcard."""
    return [file for file in files if not _WILDCARD.search(file)]


def untrackable(files: Sequence[str]) -> list[str]:
    """The other files, each with the hash of its content, as a parameter that takes their place.

    Snakemake has no way to escape braces in an input, and reruns what has another parameter.
    """
    return [f"{file} {_sha256(file, *_state(file))}" for file in files if _WILDCARD.search(file)]


def _state(file: str) -> tuple[int, int]:
    found = Path(file).stat()
    return found.st_size, found.st_mtime_ns


@cache
def _sha256(file: str, size: int, changed: int) -> str:
    """A file's hash, computed once for each state that a run sees."""
    return sha256_file(Path(file))


def model_inputs(source: ModelSource) -> list[str]:
    """A model's wheel or the user's own files; none for a hub model, which its commit pins.

    The user's files are local: with object storage they stay where they are, and the job beside
    them.
    """
    if source.wheel is not None:
        return _wheels([source.wheel])
    own: list[str] = local(trackable(source_files(source)))
    return own


def untracked_model(source: ModelSource) -> list[str]:
    """A parameter for the model's files that Snakemake cannot track."""
    return untrackable(source_files(source))


def dataset_inputs(dataset: Dataset) -> list[str]:
    """A data set's wheels or the user's file; none for hub data and generated relations."""
    if dataset.builtin is not None:
        return _wheels(BUILTINS[dataset.builtin].wheels)
    own: list[str] = local(trackable([dataset.path] if dataset.path is not None else []))
    return own


def untracked_dataset(dataset: Dataset) -> list[str]:
    """A parameter for the data set's file where Snakemake cannot track it."""
    return untrackable([dataset.path] if dataset.path is not None else [])


def needed_wheels(configuration: Configuration) -> list[str]:
    """File names of the wheels of all configured models and data sets, each once."""
    needed = [
        *(model.wheel for model in configuration.models if model.wheel),
        *(
            wheel
            for d in configuration.datasets
            if d.builtin
            for wheel in BUILTINS[d.builtin].wheels
        ),
    ]
    return [known_wheel(wheel).filename for wheel in dict.fromkeys(needed)]


def part_tables(dataset: Dataset) -> list[str]:
    """The tables that a mixture is made from, each once: its parts, and what is put into them."""
    names = [name for part in dataset.parts for name in (part.dataset, part.insert) if name]
    return [f"results/data/{name}.parquet" for name in dict.fromkeys(names)]


def model_settings(configuration: Configuration) -> Callable[[ModelSource], str]:
    """The settings of `prepare_model`."""
    # How the model is asked in a chat changes nothing of what is prepared.
    return lambda source: settings_json(
        model=source.model_dump(mode="json", exclude={"chat"}), precision=configuration.precision
    )


def dataset_settings(configuration: Configuration) -> Callable[[Dataset], str]:
    """The settings of `build_dataset` and `mix_datasets`."""
    return lambda dataset: settings_json(seed=configuration.seed, dataset=dataset)


def one_of(names: Sequence[str]) -> str:
    """A wildcard constraint that matches these names; nothing where there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def _wheels(requirements: Sequence[str]) -> list[str]:
    """Wheels as inputs, each made by a job of its own: a new data set fetches no other's again.

    They are not `ancient`, although their bytes are pinned: Snakemake looks at no parameter of the
    jobs behind one that is to run, because it takes for granted that these run too; but behind
    inputs whose times do not count they would not, and keep what older code had made.
    """
    return [_wheel_path(requirement) for requirement in requirements]


def _wheel_path(requirement: str) -> str:
    return (WHEEL_FOLDER / known_wheel(requirement).filename).as_posix()
