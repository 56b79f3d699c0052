"""Score new texts with a saved detector.

Texts come from a CSV, TSV, JSON, JSONL or Parquet file, or one per line from any other file or
standard input. Scores go to a CSV, TSV, JSONL or Parquet file, or as CSV to standard output, each
beside its text, with a flag: a text that is shorter, longer, or otherwise unlike all texts that the
detector was trained on, or that a data set would set aside, has no score. A running score has one
row per token, for the beginning of the text that ends in it.
"""

import io
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from llm_anatomy.artefacts.shortage import shortage_sentence
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.datasets import FILE_SUFFIXES, Dataset
from llm_anatomy.data.columns import Row
from llm_anatomy.data.readers import read_lines, read_rows
from llm_anatomy.data.rows import cell_error, read_text
from llm_anatomy.data.values import is_missing, look_up, plain_text
from llm_anatomy.errors import UserError
from llm_anatomy.tables.core import atomic_path
from llm_anatomy.toxicity.detector import IN_RANGE, SPLINE, check_model, load_detector

logger = logging.getLogger(__name__)

STANDARD = "-"


@dataclass(frozen=True)
class ScoreOptions:
    """What is scored, by what, and where the scores go: the options of `llm-anatomy score`."""

    detector: Path
    model: Path | None
    texts: str
    column: str
    id: str | None
    encoding: str
    delimiter: str | None
    output: str
    false_positive_rate: float | None
    stream: bool
    running: bool
    device: str
    threads: int
    batch_tokens: int | None


def score(options: ScoreOptions) -> None:
    """Read texts, score them and write the scores.

    Raises:
        UserError: An option, the detector, its model or the texts are wrong, or memory is short.
    """
    try:
        _score(options)
    except UserError:
        raise
    except Exception as error:
        sentence = shortage_sentence(error, _compute(options), "score")
        if not sentence:
            raise
        raise UserError(sentence) from error


def _compute(options: ScoreOptions) -> Compute:
    try:
        return Compute(
            device=options.device, threads=options.threads, batch_tokens=options.batch_tokens
        )
    except ValidationError as error:
        first = error.errors()[0]
        option, message = str(first["loc"][0]).replace("_", "-"), first["msg"]
        raise UserError(
            f"--{option} is {first['input']!r}: {message.removeprefix('Value error, ')}"
        ) from error


def _score(options: ScoreOptions) -> None:
    compute = _compute(options)
    detector = load_detector(options.detector)
    provenance = detector.description["provenance"]
    model = options.model or Path("results/models") / provenance["model"] / "provenance.json"
    if not model.is_file():
        raise UserError(
            f"there is no model at {model}; give the provenance.json of the model "
            f"'{provenance['model']}' with --model"
        )
    check_model(detector, json.loads(model.read_text(encoding="utf-8")), options.detector)
    if options.output != STANDARD and Path(options.output).suffix not in _WRITERS:
        raise UserError(
            f"--output is {options.output}; its suffix must be one of {', '.join(_WRITERS)}"
        )
    if options.stream and (options.texts, options.output) != (STANDARD, STANDARD):
        raise UserError(
            "--stream reads standard input and writes standard output line by line; leave --texts "
            "and --output out, or leave --stream out"
        )
    given = _Input({}, [], []) if options.stream else _read_input(options)
    if not given.texts and not options.stream:
        raise UserError(f"{_shown(options.texts)} holds no text")

    # Imported late: a mistake above is reported without waiting for torch.
    from llm_anatomy.model.run.loading import load_model
    from llm_anatomy.toxicity.prompt_scoring import flagged, score_prompts
    from llm_anatomy.toxicity.running import running_scores
    from llm_anatomy.toxicity.scoring import score_texts

    precision = Precision(dtype=provenance["dtype"], quantisation=provenance["quantisation"])
    loaded = load_model(model, precision, compute)
    flags = [f"flag_{label}" for label in detector.labels]

    def scored(rows: _Input) -> pd.DataFrame:
        if options.running:
            parts = [running_scores(loaded, detector, text) for text in rows.texts]
            rows = rows.repeated([len(part) for part in parts])
            scores = pd.concat(parts, ignore_index=True)
        else:
            score = score_texts if detector.reads == SPLINE else score_prompts
            scores = score(loaded, detector, rows.texts, loaded.batch_tokens)
        if options.false_positive_rate is not None:
            scores = scores.join(flagged(detector, scores, options.false_positive_rate))
        for number, fault in enumerate(rows.faults):
            if fault:
                scores.loc[number, flags] = fault
        for place, (name, values) in enumerate(rows.columns.items()):
            scores.insert(place, name, values)
        return scores

    if options.stream:
        _stream(scored, options.encoding)
        return
    scores = scored(given)
    _write(scores, options.output)
    counted = "beginnings" if options.running else "texts"
    for flag in flags:
        counts = scores.loc[scores[flag] != IN_RANGE, flag].value_counts()
        for reason, count in counts.items():
            logger.info("%s: %d %s without a score: %s", flag, count, counted, reason)
    if options.running:
        logger.info("%d texts, %d beginnings", len(given.texts), len(scores))
        return
    total = scores["milliseconds"].sum()
    logger.info(
        "%d texts, %d tokens, %d cut off; %.4g ms in all, %.4g ms per text (median %.4g)",
        len(scores),
        scores["n_tokens"].sum(),
        scores["truncated"].sum(),
        total,
        total / len(scores),
        scores["milliseconds"].median(),
    )


