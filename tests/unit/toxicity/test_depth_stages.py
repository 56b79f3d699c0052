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
from llm_anatomy.stages import compare_negatives, probe_features, split_texts
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.geometry import SPLINE_FEATURES
from llm_anatomy.tables.toxicity import ABLATIONS, HARD_NEGATIVES, MAPS, SELF_TRAINING
from llm_anatomy.toxicity.maps import shared_neighbours
from llm_anatomy.toxicity.negatives import NegativesSettings
from llm_anatomy.toxicity.probes import ProbeSettings
from llm_anatomy.toxicity.self_training import keep_labels

from tests.unit.toxicity.tables import N_LAYERS, write_inputs

COMMON = {
    "seed": 0,
    "folds": Folds(),
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


def probe(folder, folds, inputs, **changes):
    """Tables of the experiments that are named; the others are left out."""
    tables = {"ablations": ABLATIONS, "self_training": SELF_TRAINING, "maps": MAPS}
    experiments = {
        "ablations": Ablations(classifiers=[]),
        "self_training": SelfTraining(classifiers=[]),
        "maps": Maps(methods=[]),
    }
    probe_features.run(
        ProbeSettings(**COMMON | experiments | changes),
        folds=folds,
        spline_features=inputs.spline_features,
        **{name: folder / f"{name}.parquet" for name in tables},
    )
    return {n: read_table(folder / f"{n}.parquet", schema) for n, schema in tables.items()}


def test_ablations_find_the_layer_and_features_that_carry_the_label(made, tmp_path):
    folder, inputs = made
    tables = probe(tmp_path, folder / "folds.parquet", inputs, ablations=Ablations())
    assert tables["self_training"].empty
    assert tables["maps"].empty
    table = tables["ablations"]
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
    kept = keep_labels(truth, np.arange(200), 0.1, seed=0, fold=1)
    assert (kept[truth].sum(), kept[~truth].sum()) == (4, 16)
    kept = keep_labels(truth, np.arange(200), 0.001, seed=0, fold=1)
    assert (kept[truth].sum(), kept[~truth].sum()) == (1, 1)


def test_self_training_is_compared_with_the_same_labels_alone(made, tmp_path):
    folder, inputs = made
    settings = SelfTraining(
        label_rates=[0.1, 0.9], classifiers=["logistic_regression", "random_forest"], max_labels=1
    )
    table = probe(tmp_path, folder / "folds.parquet", inputs, self_training=settings)[
        "self_training"
    ]
    areas = table[table["metric"] == "roc_auc"]
    assert len(areas) == 2 * 2 * 2
    assert set(areas[areas["label_rate"] == 0.1]["n_labelled"]) == {8}
    logistic = areas[areas["classifier"] == "logistic_regression"].set_index(
        ["training", "label_rate"]
    )["value"]
    for training in ("self_training", "labelled_only"):
        assert logistic[training, 0.9] > logistic[training, 0.1]


def test_maps_place_every_text_once_and_are_seeded(made, tmp_path):
    folder, inputs = made
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        tables = probe(tmp_path / name, folder / "folds.parquet", inputs, maps=Maps(max_texts=60))
    one, two = ((tmp_path / name / "maps.parquet").read_bytes() for name in ("one", "two"))
    assert one == two
    table = tables["maps"]
    assert list(dict.fromkeys(table["method"])) == ["pca", "tsne"]
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
    comparison = HardNegatives(dataset="made", label="other", easy="easy")
    paths = {
        "folds": folder / "folds.parquet",
        "texts": inputs.texts,
        "spline_features": inputs.spline_features,
        "easy_texts": easy.texts,
        "easy_spline_features": easy.spline_features,
        "metrics": tmp_path / "negatives.parquet",
    }
    compare_negatives.run(NegativesSettings(comparison=comparison, **COMMON), **paths)
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
        compare_negatives.run(NegativesSettings(comparison=wrong, **COMMON), **paths)
