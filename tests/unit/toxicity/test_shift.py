"""Other data, and groups inside the data: what a detector that only learned length does there."""

import json

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.datasets import Dataset, Part
from llm_anatomy.config.detectors import DetectorComparison
from llm_anatomy.config.toxicity import Baselines, Classifiers, Folds, Scoring
from llm_anatomy.data.build import build_texts
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.mixture import mixed_texts
from llm_anatomy.errors import UserError
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.detectors import SHIFT, SUBGROUPS
from llm_anatomy.toxicity.classifiers import Choice, LogisticRecipe
from llm_anatomy.toxicity.comparison import ComparisonSettings, Contender
from llm_anatomy.toxicity.evaluate import LabelledTexts, OutOfFold
from llm_anatomy.toxicity.features import Dense
from llm_anatomy.toxicity.folds import split_texts
from llm_anatomy.toxicity.inputs import SplineTable
from llm_anatomy.toxicity.operating import Operated
from llm_anatomy.toxicity.shift import ShiftSettings, Source, shift_table
from llm_anatomy.toxicity.subgroups import column_groups, length_groups, subgroup_rows
from llm_anatomy.toxicity.transfer import DatasetOfTexts
from sklearn.metrics import roc_auc_score

FOLDS = Folds(n_folds=3, n_inner_folds=2)
COMMON = {
    "seed": 0,
    "folds": FOLDS,
    "classifiers": Classifiers(c=[1.0], c_tfidf=[10.0], distance_weights=[1.0]),
    "scoring": Scoring(resamples=50),
}


def source(name: str, seed: int, label: str = "bad", sign: int = 1, n: int = 120) -> Source:
    """A data set whose spline features tell the label, in a direction of its own."""
    rng = np.random.default_rng(seed)
    bad = rng.random(n) < 0.4
    words = [f"{name}{i}" for i in range(60)]
    texts = pd.DataFrame(
        {
            "text_id": [f"{name}-{i}" for i in range(n)],
            "text": [" ".join(rng.choice(words, 9)) for _ in range(n)],
            f"label_{label}": pd.array(bad, dtype="boolean"),
        }
    )
    values = rng.normal(size=(n, 2, 7))
    values[:, 0, :3] += 1.2 * sign * bad[:, None]
    data = DatasetOfTexts(name, texts, SplineTable(list(texts["text_id"]), values, np.full(n, 9)))
    return Source.of(name, data, split_texts(texts, FOLDS, 0, name).folds)


def areas(table: pd.DataFrame) -> "pd.Series[float]":
    rows = table[(table["metric"] == "roc_auc") & (table["feature_set"] == "spline")]
    return rows.set_index(["train", "test"])["value"]


def test_a_matrix_shows_where_a_detector_carries_over_and_where_it_turns_round() -> None:
    sources = [source("a", 0), source("b", 1), source("c", 2, sign=-1)]
    table = shift_table(sources, ShiftSettings(same={}, **COMMON))
    found = areas(table)
    assert len(found) == 9
    for name in "abc":
        assert found[name, name] > 0.8
    assert found["a", "b"] > 0.8
    assert found["b", "a"] > 0.8
    assert found["a", "c"] < 0.3
    # Words of the two sources differ, so words carry nothing over.
    words = table[(table["feature_set"] == "tfidf") & (table["metric"] == "roc_auc")]
    assert (words[words["train"] != words["test"]]["value"] - 0.5).abs().max() < 0.1
    assert set(table[table["train"] != table["test"]]["n_train"]) == {120}
    assert set(table[table["train"] == table["test"]]["n_train"]) == {80}
    assert list(SHIFT.frame([]).columns) == list(table.columns)


def test_shared_texts_are_left_out_and_counted() -> None:
    one, other = source("a", 0), source("b", 1)
    other.data.texts.loc[:9, "text"] = one.data.texts.loc[:9, "text"].to_numpy()
    table = shift_table([one, other], ShiftSettings(same={}, **COMMON))
    crossed = table[table["train"] != table["test"]]
    assert set(crossed["n_left_out"]) == {10}
    assert set(crossed["n_test"]) == {110}
    assert set(table[table["train"] == table["test"]]["n_left_out"]) == {0}