@dataclass(frozen=True)
class _Input:
    """Rows to score: what identifies each, its text, and why it cannot be read (else empty)."""

    columns: dict[str, list[Any]]
    texts: list[str]
    faults: list[str]

    def repeated(self, times: list[int]) -> "_Input":
        """Each row as often as it is scored."""

        def repeat(values: list[Any]) -> list[Any]:
            return [value for value, n in zip(values, times, strict=True) for _ in range(n)]

        columns = {name: repeat(values) for name, values in self.columns.items()}
        return _Input(columns, repeat(self.texts), repeat(self.faults))


def _read_input(options: ScoreOptions) -> _Input:
    """Rows or lines from 1, in order; what an intake would set aside stays, with its fault."""
    source, column, id_column = options.texts, options.column, options.id
    shown = _shown(source)
    is_table = source != STANDARD and _suffix(source) in FILE_SUFFIXES
    if id_column and not is_table:
        raise UserError(
            f"--id is {id_column}, and {shown} has no columns; leave --id out, or give a table "
            f"({', '.join(FILE_SUFFIXES)})"
        )
    if source == STANDARD:
        rows = read_lines(sys.stdin.buffer.read(), column, shown, options.encoding)
    elif is_table:
        settings = {"delimiter": options.delimiter, "encoding": options.encoding}
        wanted = [column, *([id_column] if id_column else [])]
        rows = list(read_rows(_dataset(source, column, settings), wanted))
    elif Path(source).is_file():
        rows = read_lines(Path(source).read_bytes(), column, shown, options.encoding)
    else:
        raise UserError(f"there is no file {source}; give a file, or - for standard input")
    texts = ["" if row.fault else read_text(row, column, "--column", shown) for row in rows]
    columns: dict[str, list[Any]] = {"row": [row.number for row in rows]}
    if id_column:
        columns["id"] = [_id(row, id_column, shown) for row in rows]
    # Half a surrogate pair can stand in no file.
    columns["text"] = [text.encode("utf-8", "replace").decode() for text in texts]
    return _Input(columns, texts, [row.fault for row in rows])


def _dataset(source: str, column: str, settings: dict[str, Any]) -> Dataset:
    try:
        return Dataset(name="texts", path=source, text=column, **settings)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(
            f"--{problem['loc'][0]} is {json.dumps(problem['input'])}; {problem['msg'].lower()}"
        ) from error


def _id(row: Row, column: str, source: str) -> str:
    value = look_up(row.values, column)
    try:
        return "" if is_missing(value) else plain_text(value)
    except ValueError as error:
        raise cell_error(source, row, column, error) from error


def _suffix(source: str) -> str:
    return Path(source.lower().removesuffix(".gz")).suffix


def _shown(source: str) -> str:
    return "standard input" if source == STANDARD else source


def _csv(scores: pd.DataFrame, target: Any, header: bool = True) -> None:
    scores.to_csv(target, index=False, float_format="%.9g", header=header)


def _tsv(scores: pd.DataFrame, target: Any) -> None:
    scores.to_csv(target, index=False, sep="\t", float_format="%.9g")


def _jsonl(scores: pd.DataFrame, target: Any) -> None:
    scores.to_json(target, orient="records", lines=True, double_precision=12)


def _parquet(scores: pd.DataFrame, target: Any) -> None:
    scores.to_parquet(target, index=False)


_WRITERS = {".csv": _csv, ".tsv": _tsv, ".jsonl": _jsonl, ".parquet": _parquet}


def _stream(scored: Callable[["_Input"], pd.DataFrame], encoding: str) -> None:
    """Score standard input line by line, each as it comes."""
    for number, data in enumerate(iter(sys.stdin.buffer.readline, b""), 1):
        (row,) = read_lines(data, "text", _shown(STANDARD), encoding)
        text = "" if row.fault else row.values["text"]
        shown = text.encode("utf-8", "replace").decode()
        columns: dict[str, list[Any]] = {"row": [number], "text": [shown]}
        scores = scored(_Input(columns, [text], [row.fault]))
        _csv(scores, sys.stdout, header=number == 1)
        sys.stdout.flush()


def _write(scores: pd.DataFrame, target: str) -> None:
    if target == STANDARD:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        _csv(scores, sys.stdout)
        return
    with atomic_path(Path(target)) as temporary:
        _WRITERS[Path(target).suffix](scores, temporary)
