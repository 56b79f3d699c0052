"""Property: what goes in is what is used plus what is set aside, in every format."""

import csv
import json
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.build import build_texts
from llm_anatomy.data.sampling import lowest, rank

TEXT = st.one_of(
    st.sampled_from(
        ["", " ", "\u200b", "same", "same ", "nul\0", "🙂", "שלום", '"quoted", text', "two\nlines"]
    ),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
)
LABEL = st.sampled_from(["yes", "no", "", "maybe"])
RECORDS = st.lists(st.tuples(TEXT, LABEL), max_size=25)
SPEC = {"name": "good", "column": "verdict", "positive": ["yes"], "negative": ["no"]}


def write(folder: Path, suffix: str, records) -> Path:
    path = folder / f"data{suffix}"
    rows = [{"text": text, "verdict": verdict} for text, verdict in records]
    if suffix == ".parquet":
        pd.DataFrame(rows, columns=["text", "verdict"]).to_parquet(path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(["text", "verdict"])
            writer.writerows(records)
    return path


def expected(records):
    """The rules of docs/data.md, written as a plain loop."""
    used, aside, first = [], Counter(), {}
    for text, verdict in records:
        label = {"yes": True, "no": False}.get(verdict)
        if not text.strip():
            aside["empty text"] += 1
        elif "\0" in text:
            aside["text with a NUL byte"] += 1
        elif all(unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cc", "Cf") for c in text):
            aside["text of invisible characters"] += 1
        elif label is None:
            aside["no label has a value"] += 1
        elif text.strip() in first:
            agree = first[text.strip()] == label
            suffix = "" if agree else " with other labels"
            aside["copy of an earlier text" + suffix] += 1
        else:
            first[text.strip()] = label
            used.append((text, label))
    return used, aside


@settings(max_examples=60, deadline=None)
@given(records=RECORDS, suffix=st.sampled_from([".csv", ".jsonl", ".parquet"]))
def test_every_row_is_used_or_counted_as_set_aside(records, suffix):
    # Both classes are always there, so that the property is about rows and not about labels.
    records = [*records, ("certainly good", "yes"), ("certainly bad", "no")]
    used, aside = expected(records)
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), suffix, records)
        dataset = Dataset(name="mine", path=str(path), labels=[SPEC])
        table, intake = build_texts(dataset, (), 0)
    found = table.to_pandas()
    assert list(zip(found["text"], found["label_good"], strict=True)) == used
    assert intake.aside == aside
    assert intake.rows_in == len(records) == intake.used + sum(intake.aside.values())


@settings(max_examples=40, deadline=None)
@given(records=RECORDS, max_rows=st.integers(2, 12), seed=st.integers(0, 3))
def test_a_balanced_sample_is_part_of_what_is_usable_and_is_counted(records, max_rows, seed):
    records = [*records, *((f"good {i}", "yes") for i in range(9)), ("bad", "no"), ("worse", "no")]
    used, aside = expected(records)
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), ".jsonl", records)
        dataset = Dataset(
            name="mine", path=str(path), labels=[SPEC], max_rows=max_rows, balance="good"
        )
        table, intake = build_texts(dataset, (), seed)
    drawn = list(zip(table["text"].to_pylist(), table["label_good"].to_pylist(), strict=True))
    positions = [used.index(item) for item in drawn]
    assert positions == sorted(positions)
    counts = Counter(label for _, label in drawn)
    rarer = min(Counter(label for _, label in used).values())
    assert counts[True] == counts[False] == min(rarer, max_rows // 2)
    assert sum(intake.aside.values()) == sum(aside.values()) + len(used) - len(drawn)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 40), max_rows=st.integers(1, 45), seed=st.integers(0, 3))
def test_a_plain_sample_has_the_asked_size(count, max_rows, seed):
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), ".csv", [(f"text {i}", "yes") for i in range(count)])
        table, intake = build_texts(
            Dataset(name="mine", path=str(path), max_rows=max_rows), (), seed
        )
    assert table.num_rows == intake.used == min(count, max_rows)
    assert sum(intake.aside.values()) == count - intake.used


@given(
    numbers=st.lists(st.integers(1, 500), unique=True, max_size=60),
    limit=st.none() | st.integers(1, 70),
    seed=st.integers(0, 5),
)
def test_a_sample_is_the_lowest_ranks_whatever_the_order(numbers, limit, seed):
    drawn, offered = lowest([SimpleNamespace(number=n) for n in numbers], limit, seed)
    naive = sorted(numbers, key=lambda number: rank(number, seed))[:limit]
    assert [item.number for item in drawn] == sorted(naive)
    assert offered == len(numbers)
