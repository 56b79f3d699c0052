"""What files people have: their formats, encodings, names and mistakes."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.build import build_table
from llm_anatomy.data.check import check_dataset
from llm_anatomy.errors import UserError

TABLE = "text,ok\nfirst né,0\nsecond,1\n"


def build(path: Path, **settings):
    settings = {"labels": ["ok"], "kind": "texts"} | settings
    if settings["kind"] != "texts":
        del settings["labels"]
    dataset = Dataset(name="mine", path=str(path), **settings)
    check_dataset(dataset)
    table, intake = build_table(dataset, (), 0)
    return table.to_pylist(), intake


def fails(path: Path, **settings) -> str:
    with pytest.raises(UserError) as caught:
        build(path, **settings)
    said = str(caught.value)
    assert "\n" not in said
    assert str(path) in said
    return said


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("mark", ["", "\ufeff", "\ufeff\ufeff"])
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "UTF8", "utf-8-sig", "utf-16", "utf16", "utf-16-le", "utf-16-be", "utf-32"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_unicode_encoding_is_read_with_and_without_a_mark(tmp_path, mark, encoding, packed):
    data = (mark + TABLE).encode(encoding)
    path = written(tmp_path, "d.csv", gzip.compress(data) if packed else data)
    rows, _ = build(path, encoding=encoding)
    assert [row["text"] for row in rows] == ["first né", "second"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp437", "mac-roman", "cp037"])
def test_old_encodings_are_read_by_their_names(tmp_path, encoding):
    rows, _ = build(written(tmp_path, "d.csv", TABLE.encode(encoding)), encoding=encoding)
    assert rows[0]["text"] == "first né"


@pytest.mark.parametrize(
    ("encoding", "configured", "words"),
    [
        ("utf-16-le", "utf-8", "set encoding: utf-16-le"),
        ("utf-16-be", "utf-8", "set encoding: utf-16-be"),
        ("utf-16-be", "utf-16", "set encoding: utf-16-be"),
        ("utf-16-be", "utf-16-le", "set encoding: utf-16-be"),
        ("utf-32-le", "utf-8", "set encoding: utf-32-le"),
        ("utf-16", "utf-8", "set encoding: utf-16"),
        ("utf-32", "utf-16", "set encoding: utf-32"),
        ("utf-8-sig", "latin-1", "set encoding: utf-8"),
        ("cp1252", "utf-8", "is not valid utf-8"),
        ("utf-8", "base64", "no text encoding 'base64'"),
        ("utf-8", "utf-9", "no text encoding 'utf-9'"),
    ],
)
@pytest.mark.parametrize("name", ["d.csv", "d.jsonl", "d.json"])
def test_another_encoding_is_named(tmp_path, encoding, configured, words, name):
    text = TABLE if name == "d.csv" else '{"text": "first né", "ok": 0}\n'
    assert words in fails(written(tmp_path, name, text.encode(encoding)), encoding=configured)


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.jsonl", "d.json", "d.csv.gz"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04\x14\0\x06\0", "Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Excel"),
        (b"%PDF-1.7\n", "PDF"),
        (b"SQLite format 3\0", "SQLite"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"PAR1\x15\x04\x15", "suffix .parquet"),
        (gzip.compress(b"x", mtime=0), "gzipped twice"),
    ],
)
def test_a_file_that_is_something_else_says_what(tmp_path, name, data, words):
    if data.startswith(b"\x1f\x8b") or name.endswith(".gz"):
        data = gzip.compress(data)
    assert words in fails(written(tmp_path, name, data))


def test_parquet_by_another_name_and_another_by_parquets(tmp_path):
    pd.DataFrame({"text": ["a"], "ok": [1]}).to_parquet(tmp_path / "d.parquet")
    data = (tmp_path / "d.parquet").read_bytes()
    assert "suffix .parquet" in fails(written(tmp_path, "d.csv", data))
    said = fails(written(tmp_path, "e.parquet", b"PK\x03\x04" + b"\0" * 100))
    assert "Excel" in said


@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.jsonl", "d.csv.gz"])
@pytest.mark.parametrize("pack", [False, True])
def test_gzip_is_known_by_its_content(tmp_path, name, pack):
    text = TABLE.replace(",", "\t") if name == "d.tsv" else TABLE
    if name == "d.jsonl":
        text = '{"text": "first né", "ok": 0}\n{"text": "second", "ok": 1}\n'
    data = gzip.compress(text.encode()) if pack else text.encode()
    assert len(build(written(tmp_path, name, data))[0]) == 2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("d.csv", TABLE.replace(",", "\t"), r'delimiter: "\t"'),
        ("d.csv", TABLE.replace(",", ";"), 'delimiter: ";"'),
        ("d.csv", TABLE.replace(",", "|"), 'delimiter: "|"'),
        ("d.csv", 'text;ok;"a, b"\nx;1;2\n', 'delimiter: ";"'),
        ("d.tsv", TABLE, 'delimiter: ","'),
        ("d.csv", "sep=;\n" + TABLE.replace(",", ";"), "Excel's line 'sep=;'"),
        ("d.csv", "sep=,\n" + TABLE, "Excel's line"),
        ("d.csv", "text,ok,text\na,0,b\n", "'text' twice"),
        ("d.csv", "text,ok\n", "holds no rows"),
        ("d.csv", "\n\n", "no header line"),
        ("d.csv", 'text,ok\n"a,0\nb,1\n', "never closed"),
        ("d.csv", "text,ok\na,0,1\nb,1,0\n", "none of the first 2 rows"),
        ("d.jsonl", '{"text": "a", "ok": 0, "text": "b"}\n', "'text' is given twice"),
        ("d.json", '[{"text": "a", "ok": 0, "ok": 1}]', "'ok' is given twice"),
        ("d.jsonl", '{"text": "a",\n "ok": 0}\n', "row 1 (line 1) is not valid JSON"),
        ("d.json", '{"text": {"0": "a"}, "ok": {"0": 1}}', "one object with the keys 'text', 'ok'"),
        ("d.json", "[]", "holds no rows"),
        ("d.json", '{"data": [', "not valid JSON"),
        ("d.json", '[{"text": "a", "ok": 1}, 3]', "row 2 holds no JSON object"),
        ("d.jsonl", " \n", "holds no rows"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence(tmp_path, name, text, words):
    assert words in fails(written(tmp_path, name, text.encode()))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_an_empty_file_of_any_kind(tmp_path, encoding):
    for name in ("d.csv", "d.json", "d.parquet"):
        assert "is empty" in fails(written(tmp_path, name, b""), encoding=encoding)
    assert "no header line" in fails(written(tmp_path, "d.csv.gz", gzip.compress(b"")))


ROWS = [{"text": "one\u2028two\u0085three", "ok": 0}, {"text": 'say "hi", \\n {x}', "ok": 1}]


@pytest.mark.parametrize(
    "name", ["d.json", "lines.json", "data.json", "d.jsonl", "list.jsonl", "d.ndjson", "d.csv"]
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_rows_are_the_same_from_every_shape(tmp_path, name, ascii_only):
    dumped = [json.dumps(row, ensure_ascii=ascii_only) for row in ROWS]
    if name.startswith(("d.json", "list")) and name != "d.jsonl":
        text = json.dumps(ROWS, ensure_ascii=ascii_only, indent=1)
    elif name == "data.json":
        text = json.dumps({"data": ROWS}, ensure_ascii=ascii_only)
    elif name == "d.csv":
        text = pd.DataFrame(ROWS).to_csv(index=False)
    else:
        text = "\r\n\n".join(dumped) + "\n"
    rows, _ = build(written(tmp_path, name, text.encode()))
    assert [row["text"] for row in rows] == [row["text"] for row in ROWS]
    assert [row["label_ok"] for row in rows] == [False, True]


@pytest.mark.parametrize("name", ["a{b}/r.csv", "a b/ü.csv", "a*b/[x]?.csv", "{dataset}.csv"])
def test_odd_names_of_files(tmp_path, name):
    assert len(build(written(tmp_path, name, TABLE.encode()))[0]) == 2


LRE = {
    "name": "country capital city",
    "prompt_templates": ["The capital of {} is the city of", "{}'s capital is"],
    "prompt_templates_zs": ["What is the capital of {}? It is"],
    "properties": {"relation_type": "factual"},
    "samples": [
        {"subject": "France", "object": "Paris"},
        {"subject": "Italy", "object": ["Rome", "Roma"]},
        {"subject": "", "object": "Nowhere"},
    ],
}
COUNTERFACT = [
    {
        "case_id": 0,
        "requested_rewrite": {
            "prompt": "The mother tongue of {} is",
            "target_new": {"str": "English", "id": "Q1860"},
            "target_true": {"str": "French", "id": "Q150"},
            "subject": "Danielle Darrieux",
        },
    },
    {
        "case_id": 1,
        "requested_rewrite": {
            "prompt": "{} plays in the position of",
            "target_new": {"str": "pitcher", "id": "Q1"},
            "target_true": {"str": "goaltender", "id": "Q2"},
            "subject": "Danielle Darrieux",
        },
    },
]


def test_a_relation_in_the_format_of_lre(tmp_path):
    path = written(tmp_path, "capitals.json", json.dumps(LRE).encode())
    for keys in ({}, {"answer": "object"}):
        rows, intake = build(path, kind="relation", **keys)
        assert [(row["prompt"], row["answers"]) for row in rows] == [
            ("The capital of France is the city of", ["Paris"]),
            ("The capital of Italy is the city of", ["Rome", "Roma"]),
        ]
        assert intake.aside == {"no subject": 1}
    bare = json.dumps({"samples": LRE["samples"]}).encode()
    rows, _ = build(written(tmp_path, "bare.json", bare), kind="relation")
    assert [row["prompt"] for row in rows] == [None, None]


@pytest.mark.parametrize("name", ["cf.json", "cf.jsonl", "cf.json.gz"])
def test_a_relation_in_the_format_of_counterfact(tmp_path, name):
    text = json.dumps(COUNTERFACT)
    if name == "cf.jsonl":
        text = "".join(json.dumps(record) + "\n" for record in COUNTERFACT)
    data = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    inner = "requested_rewrite"
    named = {
        "subject": f"{inner}.subject",
        "answer": f"{inner}.target_true.str",
        "prompt": f"{inner}.prompt",
    }
    for keys in ({}, named):
        rows, _ = build(written(tmp_path, name, data), kind="relation", id="case_id", **keys)
        assert [(r["example_id"], r["subject"], r["prompt"], r["answer"]) for r in rows] == [
            ("0", "Danielle Darrieux", "The mother tongue of Danielle Darrieux is", "French"),
            ("1", "Danielle Darrieux", "Danielle Darrieux plays in the position of", "goaltender"),
        ]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("The capital of {subject} is", "The capital of France is"),
        ("The capital of {} is", "The capital of France is"),
        ("France's dict() is {} and", "France's dict() is {} and"),
        ("The capital of France is", "The capital of France is"),
    ],
)
def test_placeholders_in_a_ready_prompt_stand_for_the_subject(tmp_path, prompt, expected):
    records = json.dumps([{"subject": "France", "answer": "Paris", "p": prompt}])
    path = written(tmp_path, "r.json", records.encode())
    assert build(path, kind="relation", prompt="p")[0][0]["prompt"] == expected


def test_the_licence_of_own_data_is_recorded(tmp_path):
    from llm_anatomy.data.build import data_provenance

    path = written(tmp_path, "d.csv", TABLE.encode())
    dataset = Dataset(name="mine", path=str(path), licence="CC-BY-4.0")
    assert data_provenance(dataset, (), 0)["licence"] == "CC-BY-4.0"
    assert "licence" not in data_provenance(Dataset(name="mine", path=str(path)), (), 0)
    with pytest.raises(ValueError, match="'licence', which belongs to 'path' and 'hub'"):
        Dataset(name="mine", builtin="domains", licence="MIT")
