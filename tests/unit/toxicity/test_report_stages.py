"""Figures, captions and claims say what the tables say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.toxicity import (
    Ablations,
    Baselines,
    Classifiers,
    DetectorSettings,
    EarlyExit,
    Folds,
    HardNegatives,
    Maps,
    Scoring,
    SelfTraining,
)
from llm_anatomy.errors import UserError
from llm_anatomy.figures import toxicity as draw
from llm_anatomy.figures.exhibit import read_exhibits
from llm_anatomy.model.run.loading import sha256_file
from llm_anatomy.model.source.record import write_record
from llm_anatomy.stages import (
    claims_toxicity,
    compare_negatives,
    detect_toxicity,
    figures_toxicity,
    probe_features,
    split_texts,
    time_early_exit,
)
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.toxicity import EARLY_EXIT, FOLDS, HUB_METRICS, METRICS
from llm_anatomy.toxicity.negatives import NegativesSettings
from llm_anatomy.toxicity.overview import ToxicityOverview, read_hub_metrics
from llm_anatomy.toxicity.probes import ProbeSettings

from tests.tiny import save_tiny_model
from tests.unit.toxicity.tables import PROVENANCE, write_inputs

COMMON = {
    "seed": 0,
    "folds": Folds(),
    "classifiers": Classifiers(
        n_trees=3, boosting_iterations=3, c=[0.1], c_tfidf=[1.0], max_tree_labels=1
    ),
    "scoring": Scoring(resamples=5),
}
MODEL = "tiny"


def domain_labels(n: int) -> dict:
    kinds = np.arange(n) % 3
    return {name: kinds == i for i, name in enumerate(("code", "law", "maths"))}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """All tables of two datasets: one label, and three exclusive ones."""
    folder = tmp_path_factory.mktemp("toxicity")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_ANATOMY_COMPUTE", '{"threads": 1}')
        rng = np.random.default_rng(0)
        single = write_inputs(make(folder, "single"), 70, 0, {"bad": rng.random(70) < 0.4})
        domains = write_inputs(make(folder, "domains"), 45, 1, domain_labels(45))
        for name, inputs in (("single", single), ("domains", domains)):
            run_dataset(folder / name, inputs)
        compare_negatives.run(
            NegativesSettings(comparison=HardNegatives(dataset="single", easy="domains"), **COMMON),
            folds=folder / "single/folds.parquet",
            texts=single.texts,
            spline_features=single.spline_features,
            easy_texts=domains.texts,
            easy_spline_features=domains.spline_features,
            metrics=folder / "domains.parquet",
        )
    times = {
        "n_layers": [4, 3, 4],
        "what": ["plain", "features", "features"],
        "n_texts": [2] * 3,
        "n_tokens": [20] * 3,
        "median_ms": [10.0, 8.0, 11.0],
        "p95_ms": [10.0, 8.0, 11.0],
        "share_of_plain": [1.0, 0.8, 1.1],
    }
    write_table(folder / "early_exit.parquet", EARLY_EXIT, times, PROVENANCE)
    return folder


def make(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def run_dataset(folder: Path, inputs) -> None:
    split_texts.run(
        split_texts.SplitStage(seed=0, folds=Folds()),
        texts=inputs.texts,
        **{n: folder / f"{n}.parquet" for n in ("folds", "labels", "duplicates")},
    )
    common = {"folds": folder / "folds.parquet", "spline_features": inputs.spline_features}
    detect_toxicity.run(
        detect_toxicity.DetectStage(
            dataset=folder.name,
            baselines=Baselines(),
            early_exit=EarlyExit(),
            detector=DetectorSettings(),
            **COMMON,
        ),
        texts=inputs.texts,
        intrinsic_dimension=inputs.intrinsic_dimension,
        states=inputs.states,
        **common,
        **{n: folder / f"{n}.parquet" for n in ("predictions", "metrics", "choices")},
        detector=folder / "detector.safetensors",
    )
    probe_features.run(
        ProbeSettings(
            ablations=Ablations(),
            self_training=SelfTraining(label_rates=[0.05, 0.2]),
            maps=Maps(methods=["pca"]),
            **COMMON,
        ),
        **common,
        **{n: folder / f"{n}.parquet" for n in ("ablations", "self_training", "maps")},
    )


def both(project: Path, *names: str) -> dict:
    return {
        name: tuple(project / dataset / f"{name}.parquet" for dataset in ("single", "domains"))
        for name in names
    } | {"hub": (), "others": (project / "early_exit.parquet", project / "domains.parquet")}


NAMES = {"models": [MODEL], "datasets": ["single", "domains"], "hub_classifiers": []}


def with_classifier(project: Path) -> dict:
    """Metrics of a public classifier that is right about every text of both datasets."""
    paths = []
    for dataset in ("single", "domains"):
        metrics = read_table(project / dataset / "metrics.parquet", METRICS)
        first = metrics.drop_duplicates(["label", "metric"]).query("metric == 'roc_auc'")
        first = first.assign(feature_set="hub:perfect", classifier="none", value=1.0, low=1.0)
        first = first.assign(high=1.0)
        paths.append(project / dataset / "hub.parquet")
        both_kinds = pd.concat([first, first.assign(metric="roc_auc_hard_label", value=0.75)])
        write_table(paths[-1], HUB_METRICS, both_kinds, PROVENANCE)
    return {"hub": tuple(paths)}


def test_every_claim_is_measured_or_says_why_not(project):
    claims_toxicity.run(
        ToxicityOverview(**NAMES),
        **both(project, "folds", "metrics", "ablations", "self_training"),
        claims=project / "claims.parquet",
    )
    claims = read_table(project / "claims.parquet", CLAIMS)
    assert claims["claim"].is_unique
    untested = claims[claims["measured_value"].isna()]
    assert untested["note"].str.startswith("Not tested").all()
    assert len(claims) == 11
    assert len(untested) == 2
    metrics = read_table(project / "single/metrics.parquet", METRICS)
    linear = metrics[
        (metrics["feature_set"] == "spline")
        & (metrics["classifier"] == "logistic_regression")
        & (metrics["metric"] == "roc_auc")
    ].iloc[0]
    row = claims[claims["claim"].str.startswith("Logistic regression")].iloc[0]
    assert row["measured_value"] == pytest.approx(100 * linear["value"])
    assert row["holds"] == (linear["value"] >= 0.98)
    domains = claims[claims["claim"].str.startswith("Spline features tell domains")].iloc[0]
    metrics = read_table(project / "domains/metrics.parquet", METRICS)
    own = metrics[
        (metrics["feature_set"] == "spline")
        & (metrics["classifier"] == "logistic_regression")
        & (metrics["metric"] == "roc_auc")
    ]
    assert domains["measured_value"] == pytest.approx(100 * own["value"].min())


def test_public_classifiers_stand_beside_the_spline_features(project):
    named = NAMES | {"hub_classifiers": ["perfect"]}
    claims_toxicity.run(
        ToxicityOverview(**named),
        **both(project, "folds", "metrics", "ablations", "self_training")
        | with_classifier(project),
        claims=project / "claims.parquet",
    )
    claims = read_table(project / "claims.parquet", CLAIMS).set_index("claim")
    row = claims.loc["Spline features detect toxicity better than public classifiers."]
    assert row["measured_value"] < 0
    assert row["holds"] is False
    assert "perfect 100.0 % (75.0 % by its yes-or-no answer)" in row["note"]
    assert claims["measured_value"].isna().sum() == 1
    metrics = read_table(project / "single/metrics.parquet", METRICS)
    place = draw.Place(project, MODEL, "single", project / "single/metrics.parquet")
    hub = read_hub_metrics([project / "single/hub.parquet"])
    drawn = draw.detection(metrics, hub, read_table(project / "single/folds.parquet", FOLDS), place)
    assert "the best of the others (perfect) 1.000" in drawn.caption
    assert max(drawn.rows) < len(metrics)


def test_figures_and_captions_come_from_the_tables(project):
    figures = project / "figures"
    figures_toxicity.run(
        ToxicityOverview(**NAMES),
        **both(
            project,
            *("folds", "labels", "duplicates"),
            *("metrics", "ablations", "self_training", "maps"),
        ),
        figures=figures,
    )
    exhibits = read_exhibits(figures).exhibits
    assert "0.991 to 1.000 per domain" in exhibits[4].caption
    titles = [exhibit.title for exhibit in exhibits]
    assert len(titles) == len(set(titles)) == 2 * 4 + 2 + 2
    assert {e.figure for e in exhibits if e.figure} == {p.name for p in figures.glob("*.png")}
    assert not any("nan" in exhibit.caption.split() for exhibit in exhibits)
    metrics = read_table(project / "single/metrics.parquet", METRICS)
    value = metrics.query(
        "feature_set == 'spline' and classifier == 'logistic_regression' and metric == 'roc_auc'"
    )["value"].iloc[0]
    assert f"logistic regression reach {value:.3f}" in exhibits[0].caption


def test_early_exits_are_timed_beside_the_plain_pass(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ANATOMY_COMPUTE", Compute(threads=1).model_dump_json())
    save_tiny_model(tmp_path / "weights")
    files = {p.name: sha256_file(p) for p in (tmp_path / "weights").iterdir()}
    record = {"model": MODEL, "revision": "none", "weights_sha256": "0", "files": files}
    write_record(tmp_path, record, {})
    inputs = write_inputs(tmp_path, n=12)
    paths = {
        "model": tmp_path / "provenance.json",
        "texts": inputs.texts,
        "early_exit": tmp_path / "early_exit.parquet",
    }
    settings = {"seed": 0, "precision": Precision(), "max_length": 64}
    time_early_exit.run(
        time_early_exit.EarlyExitStage(
            early_exit=EarlyExit(n_layers=[1, 3], timed_texts=3), **settings
        ),
        **paths,
    )
    table = read_table(paths["early_exit"], EARLY_EXIT)
    kinds = list(zip(table["what"], table["n_layers"], strict=True))
    assert kinds == [("plain", 3), ("features", 1), ("features", 3)]
    assert table["share_of_plain"].iloc[0] == 1.0
    assert (table["median_ms"] > 0).all()
    assert pd.unique(table["n_texts"]).tolist() == [3]
    with pytest.raises(UserError, match="is 9, but the model has 3 layers"):
        time_early_exit.run(
            time_early_exit.EarlyExitStage(early_exit=EarlyExit(n_layers=[9]), **settings), **paths
        )
