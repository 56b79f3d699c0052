"""Labels, faults, duplicates, samples: what becomes of every row of a user's texts."""

import json

import pandas as pd
import pytest
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.build import build_relation, build_texts, data_provenance
from llm_anatomy.data.check import check_dataset
from llm_anatomy.errors import UserError


def build(tmp_path, records, seed=0, **settings):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    dataset = Dataset(name="mine", path=str(path), **settings)
    table, intake = build_texts(dataset, (), seed)
    return table.to_pandas(), intake


def fails(tmp_path, records, **settings) -> str:
    with pytest.raises(UserError) as caught:
        build(tmp_path, records, **settings)
    text = str(caught.value)
    assert "\n" not in text
    return text


def texts(*labels, name="toxic"):
    return [{"text": f"text {i}", name: label} for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("true", "false"),
    [(True, False), (1, 0), (1.0, 0.0), ("Yes", "no"), ("TRUE", "False"), ("1", "0"), ("t", " f ")],
)
def test_booleans_in_every_spelling(tmp_path, true, false):
    table, _ = build(tmp_path, texts(true, false, true), labels=["toxic"])
    assert table["label_toxic"].tolist() == [True, False, True]


def test_a_label_that_is_no_boolean_names_row_column_and_value(tmp_path):
    said = fails(tmp_path, texts(1, 0, 2), labels=["toxic"])
    assert "row 3 (line 3), column 'toxic': '2'" in said
    assert "positive" in said


def test_classes_are_mapped_whatever_their_type(tmp_path):
    for values in ([0, 1, 2], ["0", "1", "2"], [0.0, 1.0, 2.0]):
        label = {"name": "neither", "column": "class", "positive": [2]}
        table, _ = build(tmp_path, texts(*values, name="class"), labels=[label])
        assert table["label_neither"].tolist() == [False, False, True]


def test_values_that_are_neither_positive_nor_negative_are_set_aside(tmp_path):
    label = {"name": "toxic", "column": "class", "positive": ["bad"], "negative": ["good"]}
    table, intake = build(tmp_path, texts("bad", "good", "unsure", name="class"), labels=[label])
    assert table["label_toxic"].tolist() == [True, False]
    assert intake.aside == {"no label has a value": 1}


def test_scores_have_a_threshold_and_a_margin(tmp_path):
    label = {"name": "toxic", "column": "score", "at_least": 0.5, "below": 0.25}
    table, intake = build(tmp_path, texts(0.5, 0.3, 0.2, 0.9, name="score"), labels=[label])
    assert table["label_toxic"].tolist() == [True, False, True]
    assert intake.aside == {"no label has a value": 1}
    said = fails(tmp_path, texts(0.5, "high", name="score"), labels=[label])
    assert "row 2" in said
    assert "'high'" in said


def test_list_columns_become_one_label_per_value(tmp_path):
    records = texts(["insult", "threat"], [], ["insult"], name="types")
    label = {"name": "types", "every_value": True}
    table, _ = build(tmp_path, records, labels=[label])
    assert table["label_insult"].tolist() == [True, False, True]
    assert table["label_threat"].tolist() == [True, False, False]
    one = {"name": "threat", "column": "types", "contains": "threat"}
    table, _ = build(tmp_path, records, labels=[one])
    assert table["label_threat"].tolist() == [True, False, False]


def test_separated_lists_in_one_column(tmp_path):
    records = texts("insult|threat", "", " insult ", name="types")
    label = {"name": "types", "every_value": True, "separator": "|"}
    table, _ = build(tmp_path, records, labels=[label])
    assert table["label_insult"].tolist() == [True, False, True]


def test_values_that_would_share_a_name(tmp_path):
    label = {"name": "types", "every_value": True}
    said = fails(tmp_path, texts(["a b"], ["a-b"], name="types"), labels=[label])
    assert "'a b' and 'a-b'" in said


