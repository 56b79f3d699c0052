"""Rows out of users' files: what is read, where it stands, and what a mistake says."""

import csv
import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.readers import RAGGED, read_lines, read_rows
from llm_anatomy.errors import UserError


def rows_of(path: Path, columns=("text",), **settings):
    dataset = Dataset(name="mine", path=str(path), **settings)
    return list(read_rows(dataset, list(columns)))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def message(path: Path, columns=("text",), **settings) -> str:
    with pytest.raises(UserError) as caught:
        rows_of(path, columns, **settings)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path, suffix):
    records = [
        {"text": "plain, with a comma", "toxic": "1"},
        {"text": 'two\nlines and a "quote"\tand a tab', "toxic": "0"},
        {"text": "🙂 مرحبا", "toxic": "1"},
    ]
    path = tmp_path / f"data{suffix}"
    if suffix == ".parquet":
        pd.DataFrame(records).to_parquet(path)
    elif suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(r) for r in records) + "\n\n", encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(
                file, ["text", "toxic"], delimiter="\t" if suffix == ".tsv" else ","
            )
            writer.writeheader()
            writer.writerows(records)
    rows = rows_of(path, ("text", "toxic"))
    assert [dict(row.values) for row in rows] == records
    assert [row.number for row in rows] == [1, 2, 3]


def test_places_count_rows_and_lines_when_fields_hold_line_breaks(tmp_path):
    path = write(tmp_path / "d.csv", b'text\n"one\ntwo"\n\nthree\n')
    assert [row.place for row in rows_of(path)] == ["row 1 (line 2)", "row 2 (line 5)"]


def test_gzip_and_byte_order_mark(tmp_path):
    path = write(tmp_path / "d.csv.gz", gzip.compress(b"\xef\xbb\xbftext\nhello\n"))
    assert rows_of(path)[0].values == {"text": "hello"}


def test_a_gzip_file_cut_short_is_an_error(tmp_path):
    path = write(tmp_path / "d.csv.gz", gzip.compress(b"text\n" + b"hello\n" * 5000)[:-20])
    assert "cut short" in message(path)


def test_latin1_names_row_and_column_and_the_remedy(tmp_path):
    content = "id,text,toxic\n1,fine,0\n2,na\xefve caf\xe9,1\n".encode("latin-1")
    path = write(tmp_path / "d.csv", content)
    said = message(path, ("text", "toxic"))
    assert "row 2 (line 3), column 'text'," in said
    assert "latin-1" in said
    rows = rows_of(path, encoding="latin-1")
    assert rows[1].values["text"] == "naïve café"


def test_utf16_is_recognised_and_readable(tmp_path):
    path = write(tmp_path / "d.csv", "text\nnaïve\n\u2028x\n".encode("utf-16"))
    assert "encoding: utf-16" in message(path)
    assert [r.values["text"] for r in rows_of(path, encoding="utf-16")] == ["naïve", "\u2028x"]


def test_unknown_encoding(tmp_path):
    path = write(tmp_path / "d.csv", b"text\nx\n")
    assert "utf-9" in message(path, encoding="utf-9")


def test_wrong_column_suggests_the_right_one(tmp_path):
    path = write(tmp_path / "d.csv", b"Tweet,class\nhello,1\n")
    assert "no column 'tweet'; did you mean 'Tweet'?" in message(path, ("tweet",))
    path = write(tmp_path / "d.jsonl", b'{"body": "x", "label": 1}\n{"body": "y", "label": 0}\n')
    assert "'body'" in message(path)


def test_nested_columns_are_reached_with_a_dot(tmp_path):
    path = write(tmp_path / "d.jsonl", b'{"prompt": {"text": "x"}}\n')
    assert len(rows_of(path, ("prompt.text",))) == 1
    assert "no column 'prmpt.text'" in message(path, ("prmpt.text",))


