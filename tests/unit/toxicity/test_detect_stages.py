"""The core stages: folds and out-of-fold metrics, from tables to tables."""

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.toxicity import (
    Baselines,
    Classifiers,
    DetectorSettings,
    EarlyExit,
    Folds,
    Scoring,
)
from llm_anatomy.errors import UserError
from llm_anatomy.stages import detect_toxicity, split_texts
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.toxicity import (
    CHOICES,
    DUPLICATES,
    FOLDS,
    LABELS,
    METRICS,
    PREDICTIONS,
)
from sklearn.metrics import roc_auc_score

from tests.unit.toxicity.tables import write_inputs

FAST = Classifiers(n_trees=8, boosting_iterations=5, c=[0.01, 1.0], c_tfidf=[1.0])


def split(folder, inputs, **folds):
    settings = split_texts.SplitStage(seed=0, folds=Folds(**folds))
    outputs = {name: folder / f"{name}.parquet" for name in ("folds", "labels", "duplicates")}
    split_texts.run(settings, texts=inputs.texts, **outputs)
    return outputs


def detect(folder, inputs, folds, monkeypatch, **changes):
    monkeypatch.setenv("LLM_ANATOMY_COMPUTE", '{"threads": 1}')
    settings = {
        "seed": 0,
        "dataset": "made",
        "folds": Folds(),
        "classifiers": FAST,
        "baselines": Baselines(state_depths=[0.5, 1.0]),
        "scoring": Scoring(resamples=50),
        "early_exit": EarlyExit(n_layers=[2]),
        "detector": DetectorSettings(),
    }
    outputs = {name: folder / f"{name}.parquet" for name in ("predictions", "metrics", "choices")}
    outputs["detector"] = folder / "detector.safetensors"
    detect_toxicity.run(
        detect_toxicity.DetectStage(**settings | changes),
        texts=inputs.texts,
        folds=folds,
        spline_features=inputs.spline_features,
        intrinsic_dimension=inputs.intrinsic_dimension,
        states=inputs.states,
        **outputs,
    )
    return outputs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detect")
    inputs = write_inputs(folder, n=160)
    folds = split(folder, inputs)
    with pytest.MonkeyPatch.context() as patch:
        return folds | detect(folder, inputs, folds["folds"], patch)


def test_every_feature_set_is_scored_on_the_same_texts_and_folds(made):
    table = read_table(made["predictions"], PREDICTIONS)
    folds = read_table(made["folds"], FOLDS).set_index(["label", "text_id"])["fold"]
    sets = {
        "spline",
        "spline_first_2_layers",
        "length",
        "tfidf",
        "mean_state_layer_1",
        "mean_state_layer_3",
        "last_state_layer_1",
        "last_state_layer_3",
        "intrinsic_dimension",
    }
    assert set(table["feature_set"]) == sets
    for (label, _, _), part in table.groupby(["label", "feature_set", "classifier"]):
        expected = folds[label]
        assert part["text_id"].is_unique
        assert (part.set_index("text_id")["fold"].sort_index() == expected.sort_index()).all()


def test_metrics_follow_from_the_predictions(made):
    table = read_table(made["predictions"], PREDICTIONS)
    metrics = read_table(made["metrics"], METRICS)
    keys = ["feature_set", "classifier", "label"]
    areas = metrics[metrics["metric"] == "roc_auc"].set_index(keys)
    for key, part in table.groupby(keys):
        row = areas.loc[key]
        by_fold = [roc_auc_score(p["truth"], p["score"]) for _, p in part.groupby("fold")]
        pairs = [p["truth"].sum() * (~p["truth"]).sum() for _, p in part.groupby("fold")]
        assert row["value"] == pytest.approx(np.average(by_fold, weights=pairs))
        assert row["fold_mean"] == pytest.approx(np.mean(by_fold))
        assert row["n_test"] == len(part)
        assert row["n_train"] == round(len(part) * 4 / 5)
        assert row["low"] <= row["value"] <= row["high"]
    assert set(metrics["metric"]) == {
        "roc_auc",
        "average_precision",
        "tpr_at_fpr_0.01",
        "tpr_at_fpr_0.05",
    }