def test_two_data_sets_of_the_same_texts_have_a_row_without_a_value() -> None:
    one, other = source("a", 0), source("b", 1)
    other.data.texts["text"] = one.data.texts["text"].to_numpy()
    table = shift_table([one, other], ShiftSettings(same={}, **COMMON))
    crossed = table[table["train"] != table["test"]]
    assert set(crossed["n_left_out"]) == {120}
    assert crossed["value"].isna().all()
    assert set(zip(crossed["metric"], crossed["n_test"], strict=True)) == {("roc_auc", 0)}
    assert table[table["train"] == table["test"]]["value"].notna().all()
    # Of one class alone nothing can be ranked either.
    positives = one.data.texts["label_bad"].to_numpy(bool)
    other = source("b", 1)
    other.data.texts.loc[positives, "text"] = one.data.texts.loc[positives, "text"].to_numpy()
    other.data.texts["label_bad"] = one.data.texts["label_bad"].to_numpy()
    crossed = shift_table([one, other], ShiftSettings(same={}, **COMMON))
    crossed = crossed[(crossed["test"] == "b") & (crossed["train"] == "a")]
    assert crossed["value"].isna().all()
    assert set(crossed["n_positive"]) == {0}


def test_labels_of_other_names_are_crossed_where_they_are_said_to_be_the_same() -> None:
    sources = [source("a", 0), source("b", 1, label="toxic")]
    assert shift_table(sources, ShiftSettings(same={}, **COMMON)).empty
    same = {"a": "bad", "b": "toxic"}
    table = shift_table(sources, ShiftSettings(same=same, **COMMON))
    assert areas(table)["a", "b"] > 0.8
    crossed = table[(table["train"] == "a") & (table["test"] == "b")]
    assert set(zip(crossed["label"], crossed["test_label"], strict=True)) == {("bad", "toxic")}
    with pytest.raises(UserError, match="names the label 'absent' of 'b', which has the usable"):
        shift_table(sources, ShiftSettings(same={"a": "bad", "b": "absent"}, **COMMON))


def contender(scores: np.ndarray, truth: np.ndarray, flagged: np.ndarray) -> Contender:
    n = len(truth)
    texts = LabelledTexts("bad", [str(i) for i in range(n)], np.arange(n), truth, np.arange(n) % 3,
                          np.arange(n))  # fmt: skip
    choice = Choice(Dense("made", scores[:, None]), 1.0, None, None, 0)
    result = OutOfFold("made", "logistic_regression", "C", texts, scores, [choice] * 3)
    return Contender(LogisticRecipe((1.0,), 9), result, Operated(scores, flagged[None]), 1.0, 0)


SETTINGS = ComparisonSettings(
    baselines=Baselines(names=[]),
    comparison=DetectorComparison(false_positive_rates=[0.05]),
    **COMMON,
)


def test_a_detector_that_only_learned_length_tells_nothing_within_a_third() -> None:
    rng = np.random.default_rng(0)
    n = 900
    tokens = rng.integers(1, 100, size=n)
    truth = rng.random(n) < 0.1 + 0.8 * (tokens > 60)
    scores = tokens / 100
    one = contender(scores, truth, scores > 0.9)
    rows = SUBGROUPS.frame(subgroup_rows(one, length_groups(tokens), SETTINGS))
    assert roc_auc_score(truth, scores) > 0.8
    assert rows["n_texts"].sum() == n
    short = rows.iloc[0]
    assert abs(short["subgroup_auc"] - 0.5) < 0.12
    assert short["subgroup_low"] < 0.5 < short["subgroup_high"]
    # Misses: positives of the short third stand below negatives of the others.
    assert short["bnsp_auc"] < 0.2
    assert short["true_positive_rate"] == 0


