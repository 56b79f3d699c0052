"""`llm-anatomy init`: what columns are taken for, and a configuration that a run accepts."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from llm_anatomy.cli.app import main
from llm_anatomy.cli.guess import guess_dataset
from llm_anatomy.config.read import read_configuration
from llm_anatomy.data.build import build_table
from llm_anatomy.errors import UserError

ROWS = 24


def table(**more):
    """Comments with every kind of column that a file may hold beside them."""
    frame = {
        "comment_id": [f"c{k}" for k in range(ROWS)],
        "comment": [
            f"This is comment number {k}, and it goes on for a while." for k in range(ROWS)
        ],
        "author": [f"author {k}" for k in range(ROWS)],
        "toxic": [k % 3 == 0 for k in range(ROWS)],
        "mood": [("sad", "glad", "calm")[k % 3] for k in range(ROWS)],
        "anger": [round((k % 5) / 5, 1) for k in range(ROWS)],
        "votes": list(range(ROWS)),
        "source": ["forum"] * ROWS,
    }
    return pd.DataFrame(frame | more)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "semicolon.csv"])
def test_columns_are_taken_for_what_they_are_in_every_format(name):
    writers = {
        "a.csv": lambda t: t.to_csv(name, index=False),
        "a.tsv": lambda t: t.to_csv(name, index=False, sep="\t"),
        "a.jsonl": lambda t: t.to_json(name, orient="records", lines=True),
        "a.parquet": lambda t: t.to_parquet(name),
        "semicolon.csv": lambda t: t.to_csv(name, index=False, sep=";"),
    }
    writers[name](table())
    guess = guess_dataset(Path(name))
    assert guess.entry["text"] == "comment"
    assert guess.entry["id"] == "comment_id"
    assert guess.entry["labels"] == [
        "toxic",
        {"name": "mood", "column": "mood", "every_value": True},
        {"name": "anger", "column": "anger", "at_least": 0.5},
    ]
    assert guess.entry.get("delimiter") == (";" if name == "semicolon.csv" else None)
    assert guess.look.rows == ROWS
    assert guess.look.whole
    assert guess.reasons["votes"] == f"left out ({ROWS} different values)"
    assert guess.reasons["source"] == "left out (one value on every row)"
    assert set(guess.reasons) == set(table().columns)


def test_names_with_answers_are_a_relation_and_sentences_are_not():
    pd.DataFrame({"river": ["Rhine", "Nile", "Po"], "mouth": ["North Sea", "Sea", "Adria"]}).to_csv(
        "rivers.csv", index=False
    )
    assert guess_dataset(Path("rivers.csv")).entry == {
        "kind": "relation",
        "subject": "river",
        "answer": "mouth",
    }
    table()[["comment", "author"]].to_csv("a.csv", index=False)
    assert guess_dataset(Path("a.csv")).entry["text"] == "comment"


def test_what_the_user_names_is_taken():
    table().to_csv("a.csv", index=False)
    guess = guess_dataset(Path("a.csv"), text="author", labels=["mood"])
    assert guess.entry["text"] == "author"
    assert guess.entry["labels"] == [{"name": "mood", "column": "mood", "every_value": True}]
    with pytest.raises(UserError, match=r"a.csv has no column 'moood'; did you mean 'mood'"):
        guess_dataset(Path("a.csv"), labels=["moood"])


def run_init(*arguments):
    with pytest.raises(SystemExit) as left:
        main(["init", *arguments])
    return left.value.code


def test_writes_a_commented_configuration_that_a_run_accepts(capsys):
    table().to_csv("My comments!.csv", index=False)
    assert run_init("My comments!.csv", "--model", "Qwen/Qwen2.5-0.5B", "--revision", "abc") == 0
    said = capsys.readouterr().out
    assert "24 rows, 8 columns" in said
    assert "comment: text (the longest texts" in said
    configuration = read_configuration([Path("llm-anatomy.yaml")])
    assert configuration.models[0].hub == "Qwen/Qwen2.5-0.5B"
    assert configuration.models[0].revision == "abc"
    assert configuration.studies == ["geometry", "toxicity", "neurons"]
    (dataset,) = configuration.datasets
    texts, intake = build_table(dataset, (Path(dataset.path),), 0)
    assert texts.num_rows == ROWS
    assert {"label_toxic", "label_sad", "label_anger"} <= set(texts.column_names), intake
    assert "# comment: text (the longest" in Path("llm-anatomy.yaml").read_text()


def test_a_relation_brings_its_questions():
    names = [f"Land {chr(65 + k)}" for k in range(9)]
    pd.DataFrame({"country": names, "capital": [f"Town {n}" for n in names]}).to_csv(
        "no.csv", index=False
    )
    # A name that YAML would read as false.
    assert run_init("no.csv", "--output", "mine.yaml") == 0
    configuration = read_configuration([Path("mine.yaml")])
    assert configuration.studies == ["neurons", "patching", "facts"]
    assert configuration.facts.relations[0].templates == ["The capital of {subject} is"]
    assert configuration.patching.tasks[0].relation == "no"


def test_never_replaces_a_file_unasked(capsys):
    Path("llm-anatomy.yaml").write_text("seed: 7\n")
    table().to_csv("a.csv", index=False)
    assert run_init("a.csv") == 1
    assert "Error: llm-anatomy.yaml is there already; give --force" in capsys.readouterr().err
    assert yaml.safe_load(Path("llm-anatomy.yaml").read_text()) == {"seed": 7}
    assert run_init("a.csv", "--force") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.csv"], "there is no file nowhere.csv"),
        (["a.xlsx"], "a.xlsx has a suffix that is not known; known are .csv"),
        (["empty.csv"], "empty.csv"),
        (["a.csv", "--model", "nowhere"], "--model is 'nowhere', which is no folder"),
        (["a.csv", "--model", "folder"], "folder"),
        (["a.csv", "--study", "poetry"], "--study is 'poetry'; the studies are geometry"),
        (["a.csv", "--subject", "author"], "--subject and --answer belong together"),
        (["a.csv", "a.csv", "--text", "comment"], "columns are named for one file"),
        (["numbers.csv"], "numbers.csv has no column of texts; name one with --text"),
        (["a.csv", "--revision", "x"], "--revision is 'x', which belongs to a model of the hub"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(arguments, words, capsys):
    table().to_csv("a.csv", index=False)
    Path("empty.csv").write_text("")
    Path("numbers.csv").write_text("a,b\n1,2\n3,4\n")
    Path("folder").mkdir()
    assert run_init(*arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert words in said
    assert said.count("\n") == 1
    assert not Path("llm-anatomy.yaml").exists()
    assert not list(Path().glob(".*partial"))
