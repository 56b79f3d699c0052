"""Rows out of JSON files: an object a line, a list of objects, and the shapes of known data.

Known are SQuAD's questions (1.1 and 2.0), the relations of LRE (Hernandez et al., arXiv 2308.09124,
`samples` and `prompt_templates`), and CounterFact (Meng et al., arXiv 2202.05262). The last two ask
with prompts of their own, in which `{}` stands for the subject.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.columns import Row
from llm_anatomy.data.lines import Lines
from llm_anatomy.errors import UserError

SQUAD_COLUMNS = ("id", "context", "question", "answers")
# Decoded characters of one document, which is parsed as a whole and then takes several times as
# much memory. An object a line is read line by line, however long the file is.
MOST_CHARACTERS = 1 << 28
_SHAPES = (
    "right would be a list of objects, an object a line, or the format of SQuAD (kind: qa), LRE or "
    "CounterFact (kind: relation)"
)


def json_rows(lines: Lines, dataset: Dataset) -> Iterator[Row]:
    """The rows of a JSON file, by what it holds and not by its suffix.

    Raises:
        UserError: It is not valid JSON, gives a key twice, or holds no rows; the sentence names
            file and row.
    """
    if dataset.file_suffix == ".json":
        yield from _document_rows(lines, dataset)
        return
    numbered = iter(lines)
    first = next((line for line in numbered if line.strip()), "")
    if first.lstrip().startswith("["):
        yield from _document_rows(lines, dataset, chain([first], numbered))
    elif first:
        yield from _line_rows(lines, chain([first], numbered), dataset)


def _line_rows(lines: Lines, numbered: Iterable[str], dataset: Dataset) -> Iterator[Row]:
    for line in numbered:
        if line.strip():
            lines.rows += 1
            place = f"row {lines.rows} (line {lines.number})"
            row = _row(lines.source, lines.rows, place, _parsed(line, lines.source, place))
            yield _counterfact(row) if dataset.kind == "relation" else row


def check_size(size: int, source: str) -> None:
    """Check that a document of some bytes or characters is not too long to be parsed as a whole.

    Raises:
        UserError: It is; the sentence says what is read row by row.
    """
    if size > MOST_CHARACTERS:
        raise UserError(
            f"{source} is a JSON document of more than {MOST_CHARACTERS >> 20} MiB, which could "
            "only be read as a whole; write an object a line, which is read line by line, with jq "
            "-c '.[]' for example, and give the file the suffix .jsonl (or save it as Parquet)"
        )


def _whole(lines: Lines, numbered: Iterable[str]) -> str:
    parts, size = [], 0
    for line in numbered:
        parts.append(line)
        size += len(line)
        check_size(size, lines.source)
    return "".join(parts)


def _document_rows(
    lines: Lines, dataset: Dataset, numbered: Iterable[str] | None = None
) -> Iterator[Row]:
    text = _whole(lines, lines if numbered is None else numbered)
    if not text.strip():
        return
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        if not str(error).startswith("Extra data"):
            raise UserError(f"{lines.source} is not valid JSON ({error})") from error
        # An object a line, under the name of one document.
        again = Lines.of_text(lines.source, text)
        yield from _line_rows(again, again, dataset)
        return
    yield from _rows_of(lines.source, document, dataset)


def _rows_of(source: str, document: Any, dataset: Dataset) -> Iterator[Row]:
    if isinstance(document, Mapping):
        if dataset.kind == "qa" and isinstance(document.get("data"), list):
            yield from _squad_rows(source, document)
            return
        if dataset.kind == "relation" and isinstance(document.get("samples"), list):
            yield from _lre_rows(source, document)
            return
        if not isinstance(document.get("data"), list):
            keys = ", ".join(map(repr, list(document)[:8])) or "none"
            raise UserError(f"{source} holds one object with the keys {keys}; {_SHAPES}")
        document = document["data"]
    if not isinstance(document, list):
        raise UserError(f"{source} holds no JSON object or list; {_SHAPES}")
    for number, item in enumerate(document, 1):
        row = _row(source, number, f"row {number}", item)
        yield _counterfact(row) if dataset.kind == "relation" else row


def _squad_rows(source: str, document: Mapping[str, Any]) -> Iterator[Row]:
    """The questions of a SQuAD file, each with its passage.

    Passages and questions may stand one level higher than in SQuAD, as some converters write them.
    """
    number = 0
    for article in document["data"]:
        for paragraph in _inside(source, article, "paragraphs"):
            for question in _inside(source, paragraph, "qas"):
                number += 1
                values = {**paragraph, **question}
                known = {column: values.get(column) for column in SQUAD_COLUMNS}
                yield Row(number, f"question {number}", known)


def _inside(source: str, outer: Any, key: str) -> list[dict[str, Any]]:
    found = outer.get(key, [outer]) if isinstance(outer, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise UserError(f"{source}: '{key}' is no list of objects, as SQuAD's format has it")
    return found


def _lre_rows(source: str, document: Mapping[str, Any]) -> Iterator[Row]:
    templates = document.get("prompt_templates") or [""]
    if not isinstance(templates, list) or not isinstance(templates[0], str):
        raise UserError(f"{source}: 'prompt_templates' is no list of texts, as LRE's format has it")
    for number, sample in enumerate(document["samples"], 1):
        row = _row(source, number, f"sample {number}", sample)
        values = {"answer": row.values.get("object"), **row.values}
        yield Row(number, row.place, values, template=templates[0])


def _counterfact(row: Row) -> Row:
    asked = row.values.get("requested_rewrite")
    if not isinstance(asked, Mapping):
        return row
    answer = asked.get("target_true")
    values = {
        "subject": asked.get("subject"),
        "answer": answer.get("str") if isinstance(answer, Mapping) else answer,
        **row.values,
    }
    return Row(row.number, row.place, values, template=str(asked.get("prompt") or ""))


def _row(source: str, number: int, place: str, values: Any) -> Row:
    if not isinstance(values, dict):
        raise UserError(f"{source}: {place} holds no JSON object with named columns")
    return Row(number, place, values)


def _parsed(line: str, source: str, place: str) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: {place} is not valid JSON ({error})") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys all differ; Python's own parser would keep the last of two."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{twice}' is given twice in one object")
    return found
