"""Questions, articles, inserts and prompts: rows of texts that belong together."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm_anatomy.config.datasets import PROMPT_ROLES, Dataset
from llm_anatomy.data.columns import Row
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.rows import cell_error, read_text, row_id, text_fault, usable_rows
from llm_anatomy.data.values import as_texts, is_blank, look_up, shorten
from llm_anatomy.errors import UserError

# The columns of a kind's table that hold one text each. The keys of the configuration that say
# where they come from are called the same.
TEXT_COLUMNS: dict[str, tuple[str, ...]] = {
    "qa": ("context", "question"),
    "articles": ("article", "summary"),
    "inserts": ("document", "insert"),
    "prompts": ("category", "role", "text"),
}
# The column of the row's id.
ID_COLUMN = {"qa": "example_id", "articles": "example_id", "inserts": "name"}
# What makes a row the copy of an earlier one; what it is, and what else it holds, in words.
COPIES = {
    "qa": (("context", "question"), "question", "other answers"),
    "articles": (("article",), "article", "another summary"),
}


@dataclass(frozen=True)
class Record:
    """A row that may be used.

    Attributes:
        number: Position in the source, which orders the table.
        place: Where it stands in the source, for messages.
        values: What its table's columns hold.
    """

    number: int
    place: str
    values: Mapping[str, Any]


def needed_columns(dataset: Dataset) -> list[str]:
    """The columns of a user's source that a data set reads, each once."""
    columns = [getattr(dataset, key) for key in TEXT_COLUMNS[dataset.kind]]
    columns += [dataset.answers_column] if dataset.kind == "qa" else []
    columns += [dataset.id] if dataset.id else []
    columns += [rule.column for rule in dataset.filters]
    return list(dict.fromkeys(columns))


def records(dataset: Dataset, rows: Iterable[Row], source: str, intake: Intake) -> Iterator[Record]:
    """Read records out of rows; rows that lack a text are set aside, and so are copies.

    A question without an answer stays: that its passage does not answer it is part of the data.

    Args:
        dataset: What the columns mean.
        rows: The rows of the source.
        source: The file or hub id, for messages.
        intake: Counts every row.

    Raises:
        UserError: An id is missing or repeated, a text is no text, or a role is unknown.
    """
    ids: dict[str, str] = {}
    first: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for row in usable_rows(dataset, rows, source, intake):
        values: dict[str, Any] = {
            key: read_text(row, getattr(dataset, key), key, source)
            for key in TEXT_COLUMNS[dataset.kind]
        }
        if dataset.kind == "prompts":
            _check_role(dataset, values, row, source)
        fault = _fault(values)
        if dataset.kind == "qa":
            values["answers"] = _answers(row, dataset.answers_column, source)
            fault = fault or next(filter(None, map(text_fault, values["answers"])), "")
        fault = fault or _copy(dataset, values, first)
        if fault:
            intake.set_aside(fault, row.place)
            continue
        if dataset.kind in ID_COLUMN:
            values[ID_COLUMN[dataset.kind]] = row_id(dataset, row, source, ids)
        yield Record(row.number, row.place, values)


def check_prompts(items: Sequence[Record], source: str) -> None:
    """Check that prompts can be built: requests with related sentences, and unrelated sentences.

    Raises:
        UserError: A category has not exactly one request and a related sentence, or there is no
            category or no unrelated sentence.
    """
    roles = Counter((item.values["category"], item.values["role"]) for item in items)
    if not roles[None, "unrelated"]:
        raise UserError(f"{source} has no row with the role 'unrelated'; add at least one sentence")
    categories = dict.fromkeys(category for category, _ in roles if category is not None)
    for category in categories:
        requests, related = roles[category, "request"], roles[category, "related"]
        if requests != 1 or not related:
            raise UserError(
                f"{source}: the category '{category}' has {requests} rows with the role 'request' "
                f"and {related} with the role 'related'; right would be one request and at "
                "least one related sentence"
            )
    if not categories:
        raise UserError(f"{source} has no row with the role 'request'; add at least one category")


def _answers(row: Row, column: str, source: str) -> list[str]:
    try:
        return list(as_texts(look_up(row.values, column)))
    except ValueError as error:
        raise cell_error(source, row, column, error) from error


def _check_role(dataset: Dataset, values: dict[str, Any], row: Row, source: str) -> None:
    values["role"] = values["role"].strip()
    if values["role"] not in PROMPT_ROLES:
        raise UserError(
            f"{source}: {row.place} has the role '{shorten(values['role'])}' in the column "
            f"'{dataset.role}'; right would be {', '.join(PROMPT_ROLES)}"
        )
    # Unrelated sentences belong to no category, whatever the file says.
    values["category"] = None if values["role"] == "unrelated" else values["category"].strip()


def _fault(values: Mapping[str, str | None]) -> str:
    """Why a record cannot be used; empty for a usable one."""
    for name, text in values.items():
        if text is not None and is_blank(text) and "\0" not in text:
            return f"no {name}"
    return next((fault for text in values.values() if text and (fault := text_fault(text))), "")


def _copy(
    dataset: Dataset,
    values: Mapping[str, Any],
    first: dict[tuple[str, ...], Mapping[str, Any]],
) -> str:
    """Whose copy a record is, up to surrounding white space; empty where it is the first."""
    if dataset.kind not in COPIES or dataset.duplicates == "keep":
        return ""
    key, what, other = COPIES[dataset.kind]
    earlier = first.setdefault(tuple(values[name].strip() for name in key), values)
    if earlier is values:
        return ""
    rest = [name for name in values if name not in key]
    same = all(earlier[name] == values[name] for name in rest)
    return f"copy of an earlier {what}" + ("" if same else f" with {other}")
