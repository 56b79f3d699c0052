"""Mixtures keep the rows they should, label them by part, and lose none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.datasets import Dataset, Part
from llm_anatomy.config.toxicity import Folds
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.mixture import insert_at_word, mixed_texts
from llm_anatomy.errors import UserError
from llm_anatomy.stages.mix_datasets import MixtureStage, run
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import INTAKE, TEXTS
from llm_anatomy.toxicity.folds import split_texts

COMMENTS = {
    "text_id": ["a", "b", "c", "d"],
    "text": ["rude words", "kind words", "a threat", "unsure words"],
    "label_toxic": [True, False, False, None],
    "label_threat": [False, False, True, False],
}
PILE = {"text_id": ["p", "q"], "text": ["one two three", "four five"]}
TABLES = {"comments": pd.DataFrame(COMMENTS), "pile": pd.DataFrame(PILE)}
PARTS = [
    Part(dataset="pile", negative=["toxic"]),
    Part(dataset="comments", keep="no_label", negative=["toxic"]),
    Part(dataset="comments", keep="any_label", positive=["toxic"]),
    Part(dataset="pile", insert="comments", positive=["toxic"]),
]


def mix(parts: list[Part], seed: int = 0) -> tuple[dict[str, tuple[str, object]], Intake]:
    intake = Intake()
    items = list(mixed_texts(parts, TABLES, seed, intake))
    return {item.text_id: (item.text, item.labels["toxic"]) for item in items}, intake


def test_parts_keep_and_label_what_they_say() -> None:
    found, intake = mix(PARTS)
    assert list(found)[:5] == [
        "1-pile/p", "1-pile/q", "2-comments/b", "3-comments/a", "3-comments/c",
    ]  # fmt: skip
    assert [label for _, label in found.values()] == [False] * 3 + [True] * 4
    # The row whose label is missing is neither clean nor toxic.
    assert intake.rows_in == 12
    assert sum(intake.aside.values()) == 5


def test_a_passage_is_put_into_every_text_of_its_part() -> None:
    found, _ = mix(PARTS)
    for original, text_id in zip(
        PILE["text"], ["4-pile+comments/p", "4-pile+comments/q"], strict=True
    ):
        text = found[text_id][0]
        passages = [passage for passage in COMMENTS["text"] if passage in text]
        assert passages
        assert any(" ".join(text.replace(p, " ").split()) == original for p in passages)


@pytest.mark.parametrize("grouped", [True, False])
def test_a_passage_stands_in_one_fold_alone_and_inside_every_document(grouped: bool) -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), 7)) for _ in range(300)]
    documents = {"text_id": [f"d{i}" for i in range(60)]}
    documents |= {"text": [" ".join(rng.choice(words, 40)) for _ in range(60)]}
    passages = {"text_id": [f"p{i}" for i in range(30)]}
    passages |= {"text": [" ".join(rng.choice(words, 6)) for _ in range(30)]}
    tables = {"pile": pd.DataFrame(documents), "rude": pd.DataFrame(passages)}
    if grouped:
        # Two passages of each author: one stands alone, another of hers inside a document.
        tables["rude"]["group"] = [f"author {i // 2}" for i in range(30)]
    parts = [
        Part(dataset="rude", positive=["toxic"]),
        Part(dataset="pile", negative=["toxic"]),
        Part(dataset="pile", insert="rude", positive=["toxic"]),
    ]
    items = list(mixed_texts(parts, tables, 0, Intake()))
    mixed = pd.DataFrame([vars(item) for item in items])
    mixed["label_toxic"] = pd.array([item.labels["toxic"] for item in items], dtype="boolean")
    fold = split_texts(mixed, Folds(), 0, "omni").folds.set_index("text_id")["fold"]
    inside = [item for item in items if "+" in item.text_id]
    assert len(inside) == 60
    for item in inside:
        (passage,) = (i for i, text in enumerate(passages["text"]) if text in item.text)
        of_author = [passage, passage ^ 1] if grouped else [passage]
        places = [item.text_id, f"2-pile/{item.text_id.rpartition('/')[2]}"]
        assert fold[places + [f"1-rude/p{i}" for i in of_author]].nunique() == 1
    assert fold.nunique() > 1
    # A passage in no document is on its own.
    unused = [
        item for item in items[:30] if not any(item.text in document.text for document in inside)
    ]
    assert grouped or (unused and all(item.group is None for item in unused))


def test_the_seed_decides_and_parts_draw_for_themselves() -> None:
    whole, _ = mix(PARTS)
    assert whole == mix(PARTS)[0]
    changed = [PARTS[0], PARTS[1], Part(dataset="comments", positive=["toxic"]), PARTS[3]]
    assert mix(changed)[0]["4-pile+comments/p"] == whole["4-pile+comments/p"]
    assert any(mix(PARTS, seed)[0] != whole for seed in range(1, 6))


def test_every_break_between_words_is_used_and_no_word_is_cut() -> None:
    made = {insert_at_word("one two", "NEW", np.random.default_rng(seed)) for seed in range(30)}
    assert made == {"NEW one two", "one NEW two", "one two NEW"}


def test_a_part_without_labels_cannot_choose_by_label() -> None:
    with pytest.raises(UserError, match="'pile' keeps 'any_label', but the data set has no labels"):
        mix([Part(dataset="pile", keep="any_label", positive=["toxic"])])


def test_the_stage_writes_a_table_and_a_balanced_tally(tmp_path: Path) -> None:
    for name, table in TABLES.items():
        write_table(tmp_path / f"{name}.parquet", TEXTS, table, {})
    run(
        MixtureStage(seed=0, dataset=Dataset(name="omni", parts=PARTS)),
        parts=(tmp_path / "comments.parquet", tmp_path / "pile.parquet"),
        texts=tmp_path / "omni.parquet",
        intake=tmp_path / "omni.intake.parquet",
    )
    assert (
        read_table(tmp_path / "omni.parquet", TEXTS)["label_toxic"].tolist()
        == [False] * 3 + [True] * 4
    )
    tally = read_table(tmp_path / "omni.intake.parquet", INTAKE).groupby("outcome")["rows"].sum()
    assert tally["in"] == tally["used"] + tally["set aside"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "x.csv", "parts": [{"dataset": "a"}]}, "has path and parts"),
        ({"parts": [{"dataset": "a"}], "labels": ["toxic"]}, "mixes 'parts'"),
        (
            {"parts": [{"dataset": "a", "positive": ["t"], "negative": ["t"]}]},
            "the label 't' under 'positive' and",
        ),
    ],
)
def test_a_contradiction_in_the_configuration_is_named(
    entry: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Dataset.model_validate({"name": "omni", **entry})
