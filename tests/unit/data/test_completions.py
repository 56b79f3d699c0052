"""Prompts of a user's own with answers and counterfactuals: formats, and rows that go wrong."""

import json
from pathlib import Path

import pandas as pd
import pytest
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.build import build_table
from llm_anatomy.data.check import check_dataset
from llm_anatomy.errors import UserError
from pydantic import ValidationError

ROWS = [
    {
        "prompt": "The capital of France is",
        "answer": "Paris",
        "subject": "France",
        "counterfactual_prompt": "The capital of Italy is",
        "counterfactual_answer": "Rome",
    },
    {
        "prompt": "2 + 2 =",
        "answer": "4",
        "subject": None,
        "counterfactual_prompt": None,
        "counterfactual_answer": None,
    },
]
WANTED = [
    ("The capital of France is", "Paris", "France", "The capital of Italy is", "Rome"),
    ("2 + 2 =", "4", "", None, None),
]


def build(path: Path, **keys: object) -> tuple[list[dict[str, object]], dict[str, int]]:
    dataset = Dataset.model_validate(
        {"name": "mine", "kind": "completions", "path": str(path)} | keys
    )
    check_dataset(dataset)
    table, intake = build_table(dataset, (), 0)
    return table.to_pylist(), intake.aside


def values(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
    names = ("prompt", "answer", "subject", "counterfactual_prompt", "counterfactual_answer")
    return [tuple(row[name] for name in names) for row in rows]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    path, frame = tmp_path / f"d.{suffix}", pd.DataFrame(ROWS)
    match suffix:
        case "csv":
            frame.to_csv(path, index=False)
        case "tsv":
            frame.to_csv(path, index=False, sep="\t")
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        case "json":
            path.write_text(json.dumps(ROWS))
        case "parquet":
            frame.to_parquet(path)
    rows, aside = build(path)
    assert values(rows) == WANTED
    assert aside == {}
    assert [row["answers"] for row in rows] == [["Paris"], ["4"]]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_prompt_and_an_answer_are_enough(tmp_path: Path, suffix: str) -> None:
    path, frame = tmp_path / f"d.{suffix}", pd.DataFrame(ROWS)[["prompt", "answer"]]
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    rows, _ = build(path)
    assert values(rows) == [(prompt, answer, "", None, None) for prompt, answer, *_ in WANTED]


def test_columns_of_other_names_are_named_and_have_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("clean,right,corrupt,wrong\nA is,B,C is,D\n")
    names = {
        "prompt": "clean",
        "answer": "right",
        "counterfactual_prompt": "corrupt",
        "counterfactual_answer": "wrong",
    }
    rows, _ = build(path, **names)
    assert values(rows) == [("A is", "B", "", "C is", "D")]
    with pytest.raises(UserError, match=r"d\.csv has no column 'corupt'; did you mean 'corrupt'"):
        build(path, **(names | {"counterfactual_prompt": "corupt"}))


HEADER = "prompt,answer,counterfactual_prompt,counterfactual_answer\n"
BAD = [
    ("A is,,,", "no answer"),
    (",B,,", "no prompt"),
    ('"  ",B,,', "no prompt"),
    ("A is,B,C is,", "counterfactual prompt without an answer"),
    ("A is,B,,D", "answer of a counterfactual prompt without the prompt"),
    ("A is,B,A is,D", "counterfactual prompt that is the prompt itself"),
    ('A is,B,"A is ",D', "counterfactual prompt that is the prompt itself"),
    ("A is,B,C is,B", "counterfactual prompt with the prompt's own answer"),
    ('"Good is ",ok,,', "copy of an earlier prompt"),
    ("Good is,ok,,", "copy of an earlier prompt"),
    ("Good is,bad,,", "earlier prompt with another answer"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_row_that_cannot_be_asked_is_set_aside_with_its_reason(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f"{HEADER}Good is,ok,Other is,else\n{line}\n")
    rows, aside = build(path)
    assert values(rows) == [("Good is", "ok", "", "Other is", "else")]
    assert aside == {reason: 1}


def test_braces_of_a_prompt_without_a_subject_stand_for_themselves(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"prompt": "x = {} # {y}", "answer": "1"}) + "\n")
    assert values(build(path)[0])[0][0] == "x = {} # {y}"


def test_a_file_of_bad_rows_alone_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(HEADER + "A is,,,\n,B,,\n")
    with pytest.raises(UserError, match=r"none of the first 2 rows .*\(no answer, no prompt\)"):
        build(path)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"labels": ["x"]}, "labels"),
        ({"text": "prompt"}, "belongs to kind: texts or prompts"),
        ({"kind": "relation", "counterfactual_prompt": "x"}, "belongs to kind: completions"),
    ],
)
def test_keys_of_other_kinds_are_refused(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Dataset.model_validate({"name": "mine", "kind": "completions", "path": "d.csv"} | keys)
