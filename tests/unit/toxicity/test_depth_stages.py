"""Ablations, few labels, maps and hard negatives, from tables to tables."""

import numpy as np
import pytest
from llm_anatomy.config.toxicity import (
    Ablations,
    Classifiers,
    Folds,
    HardNegatives,
    Maps,
    Scoring,
    SelfTraining,
)
from llm_anatomy.errors import UserError
from llm_anatomy.stages import (
    ablate_features,
    compare_negatives,
    map_texts,
    self_train,
    split_texts,
)
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.geometry import SPLINE_FEATURES
from llm_anatomy.tables.toxicity import ABLATIONS, HARD_NEGATIVES, MAPS, SELF_TRAINING
from llm_anatomy.toxicity.maps import shared_neighbours
from llm_anatomy.toxicity.self_training import keep_labels

from tests.unit.toxicity.tables import N_LAYERS, write_inputs

COMMON = {
    "seed": 0,
    "classifiers": Classifiers(n_trees=5, c=[0.01, 1.0], c_tfidf=[1.0]),
    "scoring": Scoring(resamples=20),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("depth")
    inputs = write_inputs(folder, n=100)
    split_texts.run(
        split_texts.SplitStage(seed=0, folds=Folds()),
        texts=inputs.texts,
        **{name: folder / f"{name}.parquet" for name in ("folds", "labels", "duplicates")},
    )
    return folder, inputs


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("LLM_ANATOMY_COMPUTE", '{"threads": 1}')


def test_ablations_find_the_layer_and_features_that_carry_the_label(made):
    folder, inputs = made
    ablate_features.run(
        ablate_features.AblationStage(folds=Folds(), ablations=Ablations(), **COMMON),
        folds=folder / "folds.parquet",
        spline_features=inputs.spline_features,
        ablations=folder / "ablations.parquet",
    )
    table = read_table(folder / "ablations.parquet", ABLATIONS)
    areas = table[table["metric"] == "roc_auc"]
    assert set(areas["label"]) == {"bad"}
    by_layer = areas[areas["kind"] == "layer"].set_index("layer")["value"]
    assert list(by_layer.index) == list(range(N_LAYERS))
    assert by_layer.idxmax() == 1
    assert by_layer[1] > 0.9
    assert by_layer.drop(1).max() < 0.7
    cumulative = areas[areas["kind"] == "first_layers"].set_index("layer")["value"]
    assert cumulative[0] < 0.7 < 0.85 < cumulative[1]
    groups = areas[areas["kind"] == "features"].set_index("features")["value"]
    assert groups["1-4"] > 0.85 > 0.7 > groups["5-7"]
    assert list(areas[areas["kind"] == "feature"]["features"]) == list("1234567")


def test_few_labels_keep_both_classes_and_the_asked_share():
    truth = np.arange(200) < 40
    kept = keep_labels(truth, 0.1, seed=0)
    assert (kept[truth].sum(), kept[~truth].sum()) == (4, 16)
    kept = keep_labels(truth, 0.001, seed=0)
    assert (kept[truth].sum(), kept[~truth].sum()) == (1, 1)


def test_self_training_is_compared_with_the_same_labels_alone(made):
    folder, inputs = made
    asked = SelfTraining(
        label_rates=[0.1, 0.9], classifiers=["logistic_regression", "random_forest"], max_labels=1
    )
    self_train.run(
        self_train.SelfTrainingStage(self_training=asked, **COMMON),
        folds=folder / "folds.parquet",
        spline_features=inputs.spline_features,
        self_training=folder / "self_training.parquet",
    )
    table = read_table(folder / "self_training.parquet", SELF_TRAINING)
    areas = table[table["metric"] == "roc_auc"]
    assert len(areas) == 2 * 2 * 2
    assert set(areas[areas["label_rate"] == 0.1]["n_labelled"]) == {8}
    logistic = areas[areas["classifier"] == "logistic_regression"].set_index(
        ["training", "label_rate"]
    )["value"]
    for training in ("self_training", "labelled_only"):
        assert logistic[training, 0.9] > logistic[training, 0.1]


def test_maps_place_every_text_once_and_are_seeded(made, tmp_path):
    _, inputs = made
    for name in ("one", "two"):
        map_texts.run(
            map_texts.MapStage(seed=0, maps=Maps(max_texts=60)),
            spline_features=inputs.spline_features,
            maps=tmp_path / name,
        )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    table = read_table(tmp_path / "one", MAPS)
    assert table.groupby("method")["text_id"].nunique().to_dict() == {"pca": 60, "tsne": 60}
    assert table[table["method"] == "pca"]["explained_x"].notna().all()
    assert table[table["method"] == "tsne"]["explained_x"].isna().all()


def test_shared_neighbours_tell_islands_from_a_mixture():
    rng = np.random.default_rng(0)
    places, classes = rng.normal(size=(200, 2)), np.arange(200) % 2
    seen, expected = shared_neighbours(places, classes)
    assert abs(seen - expected) < 0.05
    seen, _ = shared_neighbours(places + 50 * classes[:, None], classes)
    assert seen == 1.0


def test_easy_negatives_of_another_source_raise_the_score(made, tmp_path):
    folder, inputs = made
    easy = write_inputs(tmp_path, n=60, seed=5, labels={"kind": np.arange(60) % 2 == 0})
    table = read_table(easy.spline_features, SPLINE_FEATURES)
    table["l0_f1"] += 6
    write_table(easy.spline_features, SPLINE_FEATURES, table, {})
    settings = {"folds": Folds(), **COMMON}
    asked = HardNegatives(dataset="made", label="other", easy="easy")
    paths = {
        "folds": folder / "folds.parquet",
        "texts": inputs.texts,
        "spline_features": inputs.spline_features,
        "easy_texts": easy.texts,
        "easy_spline_features": easy.spline_features,
        "metrics": tmp_path / "negatives.parquet",
    }
    compare_negatives.run(compare_negatives.NegativesStage(comparison=asked, **settings), **paths)
    result = read_table(tmp_path / "negatives.parquet", HARD_NEGATIVES)
    areas = result[(result["metric"] == "roc_auc") & (result["feature_set"] == "spline")]
    areas = areas.set_index("negatives")
    assert areas.loc["easy", "value"] > 0.95
    assert areas.loc["hard", "value"] < areas.loc["both", "value"] < areas.loc["easy", "value"]
    positives = areas.loc["hard", "n_positive"]
    assert areas.loc["easy", "n_test"] == positives + 60
    assert areas.loc["both", "n_test"] == 100 + 60
    wrong = HardNegatives(dataset="made", label="absent", easy="easy")
    with pytest.raises(UserError, match="the label 'absent' of 'made', which has the usable"):
        compare_negatives.run(
            compare_negatives.NegativesStage(comparison=wrong, **settings), **paths
        )
