"""Questions, articles, inserts and prompts: what becomes of every row of a user's file."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.build import build_table
from llm_anatomy.data.check import check_dataset
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.values import as_texts
from llm_anatomy.errors import UserError
from llm_anatomy.stages.build_dataset import BuildDatasetStage, run
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.data import ARTICLES, INSERTS, INTAKE, PROMPT_TEXTS, QUESTIONS

STORY = "The old mill stands by the river."
ROWS = {
    "qa": {"context": STORY, "question": "Where is the mill?", "answers": "by the river"},
    "articles": {"article": STORY, "summary": "A mill."},
    "inserts": {"document": "It is calm. It is late.", "insert": "Bah!"},
}
TABLES = {"qa": QUESTIONS, "articles": ARTICLES, "inserts": INSERTS}
PROMPTS = (
    "category,role,text\nboat,request,Sell it.\nboat,related,It is old.\n"
    ",unrelated,It rains.\nboat,related,It leaks.\n"
)


def build(path: Path, kind: str, **settings) -> tuple[list[dict], Intake]:
    dataset = Dataset(name="mine", kind=kind, path=str(path), **settings)
    check_dataset(dataset)
    table, intake = build_table(dataset, (), 0)
    assert intake.rows_in == intake.used + sum(intake.aside.values())
    assert intake.used == table.num_rows
    return table.to_pylist(), intake


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def lines(folder: Path, *records: dict) -> Path:
    return written(folder, "mine.jsonl", "".join(json.dumps(r) + "\n" for r in records))


def fails(path: Path, kind: str, **settings) -> str:
    with pytest.raises(UserError) as caught:
        build(path, kind, **settings)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize(
    ("name", "delimiter", "encoding"),
    [
        ("d.csv", ",", "utf-8"),
        ("d.csv.gz", ",", "utf-8"),
        ("d.tsv", "\t", "utf-8"),
        ("d.csv", ";", "latin-1"),
        ("d.jsonl", "", "utf-8"),
        ("d.jsonl.gz", "", "utf-16"),
        ("d.parquet", "", "utf-8"),
    ],
)
def test_every_kind_is_read_from_every_format(tmp_path, kind, name, delimiter, encoding):
    row = {"key": "é1"} | ROWS[kind]
    if name == "d.parquet":
        path = tmp_path / name
        pd.DataFrame([row]).to_parquet(path)
    elif delimiter:
        text = "\n".join(
            delimiter.join(f'"{cell}"' for cell in line) for line in (row, row.values())
        )
        path = written(tmp_path, name, text + "\n", encoding)
    else:
        path = written(tmp_path, name, json.dumps(row, ensure_ascii=False) + "\n", encoding)
    settings = {"delimiter": delimiter} if delimiter == ";" else {}
    found, _ = build(path, kind, id="key", encoding=encoding, **settings)
    name_column = "name" if kind == "inserts" else "example_id"
    expected = {name_column: "é1"} | ROWS[kind]
    if kind == "qa":
        expected["answers"] = ["by the river"]
    assert found == [expected]
    assert list(found[0]) == [column.name for column in TABLES[kind].columns]


@pytest.mark.parametrize("kind", ROWS)
def test_rows_that_lack_a_text_are_set_aside_and_counted(tmp_path, kind):
    row = ROWS[kind]
    texts = [key for key in row if key != "answers"]
    faulty = [row | {key: value} for key in texts for value in (None, float("nan"), " \n")]
    path = lines(tmp_path, row, *faulty, row | {texts[0]: "half \ud800 pair"})
    found, intake = build(path, kind)
    assert len(found) == 1
    assert intake.aside == {f"no {key}": 3 for key in texts} | {
        "text with half a surrogate pair": 1
    }
    tally = pd.DataFrame(intake.columns())
    assert tally["examples"][2] == "row 2 (line 2); row 3 (line 3); row 4 (line 4)"


def test_csv_rows_of_another_length_are_set_aside(tmp_path):
    path = written(tmp_path, "d.csv", "article,summary\nLong.,Short.\nLonger.\n")
    found, intake = build(path, "articles")
    assert found == [{"example_id": "row-1", "article": "Long.", "summary": "Short."}]
    assert intake.aside == {"another number of fields than the header": 1}


def test_columns_are_named_filters_and_samples_apply(tmp_path):
    records = [{"body": f"b{i}", "highlights": f"h{i}", "year": i % 2} for i in range(20)]
    settings = {"article": "body", "summary": "highlights", "max_rows": 4}
    filters = [{"column": "year", "keep": [1]}]
    found, intake = build(lines(tmp_path, *records), "articles", filters=filters, **settings)
    assert intake.aside == {
        "filtered: 'year' is none of the values to keep": 10,
        "not drawn (max_rows: 4)": 6,
    }
    numbers = [int(row["article"][1:]) for row in found]
    assert numbers == sorted(numbers)
    assert all(number % 2 for number in numbers)
    assert [row["summary"] for row in found] == [f"h{number}" for number in numbers]


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("Rome", ("Rome",)),
        ("Rome | Roma||", ("Rome", "Roma")),
        (["Rome", None, "Roma", "Rome "], ("Rome", "Roma")),
        ({"text": ["Rome", "Roma"], "answer_start": [1, 2]}, ("Rome", "Roma")),
        ([{"text": "Rome", "answer_start": 1}, {"text": "Roma"}], ("Rome", "Roma")),
        ('["a|b", "c"]', ("a|b", "c")),
        ('{"text": ["Rome"]}', ("Rome",)),
        ('["[sic] Rome"]', ("[sic] Rome",)),
        (1990, ("1990",)),
        ("None", ("None",)),
        (None, ()),
        (float("nan"), ()),
        ([], ()),
        ({"text": []}, ()),
        ("", ()),
    ],
)
def test_the_texts_of_a_cell(cell, texts):
    assert as_texts(cell) == texts


def test_questions_without_an_answer_are_data(tmp_path):
    row = ROWS["qa"]
    path = lines(
        tmp_path, row, row | {"question": "Who is king?", "answers": []}, row | {"question": "?"}
    )
    found, intake = build(path, "qa")
    assert [r["answers"] for r in found] == [["by the river"], [], ["by the river"]]
    assert intake.aside == {}


def test_copies_of_questions_and_articles(tmp_path):
    row, other = ROWS["qa"], {"question": "When?"}
    path = lines(tmp_path, row, row | other, row | {"answers": "nowhere"}, row)
    found, intake = build(path, "qa")
    assert len(found) == 2
    assert intake.aside == {
        "copy of an earlier question with other answers": 1,
        "copy of an earlier question": 1,
    }
    assert len(build(path, "qa", duplicates="keep")[0]) == 4
    article = ROWS["articles"]
    path = lines(tmp_path, article, article | {"summary": "Another."})
    assert build(path, "articles")[1].aside == {
        "copy of an earlier article with another summary": 1
    }


def squad(folder: Path, document: object, name: str = "squad.json") -> Path:
    return written(folder, name, json.dumps(document))


@pytest.mark.parametrize("name", ["squad.json", "squad.json.gz"])
def test_questions_from_a_squad_file(tmp_path, name):
    questions = [
        {"id": "q1", "question": "Where?", "answers": [{"text": "by the river"}]},
        {"id": "q2", "question": "Who?", "answers": [], "is_impossible": True},
    ]
    document = {"data": [{"title": "t", "paragraphs": [{"context": STORY, "qas": questions}]}]}
    found, intake = build(squad(tmp_path, document, name), "qa", id="id")
    assert [(row["example_id"], row["context"], row["answers"]) for row in found] == [
        ("q1", STORY, ["by the river"]),
        ("q2", STORY, []),
    ]
    assert intake.rows_in == 2
    flat = {"data": [{"context": STORY, **questions[0]}]}
    assert build(squad(tmp_path, flat, name), "qa")[0][0]["example_id"] == "row-1"


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([1], "row 1 holds no JSON object"),
        (1, "holds no JSON object or list"),
        ({"dta": []}, "one object with the keys 'dta'; right would be"),
        ({"data": ["x"]}, "'paragraphs' is no list of objects"),
        ({"data": [{"paragraphs": [{"qas": "x"}]}]}, "'qas' is no list of objects"),
        ({"data": []}, "holds no rows"),
    ],
)
def test_a_file_that_is_not_squad(tmp_path, document, problem):
    assert problem in fails(squad(tmp_path, document), "qa")


def test_a_broken_squad_file(tmp_path):
    assert "not valid JSON" in fails(written(tmp_path, "squad.json", '{"data": ['), "qa")
    document = {"data": [{"context": STORY}]}
    assert "did you mean 'question'" in fails(squad(tmp_path, document), "qa", question="quetion")


def test_a_number_where_a_text_belongs(tmp_path):
    said = fails(lines(tmp_path, ROWS["articles"], {"article": 3, "summary": "x"}), "articles")
    assert "row 2 (line 2), column 'article', holds int '3'" in said


def test_names_of_inserts_are_unique(tmp_path):
    row = ROWS["inserts"] | {"name": "lake"}
    assert "the id 'lake'" in fails(lines(tmp_path, row, row), "inserts", id="name")


def test_prompts_from_a_users_file(tmp_path):
    found, intake = build(written(tmp_path, "prompts.csv", PROMPTS), "prompts")
    assert found[0] == {"category": "boat", "role": "request", "text": "Sell it."}
    assert [row["category"] for row in found] == ["boat", "boat", None, "boat"]
    assert intake.used == 4


def test_prompts_that_lack_a_text_are_set_aside(tmp_path):
    path = written(tmp_path, "prompts.csv", PROMPTS + "boat,related, \n,related,It sinks.\n")
    _, intake = build(path, "prompts")
    assert intake.aside == {"no text": 1, "no category": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("category,role\nboat,request\n", "has no column 'text'"),
        ("category,role,text\nboat,ask,Sell it.\n", "row 1 (line 2) has the role 'ask'"),
        ("category,role,text\nboat,request, \n", "(no text)"),
        ("category,role,text\nboat,request,Sell.\n", "no row with the role 'unrelated'"),
        ("category,role,text\n,unrelated,It rains.\n", "no row with the role 'request'"),
        (
            "category,role,text\nboat,request,Sell.\n,unrelated,It rains.\n",
            "'boat' has 1 rows with the role 'request' and 0",
        ),
    ],
)
def test_wrong_prompts_are_one_sentence(tmp_path, content, message):
    assert message in fails(written(tmp_path, "prompts.csv", content), "prompts")


def test_the_stage_writes_the_table_of_the_kind_and_the_tally(tmp_path):
    path = written(tmp_path, "prompts.csv", PROMPTS)
    dataset = Dataset(name="mine", kind="prompts", path=str(path))
    paths = {"table": tmp_path / "mine.parquet", "intake": tmp_path / "mine.intake.parquet"}
    run(BuildDatasetStage(seed=0, dataset=dataset), sources=(path,), **paths)
    assert len(read_table(paths["table"], PROMPT_TEXTS)) == 4
    assert read_table(paths["intake"], INTAKE)["rows"].tolist() == [4, 4]
