"""Relations: subjects with their answers, out of a user's file."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.columns import Row
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.rows import cell_error, row_id, text_fault, usable_rows
from llm_anatomy.data.values import ANSWER_SEPARATOR, as_texts, is_missing, look_up, plain_text


@dataclass(frozen=True)
class Example:
    """One subject and its answer.

    Attributes:
        number: Position in the source, which orders the table.
        place: Where it stands in the source, for messages.
        example_id: Its id.
        subject: The subject; empty where a prompt says everything.
        answers: Accepted answers, the canonical one first.
        prompt: A ready prompt, or None.
    """

    number: int
    place: str
    example_id: str
    subject: str
    answers: tuple[str, ...]
    prompt: str | None = None


def needed_columns(dataset: Dataset) -> list[str]:
    """The columns of a user's source that a relation reads.

    With a prompt column the subject is optional: many prompt files have none.
    """
    columns = [dataset.answer, dataset.prompt or dataset.subject]
    columns += [column for column in (dataset.id, dataset.answers) if column]
    columns += [rule.column for rule in dataset.filters]
    return list(dict.fromkeys(columns))


def examples(
    dataset: Dataset, rows: Iterable[Row], source: str, intake: Intake
) -> Iterator[Example]:
    """Read examples out of rows; rows without a subject, prompt or answer are set aside.

    Raises:
        UserError: An id is missing or repeated, or a cell holds an object or the like.
    """
    ids: dict[str, str] = {}
    first: dict[tuple[str, str | None], str] = {}
    for row in usable_rows(dataset, rows, source, intake):
        subject = _cell(row, dataset.subject, source)
        prompt = _prompt(row, dataset.prompt, subject, source)
        given = [
            *_answers(row, dataset.answer, source, None),
            *(_answers(row, dataset.answers, source, ANSWER_SEPARATOR) if dataset.answers else ()),
        ]
        answer = given[0] if given else ""
        fault = _fault(dataset, subject, prompt, given)
        if fault:
            intake.set_aside(fault, row.place)
            continue
        key = (subject, prompt or None)
        if key in first:
            same = first[key] == answer
            intake.set_aside(
                "copy of an earlier subject" if same else "earlier subject with another answer",
                row.place,
            )
            continue
        first[key] = answer
        example_id = row_id(dataset, row, source, ids)
        answers = accepted(given)
        yield Example(row.number, row.place, example_id, subject, answers, prompt or None)


def accepted(answers: Sequence[str]) -> tuple[str, ...]:
    """Accepted spellings: the given ones, then each without accents where it has any."""
    plain = [without_accents(answer) for answer in answers]
    return tuple(dict.fromkeys(a for a in (*answers, *plain) if a))


def without_accents(text: str) -> str:
    """A text with combining accents removed, such as `Brasilia` for `Brasília`."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).replace("’", "'")


def relation_table(dataset: Dataset, items: Sequence[Example], relation: str) -> pa.Table:
    """The `RELATION` table of the drawn examples."""
    return pa.table(
        {
            "example_id": pa.array([item.example_id for item in items], pa.string()),
            "subject": pa.array([item.subject for item in items], pa.string()),
            "answer": pa.array([item.answers[0] for item in items], pa.string()),
            "answers": pa.array([list(item.answers) for item in items], pa.list_(pa.string())),
            "relation": pa.array([relation] * len(items), pa.string()),
            "prompt": pa.array([item.prompt for item in items], pa.string()),
        }
    )


def _cell(row: Row, column: str, source: str) -> str:
    value = look_up(row.values, column)
    try:
        return "" if is_missing(value) else plain_text(value)
    except ValueError as error:
        raise cell_error(source, row, column, error) from error


def _prompt(row: Row, column: str | None, subject: str, source: str) -> str:
    """The row's ready prompt: its own, or what a template of the file makes of its subject."""
    text = row.template if column is None else _cell(row, column, source)
    if "{subject}" in text:
        return text.replace("{subject}", subject)
    # Braces may also be meant as such, in code for example: then the prompt has its subject.
    return text.replace("{}", subject) if subject not in text.replace("{}", "") else text


def _answers(row: Row, column: str, source: str, separator: str | None) -> tuple[str, ...]:
    try:
        return as_texts(look_up(row.values, column), separator)
    except ValueError as error:
        raise cell_error(source, row, column, error) from error


def _fault(dataset: Dataset, subject: str, prompt: str, answers: Sequence[str]) -> str:
    if not answers:
        return "no answer"
    if dataset.prompt and not prompt:
        return "no prompt"
    if not dataset.prompt and not subject:
        return "no subject"
    faults = (text_fault(value) for value in (subject, prompt, *answers) if value)
    return next((fault for fault in faults if fault), "")