def test_groups_have_the_areas_of_their_definition_and_rates_at_the_common_threshold() -> None:
    rng = np.random.default_rng(3)
    n = 300
    truth, group = rng.random(n) < 0.5, rng.random(n) < 0.4
    scores = rng.random(n) + 0.3 * truth + 0.2 * group
    flagged = scores > 0.9
    one = contender(scores, truth, flagged)
    everyone = np.ones(n, bool)
    (row,) = subgroup_rows(one, [("mentions", "x", group, everyone)], SETTINGS)
    folds = np.arange(n) % 3

    def area(chosen: np.ndarray) -> float:
        parts = [np.flatnonzero(chosen & (folds == fold)) for fold in range(3)]
        pairs = [truth[part].sum() * (~truth[part]).sum() for part in parts]
        return float(np.average([roc_auc_score(truth[p], scores[p]) for p in parts], weights=pairs))

    assert row["subgroup_auc"] == pytest.approx(area(group))
    assert row["bpsn_auc"] == pytest.approx(area((truth & ~group) | (~truth & group)))
    assert row["bnsp_auc"] == pytest.approx(area((~truth & ~group) | (truth & group)))
    assert row["false_positive_rate"] == pytest.approx(flagged[group & ~truth].mean())
    assert row["true_positive_rate"] == pytest.approx(flagged[group & truth].mean())
    assert row["bpsn_auc"] < row["subgroup_auc"] < row["bnsp_auc"]
    (everything,) = subgroup_rows(one, [("all", "all", everyone, everyone)], SETTINGS)
    assert everything["subgroup_auc"] == pytest.approx(area(everyone))
    # A text of which nothing is said is no background.
    told = group | (rng.random(n) < 0.6)
    (row,) = subgroup_rows(one, [("mentions", "x", group, told)], SETTINGS)
    others = told & ~group
    assert row["bpsn_auc"] == pytest.approx(area((truth & others) | (~truth & group)))
    assert row["bnsp_auc"] == pytest.approx(area((~truth & others) | (truth & group)))
    assert row["n_unknown"] == (~told).sum() > 0
    narrow = SETTINGS.model_copy(
        update={"scoring": SETTINGS.scoring.model_copy(update={"level": 0.5})}
    )
    (less,) = subgroup_rows(one, [("mentions", "x", group, told)], narrow)
    for name in ("subgroup", "bpsn", "bnsp"):
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        assert low < row[f"{name}_auc"] < high
        # The configured level is that of every interval.
        assert low < less[f"{name}_low"] < less[f"{name}_high"] < high


def test_a_small_group_has_no_number() -> None:
    truth = np.arange(100) % 2 == 0
    group = np.arange(100) < 38
    one = contender(np.linspace(0, 1, 100), truth, truth)
    (row,) = subgroup_rows(one, [("mentions", "few", group, np.ones(100, bool))], SETTINGS)
    assert (row["n_texts"], row["n_positive"]) == (38, 19)
    for name in ("subgroup_auc", "bpsn_auc", "bnsp_auc", "false_positive_rate"):
        assert np.isnan(row[name])


def test_thirds_hold_every_text_once() -> None:
    tokens = np.array([3, 3, 3, 4, 5, 6, 7, 8, 9, 9])
    found = length_groups(tokens)
    assert np.sum([own for _, _, own, _ in found], axis=0).tolist() == [1] * 10
    assert all(told.all() for *_, told in found)
    assert [group for _, group, _, _ in found] == [
        "3 to 4 tokens",
        "5 to 7 tokens",
        "8 to 9 tokens",
    ]
    assert len(length_groups(np.full(5, 7))) == 1


def test_subgroups_are_read_from_columns_and_carried_into_mixtures(tmp_path) -> None:
    records = [
        {"text": "one", "bad": 1, "about": ["women", "men"], "dialect": "north"},
        {"text": "two", "bad": 0, "about": '["men"]', "dialect": None},
        {"text": "three", "bad": 0, "about": [], "dialect": "south"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    dataset = Dataset(name="mine", path=str(path), labels=["bad"], subgroups=["about", "dialect"])
    table, _ = build_texts(dataset, (), 0)
    write_table(tmp_path / "texts.parquet", TEXTS, table, {})
    texts = read_table(tmp_path / "texts.parquet", TEXTS)
    groups = {(column, group): own.tolist() for column, group, own, _ in column_groups(texts)}
    assert groups == {
        ("about", "men"): [True, True, False],
        ("about", "women"): [True, False, False],
        ("dialect", "north"): [True, False, False],
        ("dialect", "south"): [False, False, True],
    }
    told = {column: told.tolist() for column, _, _, told in column_groups(texts)}
    assert told == {"about": [True] * 3, "dialect": [True, False, True]}
    bare = texts[["text_id", "text", "label_bad"]]
    parts = [Part(dataset=name, positive=["x"]) for name in ("mine", "bare")]
    items = list(mixed_texts(parts, {"mine": texts, "bare": bare}, 0, Intake()))
    assert items[0].subgroups == {"about": ["men", "women"], "dialect": ["north"]}
    assert items[1].subgroups == {"about": ["men"], "dialect": None}
    assert items[3].subgroups == {"about": None, "dialect": None}
