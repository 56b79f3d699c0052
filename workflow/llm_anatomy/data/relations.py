"""Relations and completions: subjects or prompts with their answers, out of a user's file."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from llm_anatomy.config.datasets import Dataset
from llm_anatomy.config.templates import without_end
from llm_anatomy.data.columns import Row
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.rows import cell_error, row_id, text_fault, usable_rows
from llm_anatomy.data.values import ANSWER_SEPARATOR, as_texts, is_missing, look_up, plain_text

# Columns that are read where they are there; under another name they have to be.
OPTIONAL = ("subject", "counterfactual_prompt", "counterfactual_answer")


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
        counterfactual: The prompt that it is held against and its answer, or None.
    """

    number: int
    place: str
    example_id: str
    subject: str
    answers: tuple[str, ...]
    prompt: str | None = None
    counterfactual: tuple[str, str] | None = None


def needed_columns(dataset: Dataset) -> list[str]:
    """The columns of a user's source that a relation reads.

    With a prompt column the subject is optional: many prompt files have none.
    """
    columns = [dataset.answer, dataset.prompt_column or dataset.subject]
    columns += [column for column in (dataset.id, dataset.answers) if column]
    columns += [rule.column for rule in dataset.filters]
    # Who names a column means one that is there.
    columns += [c for c in optional_columns(dataset) if c not in OPTIONAL]
    return list(dict.fromkeys(columns))


def optional_columns(dataset: Dataset) -> list[str]:
    """The columns that are read where the source has them."""
    columns = [dataset.subject]
    if dataset.kind == "completions":
        columns += [dataset.counterfactual_prompt, dataset.counterfactual_answer]
    return columns


def examples(
    dataset: Dataset, rows: Iterable[Row], source: str, intake: Intake
) -> Iterator[Example]:
    """Read examples out of rows; rows that cannot be asked, and copies, are set aside.

    Raises:
        UserError: An id is missing or repeated, or a cell holds an object or the like.
    """
    ids: dict[str, str] = {}
    first: dict[tuple[str, str | None], str] = {}
    for row in usable_rows(dataset, rows, source, intake):
        subject = _cell(row, dataset.subject, source)
        prompt = _prompt(row, dataset.prompt_column, subject, source)
        given = [
            *_answers(row, dataset.answer, source, None),
            *(_answers(row, dataset.answers, source, ANSWER_SEPARATOR) if dataset.answers else ()),
        ]
        answer = given[0] if given else ""
        other = _counterfactual(dataset, row, source)
        fault = _fault(dataset, subject, prompt, given) or _misfit(prompt, given, other)
        if fault:
            intake.set_aside(fault, row.place)
            continue
        # Of two prompts that read the same one is enough, whatever stands under their subject.
        key = ("" if dataset.kind == "completions" else subject, without_end(prompt) or None)
        if key in first:
            what = "prompt" if dataset.kind == "completions" else "subject"
            same = first[key] == answer
            intake.set_aside(
                f"copy of an earlier {what}" if same else f"earlier {what} with another answer",
                row.place,
            )
            continue
        first[key] = answer
        example_id = row_id(dataset, row, source, ids)
        answers = accepted(given)
        counterfactual = other if all(other) else None
        yield Example(
            row.number, row.place, example_id, subject, answers, prompt or None, counterfactual
        )


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
    others = [item.counterfactual or (None, None) for item in items]
    return pa.table(
        {
            "example_id": pa.array([item.example_id for item in items], pa.string()),
            "subject": pa.array([item.subject for item in items], pa.string()),
            "answer": pa.array([item.answers[0] for item in items], pa.string()),
            "answers": pa.array([list(item.answers) for item in items], pa.list_(pa.string())),
            "relation": pa.array([relation] * len(items), pa.string()),
            "prompt": pa.array([item.prompt for item in items], pa.string()),
            "counterfactual_prompt": pa.array([prompt for prompt, _ in others], pa.string()),
            "counterfactual_answer": pa.array([answer for _, answer in others], pa.string()),
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


def _counterfactual(dataset: Dataset, row: Row, source: str) -> tuple[str, str]:
    """The other prompt and its answer, each empty where there is none."""
    if dataset.kind != "completions":
        return "", ""
    answers = _answers(row, dataset.counterfactual_answer, source, None)
    return _cell(row, dataset.counterfactual_prompt, source), answers[0] if answers else ""


def _misfit(prompt: str, answers: Sequence[str], other: tuple[str, str]) -> str:
    """Why a prompt and its counterfactual are no pair; empty where they are, or there is none."""
    other_prompt, other_answer = other
    if not other_prompt.strip() and not other_answer:
        return ""
    if not other_answer:
        return "counterfactual prompt without an answer"
    if not other_prompt.strip():
        return "answer of a counterfactual prompt without the prompt"
    # As the studies ask them: without the white space behind the last word.
    if without_end(other_prompt) == without_end(prompt):
        return "counterfactual prompt that is the prompt itself"
    if other_answer in answers:
        return "counterfactual prompt with the prompt's own answer"
    return next(filter(None, map(text_fault, other)), "")


def _fault(dataset: Dataset, subject: str, prompt: str, answers: Sequence[str]) -> str:
    if not answers:
        return "no answer"
    if dataset.prompt_column and not prompt.strip():
        return "no prompt"
    if not dataset.prompt_column and not subject:
        return "no subject"
    faults = (text_fault(value) for value in (subject, prompt, *answers) if value)
    return next((fault for fault in faults if fault), "")