def test_a_column_that_is_there_twice(tmp_path):
    path = write(tmp_path / "d.csv", b"text,text\na,b\n")
    assert "'text' twice" in message(path)


def test_ragged_rows_are_handed_on_with_their_fault(tmp_path):
    path = write(tmp_path / "d.csv", b"text,toxic\nfine,1\ntoo,many,fields\nfew\nfine,0\n")
    rows = rows_of(path)
    assert [row.fault for row in rows] == ["", RAGGED, RAGGED, ""]
    assert rows[1].place == "row 2 (line 3)"


def test_a_quote_that_never_closes_does_not_swallow_the_file(tmp_path):
    path = write(tmp_path / "d.csv", b'text,toxic\nfine,1\n"open,1\nlost,0\nlost,1\n')
    said = message(path)
    assert "row 2 (line 3)" in said
    assert "never closed" in said
    assert len(rows_of(path, quotes=False)) == 4


def test_broken_quoting_names_the_row(tmp_path):
    path = write(tmp_path / "d.csv", b'text,toxic\n"say "hi" now",1\n')
    assert "row 1 (line 2)" in message(path)


def test_another_delimiter_is_suggested(tmp_path):
    path = write(tmp_path / "d.csv", b"text;toxic\nhello;1\n")
    assert 'delimiter: ";"' in message(path)
    assert rows_of(path, delimiter=";")[0].values == {"text": "hello", "toxic": "1"}


def test_very_long_texts_are_read_whole(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("text\n" + "x" * 300_000 + "\n")
    assert len(rows_of(path)[0].values["text"]) == 300_000


def test_broken_json_names_the_line(tmp_path):
    path = write(tmp_path / "d.jsonl", b'{"text": "x"}\n\n{"text": \n')
    assert "row 2 (line 3) is not valid JSON" in message(path)
    path = write(tmp_path / "d.jsonl", b'["text"]\n')
    assert "no JSON object" in message(path)


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl", "d.parquet"])
def test_missing_empty_and_folder(tmp_path, name):
    (tmp_path / "data.csv").write_text("text\nx\n")
    assert "no file" in message(tmp_path / name)
    assert "is empty" in message(write(tmp_path / name, b""))
    folder = tmp_path / f"folder{Path(name).suffix}"
    folder.mkdir()
    assert "is a folder" in message(folder)


def test_a_damaged_parquet_file(tmp_path):
    path = tmp_path / "d.parquet"
    pd.DataFrame({"text": ["x"] * 1000}).to_parquet(path)
    assert "not a readable Parquet" in message(write(path, path.read_bytes()[:-30]))


def test_plain_lines_are_rows_and_only_a_line_feed_ends_one():
    content = "\ufeffone\r\n\ntwo\u2028halves\x0bthree\n".encode()
    rows = read_lines(content, "text", "standard input")
    assert [row.values["text"] for row in rows] == ["one", "", "two\u2028halves\x0bthree"]
    assert [(row.number, row.place) for row in rows][1:] == [(2, "line 2"), (3, "line 3")]
    assert read_lines(b"", "text", "standard input") == []
    with pytest.raises(UserError, match="mine: line 2 is not valid utf-8"):
        read_lines(b"fine\nna\xefve\n", "text", "mine")


def test_a_json_document_too_long_to_be_read_whole_is_refused_before_it_is_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("llm_anatomy.data.json_rows.MOST_CHARACTERS", 1 << 20)
    records = [{"text": "x" * 1000} for _ in range(1200)]
    document = json.dumps(records).encode()
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    for name, content in (
        ("d.json", document),
        ("d.json.gz", gzip.compress(document, mtime=0)),
        ("d.jsonl", document),
    ):
        said = message(write(tmp_path / name, content))
        assert "more than 1 MiB" in said
        assert ".jsonl" in said
    assert len(rows_of(write(tmp_path / "long.jsonl", lines))) == 1200
    assert len(rows_of(write(tmp_path / "short.json", json.dumps(records[:9]).encode()))) == 9
