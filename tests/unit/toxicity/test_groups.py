"""Texts of one group (a prompt's answers, an author's) never stand on both sides of a split."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.datasets import Dataset, Part
from llm_anatomy.config.toxicity import Classifiers, Folds, Scoring, Transfer
from llm_anatomy.data.build import build_texts
from llm_anatomy.data.duplicates import groups_of_both
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.mixture import mixed_texts
from llm_anatomy.errors import UserError
from llm_anatomy.statistics.folds import inner_splits
from llm_anatomy.statistics.intervals import bootstrap_weights
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.toxicity.classifiers import LogisticRecipe
from llm_anatomy.toxicity.evaluate import labelled_texts, measured_rows, out_of_fold
from llm_anatomy.toxicity.features import Dense
from llm_anatomy.toxicity.folds import SplitTexts, split_texts
from llm_anatomy.toxicity.inputs import SplineTable
from llm_anatomy.toxicity.negatives import with_negatives
from llm_anatomy.toxicity.self_training import keep_labels
from llm_anatomy.toxicity.transfer import (
    DatasetOfTexts,
    TransferSettings,
    overlap_table,
    transfer_detector,
)

PROMPTS, ANSWERS = 60, 4
N = PROMPTS * ANSWERS
WIDTH = 140
FOLDS = Folds(n_folds=5, n_inner_folds=3)
RECIPE = LogisticRecipe((1.0,), 200)
SCORING = Scoring(resamples=200)


def answers(seed: int = 0) -> pd.DataFrame:
    """Four answers to each of 60 prompts; all answers to a prompt have one label."""
    rng = np.random.default_rng(seed)
    prompt = np.repeat(np.arange(PROMPTS), ANSWERS)
    harmful = (rng.permutation(PROMPTS) < PROMPTS // 2)[prompt]
    words = ["".join(rng.choice(list("abcdefghij"), 6)) for _ in range(200)]
    texts = [" ".join(rng.choice(words, 12)) for _ in range(N)]
    frame = pd.DataFrame(
        {
            "text_id": [f"{seed}-{row}" for row in range(N)],
            "text": texts,
            "group": [f"prompt {number}" for number in prompt],
            "label_bad": harmful,
        }
    )
    shuffled = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    return shuffled.astype({"label_bad": "boolean"})


def of_the_prompt(texts: pd.DataFrame) -> Dense:
    """Features that know the prompt and of the label nothing: every prompt has its numbers."""
    rng = np.random.default_rng(1)
    own = {f"prompt {number}": row for number, row in enumerate(rng.normal(size=(PROMPTS, WIDTH)))}
    noise = 0.3 * rng.normal(size=(len(texts), WIDTH))
    return Dense("prompt", np.stack([own[group] for group in texts["group"]]) + noise)


def area(texts: pd.DataFrame, split: SplitTexts) -> tuple[float, float]:
    """ROC-AUC over the folds of a split, and the width of its interval."""
    (label,) = labelled_texts(split.folds, list(texts["text_id"]))
    result = out_of_fold(label, of_the_prompt(texts), RECIPE, 3, 0)
    row = next(r for r in measured_rows(result, SCORING, 0) if r["metric"] == "roc_auc")
    return row["value"], row["high"] - row["low"]


def test_several_answers_to_a_prompt_stay_in_one_fold_and_one_inner_fold() -> None:
    texts = answers()
    split = split_texts(texts, FOLDS, 0, "made").folds
    joined = split.merge(texts[["text_id", "group"]])
    assert (joined.groupby("group")["fold"].nunique() == 1).all()
    assert (joined.groupby("group")["copies"].nunique() == 1).all()
    for fold in range(5):
        train = joined[joined["fold"] != fold]
        splits = inner_splits(train["truth"].to_numpy(), train["copies"].to_numpy(), 3, 0)
        assert len(splits) == 3
        for known, held_out in splits:
            groups = train["group"].to_numpy()
            assert not set(groups[known]) & set(groups[held_out])


def test_a_planted_leak_shows_beside_the_right_figure() -> None:
    """Features that know the prompt alone tell nothing of the label, unless groups are split."""
    texts = answers()
    right, width = area(texts, split_texts(texts, FOLDS, 0, "made"))
    without = texts.drop(columns="group")
    leaky, narrow = area(texts, split_texts(without, FOLDS, 0, "made"))
    assert leaky > 0.95
    assert 0.3 < right < 0.7
    # Groups are drawn as wholes, so the interval knows that there are 60 prompts, not 240 texts.
    assert width > narrow


def test_copies_join_the_groups_that_they_stand_in() -> None:
    texts = answers()
    one, other = (texts.index[texts["group"] == f"prompt {n}"] for n in (3, 7))
    texts.loc[one[0], "text"] = texts.loc[other[0], "text"].upper() + " "
    texts.loc[other, "label_bad"] = bool(texts.loc[one[0], "label_bad"])
    folds = split_texts(texts, FOLDS, 0, "made").folds.set_index("text_id")
    together = folds.loc[texts.loc[one.union(other), "text_id"]]
    assert len(together) == 2 * ANSWERS
    assert together["fold"].nunique() == together["copies"].nunique() == 1


def test_a_text_without_a_group_is_on_its_own() -> None:
    texts = answers()
    texts["group"] = texts["group"].where(texts["group"] != "prompt 5")
    folds = split_texts(texts, FOLDS, 0, "made").folds
    alone = folds[folds["text_id"].isin(texts.loc[texts["group"].isna(), "text_id"])]
    assert alone["copies"].nunique() == ANSWERS


def test_few_labels_are_kept_group_by_group() -> None:
    texts = answers()
    folds = split_texts(texts, FOLDS, 0, "made").folds
    copies, truth = folds["copies"].to_numpy(), folds["truth"].to_numpy()
    kept = keep_labels(truth, copies, 0.1, 0, 1)
    for number in np.unique(copies):
        assert len(np.unique(kept[copies == number])) == 1
    assert kept[truth].sum() == kept[~truth].sum() == 12


def test_the_bootstrap_draws_groups() -> None:
    copies = np.repeat(np.arange(20), 3)
    (weights,) = bootstrap_weights(copies, 50, np.random.default_rng(0))
    by_group = weights.reshape(50, 20, 3)
    assert (by_group == by_group[:, :, :1]).all()
    assert len(np.unique(by_group)) > 2


def test_negatives_of_another_source_keep_their_groups() -> None:
    own, easy = answers(0), answers(2)
    easy["group"] = "thread " + easy["group"]
    (label,) = labelled_texts(split_texts(own, FOLDS, 0, "made").folds, list(own["text_id"]))
    groups = [*own["group"], *easy["group"]]
    chosen = with_negatives(
        label,
        list(own["text"]),
        list(easy["text_id"]),
        list(easy["text"]),
        groups,
        "both",
        0.8,
        5,
        0,
    )
    of_fold = pd.DataFrame({"group": np.array(groups)[chosen.rows], "fold": chosen.folds})
    assert (of_fold.groupby("group")["fold"].nunique() == 1).all()
    assert of_fold["group"].nunique() == 2 * PROMPTS


def transferred(train: pd.DataFrame, test: pd.DataFrame, allow: bool) -> tuple[pd.DataFrame, ...]:
    sides = []
    for name, texts in (("train", train), ("test", test)):
        values = np.zeros((len(texts), WIDTH // 7, 7))
        values.reshape(len(texts), -1)[:] = of_the_prompt(texts).values
        tokens = np.full(len(texts), 13)
        spline = SplineTable(list(texts["text_id"]), values, tokens)
        sides.append(DatasetOfTexts(name, texts, spline))
    settings = TransferSettings(
        seed=0,
        folds=FOLDS,
        classifiers=Classifiers(names=["logistic_regression"], c=[1.0], distance_weights=[1.0]),
        scoring=SCORING,
        transfer=Transfer(train="train", test="test", allow_overlap=allow),
    )
    overlap = overlap_table(*sides, 0.8)
    folds = split_texts(train, FOLDS, 0, "train").folds
    return transfer_detector(sides[0], folds, sides[1], overlap, settings), overlap


def test_the_leak_guard_reports_groups_across_a_given_split() -> None:
    texts = answers()
    number = texts.groupby("group").cumcount()
    # Two answers to every prompt on each side, and the last ten prompts in the test alone.
    new = texts["group"].isin([f"prompt {n}" for n in range(50, 60)])
    train, test = texts[(number < 2) & ~new], texts[(number >= 2) | new]
    train, test = (side.reset_index(drop=True) for side in (train, test))
    with pytest.raises(UserError, match="100 texts of 'test' are copies or of the groups of texts"):
        transferred(train, test, allow=False)
    metrics, overlap = transferred(train, test, allow=True)
    assert set(overlap["shared"]) == {"group"}
    group_of = texts.set_index("text_id")["group"]
    assert (group_of[overlap["text_id"]].values == group_of[overlap["train_text_id"]].values).all()
    areas = metrics[(metrics["metric"] == "roc_auc") & (metrics["feature_set"] == "spline")]
    areas = areas.set_index("test_texts")
    assert areas.loc["all", "n_test"] == 140
    assert areas.loc["no_copies", "n_test"] == 40
    assert areas.loc["all", "n_copies"] == 100
    assert areas.loc["all", "value"] > areas.loc["no_copies", "value"] + 0.1


def build(folder: Path, records: list[dict], **settings: object) -> tuple[pd.DataFrame, Intake]:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    dataset = Dataset(name="mine", path=str(path), **settings)
    table, intake = build_texts(dataset, (), 0)
    return table.to_pandas(), intake


RECORDS = [
    {"prompt": "Hi {answer}", "answer": "one", "bad": 1, "author": 2},
    {"prompt": "Hi", "answer": "two", "bad": 0, "author": "2.0"},
    {"prompt": "Hi", "answer": "three", "bad": 0, "author": None},
    {"prompt": "Hi", "answer": " ", "bad": 0, "author": 3},
]


def test_a_text_is_made_of_columns_and_groups_are_read(tmp_path: Path) -> None:
    table, intake = build(
        tmp_path, RECORDS, template="Q: {prompt}\nA: {answer}", group="author", labels=["bad"]
    )
    assert table["text"].tolist() == ["Q: Hi {answer}\nA: one", "Q: Hi\nA: two", "Q: Hi\nA: three"]
    assert table["group"].fillna("none").tolist() == ["2", "2", "none"]
    assert intake.aside == {"no text in the column 'answer' of the template": 1}
    (warning,) = intake.warnings
    assert warning.startswith("1 usable rows have no value in the column 'author' of groups")
    write_table(tmp_path / "texts.parquet", TEXTS, table, {})
    read = read_table(tmp_path / "texts.parquet", TEXTS)
    assert read["group"].fillna("none").tolist() == ["2", "2", "none"]


def test_a_table_without_groups_has_no_such_column(tmp_path: Path) -> None:
    table, _ = build(tmp_path, RECORDS[:3], text="answer", labels=["bad"])
    assert list(table.columns) == ["text_id", "text", "label_bad"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"template": "no column"}, "has no {column}"),
        ({"template": "{{prompt}}"}, "one brace on each side"),
        ({"template": "{} and {prompt}"}, "empty braces name no column"),
        ({"template": "{prompt}", "text": "answer"}, "has 'text' and 'template'"),
        ({"template": "{prompt}", "kind": "qa"}, "'template', which belongs to kind: texts"),
        ({"group": "author", "kind": "relation"}, "'group', which belongs to kind: texts"),
    ],
)
def test_mistakes_in_templates_and_groups_are_one_sentence(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Dataset(name="mine", path="mine.csv", **settings)


def test_a_column_that_a_template_names_and_the_file_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no column 'promt'; did you mean 'prompt'"):
        build(tmp_path, RECORDS, template="{promt}", labels=["bad"])


def test_a_group_that_is_a_list_names_its_cell(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row 1 \(line 1\), column 'author'"):
        build(tmp_path, [RECORDS[0] | {"author": [1, 2]}], text="answer", group="author")


def test_a_mixture_keeps_groups_apart_by_data_set() -> None:
    texts = answers()
    tables = {"one": texts, "two": texts, "bare": texts.drop(columns="group")}
    parts = [Part(dataset=name, positive=["x"]) for name in ("one", "two", "one", "bare")]
    found = [item.group for item in mixed_texts(parts, tables, 0, Intake())]
    assert found[:N] == [f"one/{group}" for group in texts["group"]]
    assert found[:N] == found[2 * N : 3 * N]
    assert found[N : 2 * N] == [f"two/{group}" for group in texts["group"]]
    assert found[3 * N :] == [None] * N


def test_the_groups_of_a_mixture_are_those_of_its_parts() -> None:
    """`train/prompt 3` of a mixture with the part `train` is that data set's `prompt 3`."""
    texts = answers()
    train = texts[texts.groupby("group").cumcount() < 2].reset_index(drop=True)
    mixed = texts[texts.groupby("group").cumcount() >= 2].reset_index(drop=True)
    mixed["group"] = np.where(mixed.index < 100, "train/", "elsewhere/") + mixed["group"]
    none = SplineTable([], np.zeros((0, 1, 7)), np.zeros(0, dtype=np.int64))
    sides = DatasetOfTexts("train", train, none), DatasetOfTexts("mixed", mixed, none)
    overlap = overlap_table(*sides, 0.8)
    assert list(overlap["text_id"]) == list(mixed["text_id"][:100])
    assert set(overlap["shared"]) == {"group"}
    # And the other way round; in folds of both together they are one.
    assert groups_of_both(("m", ["a/1", "b/1", None]), ("a", ["1", "2", None])) == (
        ["a/1", "b/1", None],
        ["a/1", "2", None],
    )