def test_the_planted_signal_is_found_where_it_is(made):
    metrics = read_table(made["metrics"], METRICS)
    areas = metrics[metrics["metric"] == "roc_auc"].set_index(
        ["label", "feature_set", "classifier"]
    )
    areas = areas["value"]
    assert areas["bad", "spline", "logistic_regression"] > 0.85
    assert areas["bad", "mean_state_layer_3", "logistic_regression"] > 0.85
    assert areas["bad", "last_state_layer_3", "logistic_regression"] < 0.75
    assert areas["other", "spline", "logistic_regression"] < 0.75


def test_choices_name_the_chosen_value_of_every_fold(made):
    choices = read_table(made["choices"], CHOICES)
    logistic = choices[(choices["classifier"] == "logistic_regression")]
    chosen = logistic[logistic["feature_set"] == "spline"]
    assert set(chosen["chosen"]) <= {0.01, 1.0}
    assert (chosen.groupby("label")["fold"].nunique() == 5).all()
    forest = choices[choices["classifier"] == "random_forest"]
    assert (forest["n_inner_folds"] == 0).all()


def test_the_same_inputs_give_the_same_bytes(tmp_path, monkeypatch):
    written = []
    few = {"baselines": Baselines(names=["tfidf"]), "scoring": Scoring(resamples=5)}
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        inputs = write_inputs(folder, n=40, labels={"bad": np.arange(40) % 2 == 0})
        folds = split(folder, inputs)
        paths = folds | detect(folder, inputs, folds["folds"], monkeypatch, **few)
        written.append({table: path.read_bytes() for table, path in paths.items()})
    assert written[0] == written[1]


def test_labels_that_cannot_be_learned_are_set_aside_and_explained(tmp_path):
    n = 40
    half = np.arange(n) % 2 == 0
    labels = {
        "good": half,
        "rare": np.arange(n) < 3,
        "gaps": [None if i % 4 == 0 else bool(h) for i, h in enumerate(np.arange(n) % 3 == 0)],
    }
    outputs = split(tmp_path, write_inputs(tmp_path, n=n, labels=labels))
    counts = read_table(outputs["labels"], LABELS).set_index("label")
    assert counts["used"].to_dict() == {"good": True, "rare": False, "gaps": True}
    assert counts.loc["rare", "why"] == "3 positive texts are fewer than the 5 folds"
    assert counts.loc["gaps", "n_missing"] == 10
    folds = read_table(outputs["folds"], FOLDS)
    assert folds.groupby("label").size().to_dict() == {"gaps": 30, "good": 40}


def test_copies_are_reported_and_share_a_fold(tmp_path):
    texts = [f"{i} a text of its own number {i * i} with some words {i}" for i in range(40)]
    texts[7] = texts[21].upper()
    inputs = write_inputs(tmp_path, n=40, texts=texts, labels={"bad": np.arange(40) % 2 == 0})
    outputs = split(tmp_path, inputs)
    pairs = read_table(outputs["duplicates"], DUPLICATES)
    assert pairs[["text_id", "other_text_id"]].to_numpy().tolist() == [["row-0-7", "row-0-21"]]
    folds = read_table(outputs["folds"], FOLDS).set_index("text_id")["fold"]
    assert folds["row-0-7"] == folds["row-0-21"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"bad": [True] * 20}, "'bad' has 20 positive, 0 negative and 0 missing values"),
        ({"bad": [None] * 20}, "0 positive, 0 negative and 20 missing"),
        ({}, "has no label"),
    ],
)
def test_data_without_a_usable_label_is_one_sentence(tmp_path, labels, words):
    inputs = write_inputs(tmp_path, n=20, labels=labels)
    with pytest.raises(UserError, match=words):
        split(tmp_path, inputs)


def test_states_that_were_not_stored_are_named(tmp_path, monkeypatch):
    inputs = write_inputs(tmp_path, n=30)
    folds = split(tmp_path, inputs)["folds"]
    from llm_anatomy.tables.core import write_table
    from llm_anatomy.tables.geometry import STATES

    ids = list(pd.read_parquet(inputs.texts)["text_id"])
    write_table(inputs.states[0], STATES, {"text_id": ids}, {})
    with pytest.raises(UserError, match=r"geometry\.extraction\.state_layers"):
        detect(tmp_path, inputs, folds, monkeypatch)
