"""From a model and files named on the command line to a configuration that a run accepts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from llm_anatomy.artefacts.files import atomic_path
from llm_anatomy.cli.guess import Guess, guess_dataset
from llm_anatomy.cli.scaffold import configuration_text, model_entry, picked_studies
from llm_anatomy.config.load import load_configuration
from llm_anatomy.config.root import ALL_STUDIES, Study
from llm_anatomy.data.check import check_dataset
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.folder import check_source


def initialise(
    data: Sequence[Path],
    model: str | None,
    revision: str | None,
    columns: Mapping[str, Any],
    studies: Sequence[str],
    output: Path,
    force: bool,
) -> Iterator[str]:
    """Write a configuration; yields what to tell the user, line by line.

    Args:
        data: The files.
        model: Folder, GGUF file or hub id; the default model when left out.
        revision: Of a hub model.
        columns: What the user says of one file's columns, as `guess_dataset` takes it.
        studies: Studies to run; all that the data serve when left out.
        output: The file to write.
        force: Whether a file that is there may be replaced.

    Raises:
        UserError: A file, column, model or study is wrong, or the output is there already.
    """
    if output.exists() and not force:
        raise UserError(f"{output} is there already; give --force to replace it, or --output FILE")
    named = any(columns.values())
    if named and len(data) != 1:
        raise UserError("columns are named for one file; give one, and add others to the result")
    unknown = next((name for name in studies if name not in ALL_STUDIES), None)
    if unknown is not None:
        raise UserError(f"--study is {unknown!r}; the studies are {', '.join(ALL_STUDIES)}")
    entry = model_entry(model, revision)
    guesses = {path: guess_dataset(path, **columns) for path in data}
    for path, guess in guesses.items():
        yield from _told(path, guess)
    picked = [cast(Study, name) for name in studies] or picked_studies(list(guesses.values()))
    text = configuration_text(entry, guesses, picked)
    # What a run checks before its first job, so that the next command does not fail.
    configuration = load_configuration(yaml.safe_load(text), str(output))
    for dataset in configuration.datasets:
        check_dataset(dataset)
    for source in configuration.models:
        check_source(source)
    with atomic_path(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    yield f"Model: {', '.join(f'{key} {value}' for key, value in entry.items())}"
    yield f"Studies: {', '.join(picked)}"
    yield f"Wrote {output}. Read it, then: llm-anatomy plan, llm-anatomy run, llm-anatomy show"
    if output != Path("llm-anatomy.yaml"):
        yield f"(each with --configfile {output})"


def _told(path: Path, guess: Guess) -> Iterator[str]:
    rows = f"{guess.look.rows} rows" + ("" if guess.look.whole else " looked at, and more")
    yield f"{path}: {rows}, {len(guess.look.columns)} columns"
    yield from (f"  {column}: {reason}" for column, reason in guess.reasons.items())
