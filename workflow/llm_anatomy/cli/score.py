r"""Score new texts with a saved detector.

    python -m llm_anatomy.cli.score \
        --detector results/toxicity/MODEL/DATASET/detector.safetensors \
        --texts comments.csv --column comment --output scores.csv

Texts come from a CSV, TSV, JSONL or Parquet file, or one per line from any other file or standard
input. Scores go to a CSV, TSV, JSONL or Parquet file, or as CSV to standard output.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from llm_anatomy.artefacts.shortage import shortage_sentence
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.datasets import FILE_SUFFIXES, Dataset
from llm_anatomy.data.readers import read_lines, read_rows
from llm_anatomy.errors import UserError
from llm_anatomy.tables.core import atomic_path
from llm_anatomy.toxicity.detector import check_model, load_detector

logger = logging.getLogger(__name__)

STANDARD = "-"
DEFAULTS = Compute()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, score, and leave with status 1 and one sentence on a mistake."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _score(options)
    except UserError as error:
        logger.error("Error: %s", error)
        sys.exit(1)
    except Exception as error:
        sentence = shortage_sentence(error, _compute(options), "score")
        if not sentence:
            raise
        logger.error("Error: %s", sentence)
        sys.exit(1)


def _compute(options: argparse.Namespace) -> Compute:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", type=Path, required=True, help="detector.safetensors")
    parser.add_argument(
        "--model",
        type=Path,
        help="provenance.json of the detector's model (default: results/models/MODEL/)",
    )
    parser.add_argument("--texts", default=STANDARD, help="file, or - for standard input")
    parser.add_argument("--column", default="text", help="column with the text (default: text)")
    parser.add_argument("--output", default=STANDARD, help="file, or - for standard output")
    parser.add_argument("--device", default=DEFAULTS.device, help="cpu, cuda, cuda:N")
    parser.add_argument("--threads", type=int, default=DEFAULTS.threads, help="CPU threads")
    parser.add_argument(
        "--batch-tokens",
        type=int,
        default=DEFAULTS.batch_tokens,
        help="most padded tokens in one pass; 1 scores texts one at a time",
    )
    return parser


def _score(options: argparse.Namespace) -> None:
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
    ids, texts = _read_texts(options.texts, options.column)
    if not texts:
        raise UserError(f"{_shown(options.texts)} holds no text")

    # Imported late: a mistake above is reported without waiting for torch.
    from llm_anatomy.model.run.loading import load_model
    from llm_anatomy.toxicity.scoring import score_texts

    precision = Precision(dtype=provenance["dtype"], quantisation=provenance["quantisation"])
    loaded = load_model(model, precision, compute)
    scores = score_texts(loaded, detector, texts, compute.batch_tokens)
    scores.insert(0, "row", ids)
    _write(scores, options.output)
    total = scores["milliseconds"].sum()
    unread = int((scores["n_tokens"] == 0).sum())
    logger.info(
        "%d texts, %d tokens, %d cut off, %d without a token and without a score; "
        "%.4g ms in all, %.4g ms per text (median %.4g)",
        len(scores),
        scores["n_tokens"].sum(),
        scores["truncated"].sum(),
        unread,
        total,
        total / len(scores),
        scores["milliseconds"].median(),
    )


def _read_texts(source: str, column: str) -> tuple[list[int], list[str]]:
    """Row (or line) numbers from 1, and the texts; an empty line is a text of no token."""
    if source == STANDARD:
        rows = read_lines(sys.stdin.buffer.read(), column, _shown(source))
    elif _suffix(source) in FILE_SUFFIXES:
        rows = list(read_rows(Dataset(name="texts", path=source, text=column), [column]))
    elif Path(source).is_file():
        rows = read_lines(Path(source).read_bytes(), column, source)
    else:
        raise UserError(f"there is no file {source}; give a file, or - for standard input")
    for row in rows:
        if row.fault or not isinstance(row.values.get(column), str):
            fault = row.fault or f"the column '{column}' holds no text"
            raise UserError(f"{source}: {row.place}: {fault}")
    return [row.number for row in rows], [row.values[column] for row in rows]


def _suffix(source: str) -> str:
    return Path(source.lower().removesuffix(".gz")).suffix


def _shown(source: str) -> str:
    return "standard input" if source == STANDARD else source


def _csv(scores: pd.DataFrame, target: Any) -> None:
    scores.to_csv(target, index=False, float_format="%.9g")


def _tsv(scores: pd.DataFrame, target: Any) -> None:
    scores.to_csv(target, index=False, sep="\t", float_format="%.9g")


def _jsonl(scores: pd.DataFrame, target: Any) -> None:
    scores.to_json(target, orient="records", lines=True, double_precision=12)


def _parquet(scores: pd.DataFrame, target: Any) -> None:
    scores.to_parquet(target, index=False)


_WRITERS = {".csv": _csv, ".tsv": _tsv, ".jsonl": _jsonl, ".parquet": _parquet}


def _write(scores: pd.DataFrame, target: str) -> None:
    if target == STANDARD:
        _csv(scores, sys.stdout)
        return
    with atomic_path(Path(target)) as temporary:
        _WRITERS[Path(target).suffix](scores, temporary)


if __name__ == "__main__":
    main()
