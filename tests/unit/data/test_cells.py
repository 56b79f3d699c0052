"""One rule for each meaning of a cell: missing, boolean, number, list, class, id, answer."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.config.labels import Label
from llm_anatomy.data.build import build_table
from llm_anatomy.data.check import check_dataset
from llm_anatomy.errors import UserError
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import INTAKE, TEXTS

# What other programs take for a missing value, a boolean or a number, and a column of classes may
# hold as a class.
WORDS = ["none", "None", "nan", "NaN", "null", "NULL", "NA", "N/A", "<NA>", "na", "nil", "-"]
NUMBERS = ["1e5", "1E3", "1_0", "007", "0x10", "inf", "infinity", "1e400", "+5", ".5", "٣"]
SCRIPTS = ["مسيء", "محايد", "攻撃的", "中立", "ненависть", "हिंसा", "😡", "😀", "naïve", "C++", "#1"]


def write(folder: Path, name: str, records: list[dict]) -> str:
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(records), path)
    elif name.endswith(".csv"):
        pd.DataFrame(records).to_csv(path, index=False)
    else:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def build(folder: Path, records: list[dict], name: str = "mine.jsonl", **settings):
    dataset = Dataset(name="mine", path=write(folder, name, records), **settings)
    table, intake = build_table(dataset, (), 0)
    return table.to_pylist(), intake


def fails(folder: Path, records: list[dict], name: str = "mine.jsonl", **settings) -> str:
    with pytest.raises(UserError) as caught:
        build(folder, records, name, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def texts(*values, column="kind"):
    return [{"text": f"text {number}", column: value} for number, value in enumerate(values)]


FORMATS = ["mine.csv", "mine.jsonl", "mine.parquet"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("word", [*WORDS, *NUMBERS, *SCRIPTS, "yes", "off", "y"])
def test_every_word_in_a_column_of_classes_is_a_class(tmp_path, name, word):
    records = texts(word, "other", word, "third", "", None)
    for key, value in (("positive", [word]), ("contains", word)):
        label = {"name": "it", "column": "kind", key: value}
        rows, intake = build(tmp_path, records, name, labels=[label])
        assert [row["label_it"] for row in rows] == [True, False, True, False]
        assert intake.aside == {"no label has a value": 2}
        assert intake.warnings == []
    label = {"name": "it", "column": "kind", "positive": ["other"], "negative": [word]}
    rows, _ = build(tmp_path, records, name, labels=[label])
    assert [row["label_it"] for row in rows] == [False, True, False]
    filtered, _ = build(tmp_path, records, name, filters=[{"column": "kind", "drop": [word]}])
    assert [row["text"] for row in filtered] == ["text 1", "text 3", "text 4", "text 5"]
    kept, _ = build(tmp_path, records, name, filters=[{"column": "kind", "keep": [word]}])
    assert [row["text"] for row in kept] == ["text 0", "text 2"]


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_cell_is_met_by_an_empty_value(tmp_path, name):
    records = texts("a", "", None, "b")
    rows, _ = build(tmp_path, records, name, filters=[{"column": "kind", "drop": [""]}])
    assert [row["text"] for row in rows] == ["text 0", "text 3"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("word", [*WORDS, *NUMBERS, *SCRIPTS, "0", "12345678901234567890", "-0"])
def test_every_word_is_an_id(tmp_path, name, word):
    records = [{"id": key, "text": f"text {key}"} for key in (word, "other")]
    rows, _ = build(tmp_path, records, name, id="id")
    assert [row["text_id"] for row in rows] == [word, "other"]


@pytest.mark.parametrize("value", ["", "  ", "\u200b", None])
def test_an_empty_id_is_missing(tmp_path, value):
    records = [{"id": "a", "text": "x"}, {"id": value, "text": "y"}]
    assert "row 2 (line 2) has no id" in fails(tmp_path, records, id="id")


def test_a_row_without_a_text_needs_no_id(tmp_path):
    rows, intake = build(tmp_path, [{"id": "a", "text": "x"}, {"id": "", "text": ""}], id="id")
    assert len(rows) == 1
    assert intake.aside == {"empty text": 1}


@pytest.mark.parametrize("value", [["a"], {"a": 1}])
def test_an_id_is_one_value(tmp_path, value):
    said = fails(tmp_path, [{"id": value, "text": "x"}], id="id")
    assert "row 1 (line 1), column 'id': it holds a" in said


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("configured", "near"),
    [
        (1156789012345678901, 1156789012345678950),
        (9007199254740993, 9007199254740992),
        ("12345678901234567890123", "12345678901234567890124"),
        (7, 70),
        (-3, 3),
        (0.1, 0.2),
        (0, 1),
    ],
)
def test_numbers_are_compared_exactly(tmp_path, name, configured, near):
    records = texts(configured, near)
    rows, _ = build(tmp_path, records, name, filters=[{"column": "kind", "drop": [configured]}])
    assert [row["text"] for row in rows] == ["text 1"]


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (2, "2"),
        (2, 2.0),
        ("2.0", 2),
        ("2.50", 2.5),
        ("0.10", 0.1),
        (-0.0, 0),
        ("-0.0", 0),
        ("-0", 0),
    ],
)
def test_one_number_is_one_class_whatever_its_type(tmp_path, one, same):
    records = [{"text": "a", "kind": one}, {"text": "b", "kind": "other"}]
    rows, _ = build(tmp_path, records, filters=[{"column": "kind", "keep": [same]}])
    assert [row["text"] for row in rows] == ["a"]


@pytest.mark.parametrize(
    ("one", "other"), [("007", 7), ("1e5", 100000), ("1_0", 10), ("1E3", "1000"), ("٣", 3)]
)
def test_texts_that_python_takes_for_numbers_are_texts(tmp_path, one, other):
    records = texts(one, other)
    rows, _ = build(tmp_path, records, filters=[{"column": "kind", "keep": [one]}])
    assert [row["text"] for row in rows] == ["text 0"]


@pytest.mark.parametrize(
    ("configured", "cell", "rest"),
    [
        (False, "no", "sv"),
        (False, "No", "sv"),
        (False, "off", "dim"),
        (True, "yes", "maybe"),
        (True, "ON", "dim"),
        (True, True, False),
        (False, False, True),
        (False, "FALSE", "true"),
        ("no", "no", "off"),
        ("true", True, False),
    ],
)
def test_a_boolean_of_the_configuration_meets_the_word_that_yaml_read(
    tmp_path, configured, cell, rest
):
    rows, intake = build(
        tmp_path, texts(cell, rest, cell), filters=[{"column": "kind", "drop": [configured]}]
    )
    assert [row["text"] for row in rows] == ["text 1"]
    assert intake.warnings == []
    label = {"name": "it", "column": "kind", "positive": [configured]}
    rows, _ = build(tmp_path, texts(cell, rest), labels=[label])
    assert [row["label_it"] for row in rows] == [True, False]


def test_two_words_for_one_configured_boolean_are_an_error(tmp_path):
    filters = [{"column": "kind", "drop": [False]}]
    said = fails(tmp_path, texts("no", "sv", "off"), filters=filters)
    assert "row 3 (line 3), column 'kind': the column holds 'no' and 'off'" in said
    assert "quotes" in said


@pytest.mark.parametrize("false", [-0.0, 0, "0.0", "N", "FALSE", "no"])
def test_booleans_in_further_spellings(tmp_path, false):
    records = texts("1.0", false, "NA", None, "nan", column="it")
    rows, intake = build(tmp_path, records, labels=["it"])
    assert [row["label_it"] for row in rows] == [True, False]
    assert intake.aside == {"no label has a value": 3}


def test_scores_may_be_missing_in_words(tmp_path):
    label = {"name": "it", "column": "kind", "at_least": 0.5}
    records = texts("0.7", 0.1, "NaN", "null", "", None)
    rows, intake = build(tmp_path, records, labels=[label])
    assert [row["label_it"] for row in rows] == [True, False]
    assert intake.aside == {"no label has a value": 4}
    assert "'inf' is no number" in fails(tmp_path, texts("inf"), labels=[label])


@pytest.mark.parametrize("values", [SCRIPTS, WORDS[:4], ["+", "-", "?!"], ["1", "007", "1e5"]])
def test_every_value_has_a_label_in_any_script(tmp_path, values):
    records = texts(*values, *values, column="kind")
    rows, _ = build(tmp_path, records, labels=[{"name": "kind", "every_value": True}])
    names = [name for name in rows[0] if name.startswith("label_")]
    assert len(names) == len(values)
    for row, value in zip(rows, [*values, *values], strict=True):
        (held,) = [name for name in names if row[name]]
        letters = [c for c in value if c.isalnum()]
        assert [c for c in held.removeprefix("label_") if c in letters] == letters
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    write_table(tmp_path / "t.parquet", TEXTS, columns, {})
    assert list(read_table(tmp_path / "t.parquet", TEXTS).columns) == list(columns)


def test_two_labels_of_every_value_do_not_overwrite_each_other(tmp_path):
    records = [
        {"text": f"text {n}", "a": a, "b": b}
        for n, (a, b) in enumerate([("x", "x"), ("x", "y"), ("y", "x"), ("y", "y")])
    ]
    labels = [{"name": name, "every_value": True} for name in ("a", "b")]
    rows, _ = build(tmp_path, records, labels=labels, balance="a_x")
    assert [row["label_a_x"] for row in rows] == [True, True, False, False]
    assert [row["label_b_x"] for row in rows] == [True, False, True, False]
    clash = [{"name": "x", "column": "b", "positive": ["x"]}, labels[0]]
    assert "two labels would have the column 'label_x'" in fails(tmp_path, records, labels=clash)


@pytest.mark.parametrize(
    ("cell", "members"),
    [
        ('["a", "b c"]', {"a", "b_c"}),
        ('["say \\"hi\\"", "b"]', {"say_hi", "b"}),
        ('["[x]"]', {"x"}),
        (["a", None, "none"], {"a", "none"}),
        ([1, 2.0], {"1", "2"}),
        ("one", {"one"}),
    ],
)
@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
def test_the_members_of_a_list_in_a_cell(tmp_path, cell, members, name):
    if name == "mine.csv" and not isinstance(cell, str):
        cell = json.dumps(cell)
    records = texts(cell, "rest")
    rows, _ = build(tmp_path, records, name, labels=[{"name": "kind", "every_value": True}])
    held = {key.removeprefix("label_") for key, value in rows[0].items() if value is True}
    assert held == members


@pytest.mark.parametrize("cell", ["['a', 'b']", "[a, b]", '["a"', "[deleted]"])
def test_a_cell_that_begins_like_a_list_and_is_none_is_refused(tmp_path, cell):
    label = {"name": "kind", "every_value": True}
    said = fails(tmp_path, texts(cell), labels=[label])
    assert "row 1 (line 1), column 'kind'" in said
    assert "no JSON list" in said
    records = [{"subject": "Ann", "answer": cell}]
    assert "no JSON list" in fails(tmp_path, records, kind="relation")
    # A class is one value, and may look as it likes.
    one = {"name": "it", "column": "kind", "positive": [cell]}
    rows, _ = build(tmp_path, texts(cell, "rest"), labels=[one])
    assert [row["label_it"] for row in rows] == [True, False]


def test_a_filter_on_a_list_asks_its_members(tmp_path):
    records = texts(["a", "b"], ["b"], [], None)
    rows, intake = build(tmp_path, records, filters=[{"column": "kind", "keep": ["a", "c"]}])
    assert [row["text"] for row in rows] == ["text 0"]
    (warning,) = intake.warnings
    assert "'c' in 'keep' of a filter never occurs in the column 'kind'" in warning


ANSWERS = [
    (2, ["2"]),
    (0.5, ["0.5"]),
    (2.0, ["2"]),
    (True, ["true"]),
    ("None", ["None"]),
    (["a", "b"], ["a", "b"]),
    (["a", None, 3], ["a", "3"]),
    ('["politician", "political leader"]', ["politician", "political leader"]),
    ('["say \\"hi\\""]', ['say "hi"']),
    ('["[x]"]', ["[x]"]),
    ({"text": ["Rome", "Roma"]}, ["Rome", "Roma"]),
    (12345678901234567890, ["12345678901234567890"]),
    ("{a, b}", ["{a, b}"]),
    ("a|b", ["a|b"]),
]


@pytest.mark.parametrize(("answer", "answers"), ANSWERS)
def test_answers_of_a_relation(tmp_path, answer, answers):
    rows, _ = build(tmp_path, [{"subject": 7, "answer": answer}], kind="relation")
    assert rows[0]["subject"] == "7"
    assert rows[0]["answers"] == answers
    assert rows[0]["answer"] == answers[0]


@pytest.mark.parametrize("answer", [None, "", [], "[]", "\u200b", float("nan"), ["", None]])
def test_an_answer_that_says_nothing_is_counted(tmp_path, answer):
    records = [{"subject": "x", "answer": "y"}, {"subject": "z", "answer": answer}]
    rows, intake = build(tmp_path, records, kind="relation")
    assert len(rows) == 1
    assert intake.aside == {"no answer": 1}


@pytest.mark.parametrize("answer", [{"a": 1}, [["a"]], [{"a": 1}], '{"a": 1}', "{'a': 1}"])
def test_an_object_is_no_answer(tmp_path, answer):
    records = [{"subject": "x", "answer": "y"}, {"subject": "z", "answer": answer}]
    said = fails(tmp_path, records, kind="relation")
    assert "row 2 (line 2), column 'answer'" in said


@pytest.mark.parametrize("subject", ["", " ", "\u200b\ufeff", None, "\u3164", "\u2060\u00ad"])
def test_subjects_in_which_nothing_shows_are_counted(tmp_path, subject):
    records = [{"subject": "x", "answer": "y"}, {"subject": subject, "answer": "z"}]
    rows, intake = build(tmp_path, records, kind="relation")
    assert len(rows) == 1
    assert intake.aside == {"no subject": 1}


@pytest.mark.parametrize("text", ["\u200b", "\ufeff \u200d", "\u2800\u3164", "\x01\x02", "\ufe0f"])
def test_texts_in_which_nothing_shows_are_counted(tmp_path, text):
    rows, intake = build(tmp_path, [{"text": "👨\u200d👩 \u200bx"}, {"text": text}])
    assert [row["text"] for row in rows] == ["👨\u200d👩 \u200bx"]
    assert intake.aside == {"text of invisible characters": 1}


def test_each_value_that_never_occurs_is_one_warning(tmp_path, caplog):
    records = texts("hate", "offensive", "fine", "else", column="cls")
    label = {
        "name": "tox",
        "column": "cls",
        "positive": ["hate", "ofensive"],
        "negative": ["fine", "ok"],
    }
    filters = [
        {"column": "cls", "keep": ["hate", "offensive", "fine", "else", 7]},
        {"column": "text", "drop": ["text 9"]},
        {"column": "cls", "drop": [False]},
    ]
    rows, intake = build(
        tmp_path,
        records,
        labels=[{"name": "h", "column": "cls", "positive": ["hate"]}, label],
        filters=filters,
    )
    assert [row["label_tox"] for row in rows] == [True, None, False, None]
    expected = ["'7' in 'keep'", "'text 9' in 'drop'", "'False' in 'drop'"]
    expected += ["'ofensive' in 'positive' of the label 'tox'", "'ok' in 'negative'"]
    assert len(intake.warnings) == len(expected)
    for begin, warning in zip(expected, intake.warnings, strict=True):
        assert warning.startswith(begin)
        assert sum(warning in record.message for record in caplog.records) == 1
    assert "did you mean 'offensive'?" in intake.warnings[3]
    write_table(tmp_path / "i.parquet", INTAKE, intake.columns(), {})
    tally = read_table(tmp_path / "i.parquet", INTAKE)
    stored = tally[tally["outcome"] == "warning"]
    assert stored["reason"].tolist() == intake.warnings
    assert stored["rows"].tolist() == [0] * 5


def test_a_value_that_stands_behind_the_first_filter_still_occurs(tmp_path):
    records = [{"text": f"t{n}", "a": n % 2, "b": "x" if n % 2 else "y"} for n in range(4)]
    filters = [{"column": "a", "drop": [1]}, {"column": "b", "drop": ["x"]}]
    rows, intake = build(tmp_path, records, filters=filters)
    assert len(rows) == 2
    assert intake.warnings == []


NESTED_FORMATS = ["mine.jsonl", "mine.json", "mine.parquet", "mine.csv"]


@pytest.mark.parametrize("column", ["meta.lng", "meta.lang.x"])
@pytest.mark.parametrize("name", NESTED_FORMATS)
def test_a_nested_column_of_a_filter_that_never_occurs_is_one_warning(
    tmp_path, column, name, caplog
):
    records = nested(name)
    rows, intake = build(tmp_path, records, name, filters=[{"column": column, "drop": ["sv"]}])
    assert [row["text"] for row in rows] == ["a", "b"]
    (warning,) = intake.warnings
    assert f"the column '{column}' of a filter never occurs" in warning
    # A cell of JSON text is looked into for the columns asked for alone.
    assert ("'meta'" if name == "mine.csv" else "did you mean 'meta.lang'?") in warning
    assert sum(warning in record.message for record in caplog.records) == 1
    write_table(tmp_path / "i.parquet", INTAKE, intake.columns(), {})
    stored = read_table(tmp_path / "i.parquet", INTAKE)
    assert stored.loc[stored["outcome"] == "warning", "reason"].tolist() == [warning]
    # A filter that keeps by it would leave nothing.
    keep = [{"column": column, "keep": ["sv"]}]
    path = write(tmp_path, name, records)
    with pytest.raises(UserError, match=f"none of the first 2 rows.*'{column}' of a filter never"):
        check_dataset(Dataset(name="mine", path=path, labels=["text"], filters=keep))
    # Whatever else reads it needs it.
    label = {"name": "it", "column": column, "positive": ["sv"]}
    assert f"no column '{column}'" in fails(tmp_path, records, name, labels=[label])


def nested(name):
    records = [{"text": "a", "meta": {"lang": "sv"}}, {"text": "b", "meta": {"lang": "no"}}]
    if name == "mine.csv":
        return [record | {"meta": json.dumps(record["meta"])} for record in records]
    return records


def test_a_nested_column_that_some_objects_lack_is_no_warning(tmp_path):
    records = [{"text": "a", "meta": {}}, {"text": "b", "meta": {"lang": "no"}}, {"text": "c"}]
    filters = [{"column": "meta.lang", "drop": ["no"]}]
    rows, intake = build(tmp_path, records, filters=filters)
    assert [row["text"] for row in rows] == ["a", "c"]
    assert intake.warnings == []


@pytest.mark.parametrize("column", ["mta.lang", "lang"])
@pytest.mark.parametrize("name", NESTED_FORMATS)
def test_a_column_that_never_occurs_is_an_error(tmp_path, column, name):
    records = nested(name)
    filters = [{"column": column, "drop": ["sv"]}]
    assert f"no column '{column}'" in fails(tmp_path, records, name, filters=filters)
    filters = [{"column": "meta.lang", "drop": ["sv"]}]
    rows, _ = build(tmp_path, records, name, filters=filters)
    assert [row["text"] for row in rows] == ["b"]


def test_the_same_value_is_not_positive_and_negative():
    with pytest.raises(ValueError, match="'a' under 'positive' and 'negative'"):
        Label(name="x", positive=["a"], negative=["a", "b"])
