"""The experiments as a notebook calls them: frames and settings in, frames out."""

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.toxicity import (
    Ablations,
    Baselines,
    Classifiers,
    DetectorSettings,
    EarlyExit,
    Folds,
    Maps,
    Scoring,
    SelfTraining,
)
from llm_anatomy.errors import UserError
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION, SPLINE_FEATURES
from llm_anatomy.toxicity.classifiers import LogisticRecipe
from llm_anatomy.toxicity.detection import (
    DetectionSettings,
    OtherFeatures,
    detect,
    train_detector,
)
from llm_anatomy.toxicity.evaluate import Evaluation
from llm_anatomy.toxicity.folds import split_texts
from llm_anatomy.toxicity.inputs import aligned_texts, spline_table
from llm_anatomy.toxicity.probes import ProbeSettings, probe_features

from tests.unit.toxicity.tables import write_inputs

COMMON = {
    "seed": 0,
    "folds": Folds(n_folds=2, n_inner_folds=2),
    "classifiers": Classifiers(names=["logistic_regression"], c=[0.01, 1.0], c_tfidf=[1.0]),
    "scoring": Scoring(resamples=5),
}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    inputs = write_inputs(tmp_path_factory.mktemp("frames"), n=60)
    texts = read_table(inputs.texts, TEXTS)
    return {
        "texts": texts,
        "folds": split_texts(texts, COMMON["folds"], 0, "the texts").folds,
        "spline_features": read_table(inputs.spline_features, SPLINE_FEATURES),
        "intrinsic_dimension": read_table(inputs.intrinsic_dimension, INTRINSIC_DIMENSION),
    }


def test_detection_needs_no_states_where_no_baseline_asks_for_them(frames):
    settings = DetectionSettings(
        baselines=Baselines(names=["length", "intrinsic_dimension"]),
        early_exit=EarlyExit(n_layers=[1]),
        **COMMON,
    )
    others = OtherFeatures(frames["texts"], frames["intrinsic_dimension"], [], {})
    one, two = (
        detect(frames["spline_features"], frames["folds"], others, settings, threads)
        for threads in (1, 2)
    )
    sets = {"spline", "spline_first_1_layers", "length", "intrinsic_dimension"}
    assert set(one.metrics["feature_set"]) == sets
    assert len(one.predictions) == len(sets) * len(frames["folds"])
    for name in ("predictions", "metrics", "choices"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))


def test_probes_do_not_depend_on_threads_and_come_in_the_order_of_the_settings(frames):
    settings = ProbeSettings(
        ablations=Ablations(),
        self_training=SelfTraining(label_rates=[0.2, 0.5], max_labels=1),
        maps=Maps(perplexity=5),
        **COMMON,
    )
    one, two = (
        probe_features(frames["spline_features"], frames["folds"], settings, threads)
        for threads in (1, 2)
    )
    for name in ("ablations", "self_training", "maps"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))
    assert list(dict.fromkeys(one.maps["method"])) == ["pca", "tsne"]
    assert list(dict.fromkeys(one.self_training["label_rate"])) == [0.2, 0.5]


@pytest.mark.parametrize("n_copies", [1, 12])
def test_the_solver_that_chooses_a_detector_also_fits_it(frames, n_copies):
    """On the features of four layers, and of a model so deep that another solver takes over."""
    layers = spline_table(frames["spline_features"]).features
    deep = np.tile(layers, (1, n_copies, 1))
    names = [f"l{i}_f{n}" for i in range(deep.shape[1]) for n in range(1, 8)]
    table = pd.DataFrame(deep.reshape(len(deep), -1), columns=names)
    table = pd.concat([frames["spline_features"][["text_id", "n_tokens"]], table], axis=1)
    evaluation = Evaluation(**COMMON)
    detector = train_detector(table, frames["folds"], DetectorSettings(), evaluation, {})
    trained = detector.labels["bad"]
    x = (table[names].to_numpy() - trained.mean) / trained.scale
    truth = frames["texts"]["label_bad"].to_numpy(dtype=bool)
    value = detector.description["training"]["bad"]["C"]
    recipe = LogisticRecipe((value,), evaluation.classifiers.max_iter)
    expected = recipe.path(x, truth, x, [value], 0)[0]
    assert np.allclose(trained.score(table[names].to_numpy()), expected, rtol=0, atol=1e-9)


def test_a_text_of_other_data_is_named(frames):
    with pytest.raises(UserError, match="the text 'row-9-9' is not in the table 'data/texts'"):
        aligned_texts(frames["texts"], ["row-0-3", "row-9-9"])
    reordered = aligned_texts(frames["texts"], ["row-0-3", "row-0-1"])
    assert list(reordered["text_id"]) == ["row-0-3", "row-0-1"]
