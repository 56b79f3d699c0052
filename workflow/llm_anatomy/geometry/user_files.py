"""Read the study's inputs that a user may supply as a file: inserts and prompts."""

from pathlib import Path

import pandas as pd

from llm_anatomy.config.geometry import InsertedText, Inserts, PromptCategory, PromptDimension
from llm_anatomy.errors import UserError

INSERT_COLUMNS = ("name", "document", "insert")
PROMPT_COLUMNS = ("category", "role", "text")
ROLES = ("request", "related", "unrelated")


def inserts_of(settings: Inserts) -> list[InsertedText]:
    """The documents to use: from the file where one is named, else from the settings.

    Raises:
        UserError: The file cannot be read, lacks a column or a value, or repeats a name.
    """
    if settings.file is None:
        return settings.texts
    table = _read(settings.file, INSERT_COLUMNS)
    twice = table["name"][table["name"].duplicated()]
    if len(twice):
        raise UserError(
            f"{settings.file}: row {_row(twice.index[0])} repeats the name '{twice.iloc[0]}'; "
            "names are unique"
        )
    rows = table[list(INSERT_COLUMNS)].to_dict("records")
    return [InsertedText.model_validate(row) for row in rows]


def prompts_of(settings: PromptDimension) -> tuple[list[PromptCategory], list[str]]:
    """Categories and unrelated sentences: from the file where one is named, else the settings'.

    Raises:
        UserError: The file cannot be read, lacks a column or a value, has an unknown role, or a
            category without exactly one request or without a related sentence.
    """
    if settings.file is None:
        return settings.categories, settings.unrelated
    source = settings.file
    table = _read(source, PROMPT_COLUMNS)
    wrong = table[~table["role"].isin(ROLES)]
    if len(wrong):
        raise UserError(
            f"{source}: row {_row(wrong.index[0])} has the role '{wrong['role'].iloc[0]}'; right "
            f"would be {', '.join(ROLES)}"
        )
    unrelated = table.loc[table["role"] == "unrelated", "text"].tolist()
    if not unrelated:
        raise UserError(f"{source} has no row with the role 'unrelated'; add at least one sentence")
    categories = []
    own = table[table["role"] != "unrelated"]
    for name, rows in own.groupby("category", sort=False):
        requests = rows.loc[rows["role"] == "request", "text"].tolist()
        related = rows.loc[rows["role"] == "related", "text"].tolist()
        if len(requests) != 1 or not related:
            raise UserError(
                f"{source}: the category '{name}' has {len(requests)} rows with the role 'request' "
                f"and {len(related)} with the role 'related'; right would be one request and at "
                "least one related sentence"
            )
        categories.append(PromptCategory(name=str(name), request=requests[0], related=related))
    if not categories:
        raise UserError(f"{source} has no row with the role 'request'; add at least one category")
    return categories, unrelated


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        elif suffix in {".jsonl", ".ndjson"}:
            table = pd.read_json(path, lines=True, dtype=False)
        elif suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            raise UserError(f"{path}: the suffix '{suffix}' is not one of .csv, .jsonl, .parquet")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except (ValueError, UnicodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a readable {suffix[1:]} file ({reason})") from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"{path} lacks the column '{missing[0]}'; it needs {', '.join(columns)}")
    for column in columns:
        empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
        if column == "category":
            # Unrelated sentences belong to no category.
            empty &= table["role"] != "unrelated"
        if empty.any():
            row = _row(table.index[int(empty.to_numpy().argmax())])
            raise UserError(f"{path}: row {row} has no value in the column '{column}'")
    return table


def _row(index: object) -> int:
    """Row number as a user counts: from 1, without the header."""
    return int(str(index)) + 1