def test_missing_labels_stay_missing_where_another_label_is_known(tmp_path):
    records = [
        {"text": "a", "x": 1, "y": None},
        {"text": "b", "x": float("nan"), "y": 1},
        {"text": "c", "x": 0, "y": 0},
        {"text": "d", "x": None, "y": "NaN"},
        {"text": "e"},
    ]
    table, intake = build(tmp_path, records, labels=["x", "y"])
    assert table["text"].tolist() == ["a", "b", "c"]
    assert table["label_y"].tolist() == [None, True, False]
    assert intake.aside == {"no label has a value": 2}


def test_unusable_texts_are_set_aside_with_reason_and_place(tmp_path):
    records = [
        *texts(1, 0),
        {"text": "", "toxic": 1},
        {"text": " \n\t", "toxic": 1},
        {"text": None, "toxic": 1},
        {"toxic": 1},
        {"text": "null\0byte", "toxic": 1},
        {"text": "half \ud800 pair", "toxic": 1},
        {"text": "x" * 100_000, "toxic": 1},
        {"text": "🏳️‍🌈 family 👨‍👩‍👧", "toxic": 0},
        {"text": "שלום עולם \u202eabc", "toxic": 0},
    ]
    table, intake = build(tmp_path, records, labels=["toxic"])
    assert intake.aside == {
        "empty text": 4,
        "text with a NUL byte": 1,
        "text with half a surrogate pair": 1,
    }
    assert table["text"].tolist() == [records[i]["text"] for i in (0, 1, 8, 9, 10)]
    tally = pd.DataFrame(intake.columns())
    assert tally["examples"][2] == "row 3 (line 3); row 4 (line 4); row 5 (line 5)"
    assert tally["rows"].tolist()[:2] == [11, 5]


def test_a_number_where_a_text_belongs(tmp_path):
    said = fails(tmp_path, [{"text": "a"}, {"text": 3}])
    assert "row 2 (line 2), column 'text'" in said


def test_ids_are_kept_and_must_be_there_once(tmp_path):
    records = [{"id": i, "text": f"text {i}"} for i in (7, 8, 9)]
    table, _ = build(tmp_path, records, id="id")
    assert table["text_id"].tolist() == ["7", "8", "9"]
    said = fails(tmp_path, [*records, {"id": 8, "text": "again"}], id="id")
    assert "'8'" in said
    assert "row 2 (line 2) and in row 4 (line 4)" in said
    assert "row 4" in fails(tmp_path, [*records, {"id": None, "text": "again"}], id="id")


def test_copies_are_set_aside_by_whether_their_labels_agree(tmp_path):
    records = [
        {"text": "same", "toxic": 1},
        {"text": " same ", "toxic": 1},
        {"text": "same", "toxic": 0},
        {"text": "other", "toxic": 0},
    ]
    table, intake = build(tmp_path, records, labels=["toxic"])
    assert table["text"].tolist() == ["same", "other"]
    assert intake.aside == {
        "copy of an earlier text": 1,
        "copy of an earlier text with other labels": 1,
    }
    table, intake = build(tmp_path, records, labels=["toxic"], duplicates="keep")
    assert len(table) == 4


def test_one_class_labels_are_refused_with_what_the_column_holds(tmp_path):
    records = texts("Toxic", "Clean", "Toxic", name="verdict")
    label = {"name": "toxic", "column": "verdict", "positive": ["toxic"]}
    said = fails(tmp_path, records, labels=[label])
    assert "is false in all 3" in said
    assert "'Toxic' (2)" in said


def test_filters_keep_and_drop_and_count(tmp_path):
    records = [
        {"text": f"text {i}", "language": language, "year": year}
        for i, (language, year) in enumerate([("en", 2019), ("de", 2020), ("en", 2021)])
    ]
    filters = [{"column": "language", "keep": ["en"]}, {"column": "year", "drop": [2021]}]
    table, intake = build(tmp_path, records, filters=filters)
    assert table["text"].tolist() == ["text 0"]
    assert sum(intake.aside.values()) == 2
    assert all(reason.startswith("filtered: '") for reason in intake.aside)


