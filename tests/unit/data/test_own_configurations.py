"""From a user's YAML to the rows: what files and keys of many kinds give together."""

import json
from pathlib import Path

import pytest
import yaml
from llm_anatomy.config.load import load_configuration
from llm_anatomy.data.build import build_table
from llm_anatomy.data.check import check_dataset
from llm_anatomy.errors import UserError

REMARKS = [f"the remark number {n}" for n in range(6)]


def rows_of(folder: Path, monkeypatch, text: str, **files: str | bytes):
    """The rows and the tally of the first data set of a configuration beside its files."""
    monkeypatch.chdir(folder)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    values = yaml.safe_load(text)
    studies = {"relation": "facts"}.get(values["datasets"][0].get("kind", "texts"), "neurons")
    base = {"studies": [studies], "models": [{"name": "m", "path": "m"}]}
    if studies == "facts":
        base["facts"] = {"relations": [{"relation": "d"}]}
    dataset = load_configuration(base | values, "mine.yaml").datasets[0]
    check_dataset(dataset)
    table, intake = build_table(dataset, (), 0)
    return table.to_pylist(), intake


def csv_of(header: str, *columns: list[str]) -> str:
    return "\n".join([header, *(",".join(cells) for cells in zip(*columns, strict=True))]) + "\n"


@pytest.mark.parametrize("word", ["no", "off", "NO", "yes", "on", "true", "false", "y", "'no'"])
def test_a_word_that_yaml_may_read_as_a_boolean_meets_its_cell(tmp_path, monkeypatch, word):
    cells = [word.strip("'"), "sv"] * 3
    content = csv_of("text,lang", REMARKS, cells)
    text = f"datasets: [{{name: d, path: r.csv, filters: [{{column: lang, drop: [{word}]}}]}}]"
    rows, intake = rows_of(tmp_path, monkeypatch, text, r__csv=content)
    assert [row["text"] for row in rows] == REMARKS[1::2]
    assert intake.warnings == []


@pytest.mark.parametrize(
    "tweet", ["1156789012345678901", "9223372036854775807", "18446744073709551615", "10" * 12]
)
def test_ids_of_any_length_in_a_filter_are_exact(tmp_path, monkeypatch, tweet):
    near = [tweet[:-2] + end for end in ("50", "02", "77")]
    content = csv_of("text,tweet_id", REMARKS, [tweet, *near, "55", "1e400"])
    text = f"datasets: [{{name: d, path: r.csv, filters: [{{column: tweet_id, drop: [{tweet}]}}]}}]"
    rows, _ = rows_of(tmp_path, monkeypatch, text, r__csv=content)
    assert [row["text"] for row in rows] == REMARKS[1:]


@pytest.mark.parametrize("others", [["none", "sexism"], ["NA", "null"], ["nan", "N/A"]])
def test_all_other_classes_are_negative(tmp_path, monkeypatch, others):
    content = csv_of("text,Class", REMARKS, ["racism", *others] * 2)
    label = "{name: racism, column: Class, positive: [racism]%s}"
    text = f"datasets: [{{name: w, path: t.csv, labels: [{label}]}}]"
    rows, _ = rows_of(tmp_path, monkeypatch, text % "", t__csv=content)
    assert [row["label_racism"] for row in rows] == [True, False, False] * 2
    negative = f', negative: ["{others[0]}"]'
    rows, _ = rows_of(tmp_path, monkeypatch, text % negative, t__csv=content)
    assert [row["label_racism"] for row in rows] == [True, False] * 2


def test_an_empty_cell_of_further_answers_beside_the_answer(tmp_path, monkeypatch):
    text = "datasets: [{name: d, kind: relation, path: r.csv, answers: answers, id: iso}]"
    content = "iso,subject,answer,answers\nFR,France,Paris,Paris|Lutetia\nNA,Namibia,Windhoek,\n"
    rows, _ = rows_of(tmp_path, monkeypatch, text, r__csv=content)
    assert [(row["example_id"], row["answers"]) for row in rows] == [
        ("FR", ["Paris", "Lutetia"]),
        ("NA", ["Windhoek"]),
    ]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_a_rare_line_separator_in_an_article_ends_no_line(tmp_path, monkeypatch, character):
    text = "datasets: [{name: d, kind: articles, path: a.jsonl, summary: highlights}]"
    article = f"one{character}two"
    record = {"article": article, "highlights": "h"}
    escaped = character < " "
    content = json.dumps(record, ensure_ascii=escaped) + '\n{"article": "b", "highlights": "c"}\n'
    rows, _ = rows_of(tmp_path, monkeypatch, text, a__jsonl=content)
    assert [row["article"] for row in rows] == [article, "b"]


def test_an_unquoted_comma_shifts_no_column(tmp_path, monkeypatch):
    text = "datasets: [{name: d, kind: inserts, path: i.csv, id: name}]"
    content = "name,document,insert\na,It is calm. The sun, the moon.,Bah!\nb,It is. It was.,Oh!\n"
    rows, intake = rows_of(tmp_path, monkeypatch, text, i__csv=content)
    assert rows == [{"name": "b", "document": "It is. It was.", "insert": "Oh!"}]
    assert intake.aside == {"another number of fields than the header": 1}


def test_a_number_is_the_name_of_an_insert(tmp_path, monkeypatch):
    text = "datasets: [{name: d, kind: inserts, path: i.jsonl, id: name}]"
    content = '{"name": 1, "document": "It is calm. The sun is out.", "insert": "Bah!"}\n'
    rows, _ = rows_of(tmp_path, monkeypatch, text, i__jsonl=content)
    assert rows[0]["name"] == "1"


@pytest.mark.parametrize("name", ["a{b}.csv", "ä ö.csv", "*.csv", "[1].csv", "{dataset}.csv"])
def test_any_name_of_a_file(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text(csv_of("text,x", REMARKS, list("abcdef")))
    rows, _ = rows_of(tmp_path, monkeypatch, f"datasets: [{{name: d, path: '{name}'}}]")
    assert len(rows) == 6


def test_a_file_where_a_data_set_belongs_says_where_files_are_named():
    values = {"patching": {"tasks": [{"kind": "relation", "name": "t", "file": "r.csv"}]}}
    with pytest.raises(UserError, match="files are named in 'datasets', by 'path' and 'kind'"):
        load_configuration(values, "mine.yaml")


@pytest.mark.parametrize("key", ["delimiter: '\"'", 'delimiter: "\\n"', "licence: ''"])
def test_keys_that_cannot_be_meant(tmp_path, monkeypatch, key):
    with pytest.raises(UserError, match=key.partition(":")[0]):
        rows_of(tmp_path, monkeypatch, f"datasets: [{{name: d, path: r.csv, {key}}}]")