def test_nothing_usable_says_why(tmp_path):
    said = fails(tmp_path, [{"text": ""}, {"text": " "}])
    assert "2 empty text" in said


def test_samples_are_seeded_nested_balanced_and_in_source_order(tmp_path):
    records = texts(*(i % 5 == 0 for i in range(200)))

    def numbers(**settings):
        table, intake = build(tmp_path, records, labels=["toxic"], **settings)
        assert intake.rows_in == 200
        assert intake.used + sum(intake.aside.values()) == 200
        found = [int(text.split()[1]) for text in table["text"]]
        assert found == sorted(found)
        return found, table

    small, _ = numbers(max_rows=50)
    assert len(small) == 50
    assert set(small) <= set(numbers(max_rows=100)[0])
    assert small == numbers(max_rows=50)[0]
    assert small != numbers(max_rows=50, seed=1)[0]
    _, balanced = numbers(max_rows=60, balance="toxic")
    assert balanced["label_toxic"].value_counts().to_dict() == {True: 30, False: 30}
    _, balanced = numbers(balance="toxic")
    assert balanced["label_toxic"].value_counts().to_dict() == {True: 40, False: 40}


def test_the_datasets_own_seed_wins(tmp_path):
    records = texts(*([1, 0] * 50))
    own = build(tmp_path, records, labels=["toxic"], max_rows=20, seed=3)[0]
    path = str(tmp_path / "mine.jsonl")
    dataset = Dataset(name="mine", path=path, labels=["toxic"], max_rows=20, seed=3)
    other = build_texts(dataset, (), 99)[0].to_pandas()
    assert own["text"].tolist() == other["text"].tolist()


def test_balancing_a_label_of_one_class(tmp_path):
    said = fails(tmp_path, texts(1, 1), labels=["toxic"], balance="toxic")
    assert "true in 2 and false in 0" in said


def test_provenance_names_source_and_hash(tmp_path):
    build(tmp_path, texts(1, 0))
    dataset = Dataset(name="mine", path=str(tmp_path / "mine.jsonl"))
    before = data_provenance(dataset, (), 0)
    build(tmp_path, texts(1, 0, 1))
    after = data_provenance(dataset, (), 0)
    assert before["source"] == after["source"] == str(tmp_path / "mine.jsonl")
    assert before["sha256"] != after["sha256"]


def relation(tmp_path, records, **settings):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    dataset = Dataset(name="mine", kind="relation", path=str(path), **settings)
    check_dataset(dataset)
    table, intake = build_relation(dataset, (), 0)
    return table.to_pandas(), intake


def test_a_users_relation(tmp_path):
    records = [
        {"subject": "Brazil", "answer": "Brasília", "also": "BSB| Brasilia "},
        {"subject": "France", "answer": "Paris", "also": None},
        {"subject": "France", "answer": "Paris"},
        {"subject": "France", "answer": "Lyon"},
        {"subject": "Nowhere", "answer": ""},
        {"subject": "", "answer": "x"},
    ]
    table, intake = relation(tmp_path, records, answers="also")
    assert table["answers"].map(list).tolist() == [["Brasília", "BSB", "Brasilia"], ["Paris"]]
    assert table["answer"].tolist() == ["Brasília", "Paris"]
    assert set(table["relation"]) == {"mine"}
    assert table["prompt"].isna().all()
    assert intake.aside == {
        "copy of an earlier subject": 1,
        "earlier subject with another answer": 1,
        "no answer": 1,
        "no subject": 1,
    }


def test_a_relation_of_ready_prompts_needs_no_subject(tmp_path):
    records = [{"p": "The opposite of hot is", "answer": "cold"}]
    table, _ = relation(tmp_path, records, prompt="p")
    assert table["prompt"].tolist() == ["The opposite of hot is"]
    assert table["subject"].tolist() == [""]


def test_a_relation_without_its_column(tmp_path):
    with pytest.raises(UserError, match="no column 'answer'; did you mean 'answers'"):
        relation(tmp_path, [{"subject": "France", "answers": "Paris"}])
