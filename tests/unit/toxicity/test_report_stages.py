"""Figures, captions and claims say what the tables say."""

import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
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
from llm_anatomy.figures.exhibit import read_exhibits
from llm_anatomy.figures.toxicity import toxicity_figures
from llm_anatomy.model.run.loading import sha256_file
from llm_anatomy.model.source.record import write_record
from llm_anatomy.stages import (
    compare_negatives,
    conclude_toxicity,
    detect_toxicity,
    probe_features,
    shift_detectors,
    split_texts,
    time_early_exit,
)
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import TABLE_KEY, TableSchema, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.detectors import SHIFT
from llm_anatomy.tables.toxicity import (
    ABLATIONS,
    CHOICES,
    DUPLICATES,
    EARLY_EXIT,
    FOLDS,
    HARD_NEGATIVES,
    HUB_METRICS,
    LABELS,
    MAPS,
    METRICS,
    PREDICTIONS,
    SELF_TRAINING,
    TABLES,
)
from llm_anatomy.toxicity.claims import ToxicityScope
from llm_anatomy.toxicity.negatives import NegativesSettings
from llm_anatomy.toxicity.probes import ProbeSettings
from matplotlib.figure import Figure

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
            run_dataset(folder, name, inputs)
        compare_negatives.run(
            NegativesSettings(comparison=HardNegatives(dataset="single", easy="domains"), **COMMON),
            folds=place(folder, FOLDS, dataset="single"),
            texts=single.texts,
            spline_features=single.spline_features,
            easy_texts=domains.texts,
            easy_spline_features=domains.spline_features,
            metrics=place(folder, HARD_NEGATIVES, dataset="single", easy="domains"),
        )
        shift_detectors.run(
            shift_detectors.ShiftStage(datasets=["single", "domains"], same={}, **COMMON),
            texts=(single.texts, domains.texts),
            folds=tuple(place(folder, FOLDS, dataset=name) for name in ("single", "domains")),
            features=(single.spline_features, domains.spline_features),
            shift=place(folder, SHIFT),
        )
    times = {
        "n_layers": [4, 3, 4],
        "what": ["plain", "features", "features"],
        "n_texts": [5] * 3,
        "n_tokens": [20] * 3,
        "median_ms": [10.0, 8.0, 11.0],
        "p95_ms": [10.0, 8.0, 11.0],
        "share_of_plain": [1.0, 0.8, 1.1],
    }
    write_table(place(folder, EARLY_EXIT, dataset="single"), EARLY_EXIT, times, PROVENANCE)
    return folder


def make(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def place(project: Path, schema: TableSchema, **owner: str) -> Path:
    """Where a table lies."""
    return project / schema.path.format_map({"model": MODEL} | owner)


def run_dataset(project: Path, name: str, inputs) -> None:
    def at(schema: TableSchema) -> Path:
        return place(project, schema, dataset=name)

    at(TEXTS).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(inputs.texts, at(TEXTS))
    split_texts.run(
        split_texts.SplitStage(seed=0, folds=Folds()),
        texts=inputs.texts,
        folds=at(FOLDS),
        labels=at(LABELS),
        duplicates=at(DUPLICATES),
    )
    common = {"folds": at(FOLDS), "spline_features": inputs.spline_features}
    detect_toxicity.run(
        detect_toxicity.DetectStage(
            dataset=name,
            baselines=Baselines(),
            early_exit=EarlyExit(),
            detector=DetectorSettings(),
            **COMMON,
        ),
        texts=inputs.texts,
        intrinsic_dimension=inputs.intrinsic_dimension,
        states=inputs.states,
        **common,
        predictions=at(PREDICTIONS),
        metrics=at(METRICS),
        choices=at(CHOICES),
        detector=at(METRICS).parent / "detector.safetensors",
    )
    probe_features.run(
        ProbeSettings(
            ablations=Ablations(),
            self_training=SelfTraining(label_rates=[0.05, 0.2]),
            maps=Maps(methods=["pca"]),
            **COMMON,
        ),
        **common,
        ablations=at(ABLATIONS),
        self_training=at(SELF_TRAINING),
        maps=at(MAPS),
    )


def every_table(project: Path) -> tuple[Path, ...]:
    """All tables but those of public classifiers, in no particular order."""
    names = {schema.name for schema in (TEXTS, *TABLES, SHIFT)} - {HUB_METRICS.name}
    found = [
        path
        for path in project.glob("results/**/*.parquet")
        if pq.read_schema(path).metadata[TABLE_KEY].decode() in names
    ]
    return tuple(found[1:] + found[:1])


def conclude(project: Path, tables: tuple[Path, ...], **changes: object) -> pd.DataFrame:
    """Run the stage; return the claims."""
    claims = project / "claims.parquet"
    scope = ToxicityScope.model_validate(NAMES | changes)
    conclude_toxicity.run(scope, tables=tables, claims=claims, figures=project / "figures")
    return read_table(claims, CLAIMS)


NAMES = {"models": [MODEL], "datasets": ["single", "domains"], "hub_classifiers": []}
NAMES |= {"comparisons": [["single", "domains"]], "compared": []}


def with_classifier(project: Path) -> tuple[Path, ...]:
    """Metrics of a public classifier that is right about every text of both datasets."""
    paths = []
    for dataset in ("single", "domains"):
        metrics = read_table(place(project, METRICS, dataset=dataset), METRICS)
        first = metrics.drop_duplicates(["label", "metric"]).query("metric == 'roc_auc'")
        first = first.assign(feature_set="hub:perfect", classifier="none", value=1.0, low=1.0)
        first = first.assign(high=1.0)
        paths.append(place(project, HUB_METRICS, dataset=dataset, classifier="perfect"))
        both_kinds = pd.concat([first, first.assign(metric="roc_auc_hard_label", value=0.75)])
        write_table(paths[-1], HUB_METRICS, both_kinds, PROVENANCE)
    return tuple(paths)


def test_every_claim_is_measured_or_says_why_not(project):
    claims = conclude(project, every_table(project))
    assert claims["claim"].is_unique
    untested = claims[claims["measured_value"].isna()]
    assert untested["note"].str.startswith("Not tested").all()
    assert len(claims) == 12
    # Public classifiers, detectors beside each other, and the Jigsaw data.
    assert len(untested) == 3
    metrics = read_table(place(project, METRICS, dataset="single"), METRICS)
    linear = metrics[
        (metrics["feature_set"] == "spline")
        & (metrics["classifier"] == "logistic_regression")
        & (metrics["metric"] == "roc_auc")
    ].iloc[0]
    row = claims[claims["claim"].str.startswith("Logistic regression")].iloc[0]
    assert row["measured_value"] == pytest.approx(100 * linear["value"])
    ends = {linear[end] >= 0.98 for end in ("low", "high")}
    assert row["verdict"] == {(True,): "holds", (False,): "fails"}.get(tuple(ends), "undecided")
    domains = claims[claims["claim"].str.startswith("Spline features tell domains")].iloc[0]
    metrics = read_table(place(project, METRICS, dataset="domains"), METRICS)
    own = metrics[
        (metrics["feature_set"] == "spline")
        & (metrics["classifier"] == "logistic_regression")
        & (metrics["metric"] == "roc_auc")
    ]
    assert domains["measured_value"] == pytest.approx(100 * own["value"].min())


def test_public_classifiers_stand_beside_the_spline_features(project):
    tables = every_table(project) + with_classifier(project)
    claims = conclude(project, tables, hub_classifiers=["perfect"]).set_index("claim")
    row = claims.loc["Spline features detect toxicity better than public classifiers."]
    assert row["measured_value"] < 0
    assert row["holds"] is False
    assert "perfect 100.0 % (75.0 % by its yes-or-no answer)" in row["note"]
    assert claims["measured_value"].isna().sum() == 2
    metrics = read_table(place(project, METRICS, dataset="single"), METRICS)
    exhibits = read_exhibits(project / "figures").exhibits
    drawn = next(e for e in exhibits if e.title == "Detection: single")
    assert "the best of the others (perfect) 1.000" in drawn.caption
    assert max(drawn.rows) < len(metrics)


def test_figures_and_captions_come_from_the_tables(project):
    figures = project / "figures"
    conclude(project, every_table(project))
    exhibits = read_exhibits(figures).exhibits
    titles = [exhibit.title for exhibit in exhibits]
    assert len(titles) == len(set(titles)) == 2 * 6 + 2 + 2
    assert {e.figure for e in exhibits if e.figure} == {p.name for p in figures.glob("*.png")}
    assert not any("nan" in exhibit.caption.split() for exhibit in exhibits)
    for dataset, labels in (("single", 1), ("domains", 3)):
        metrics = read_table(place(project, METRICS, dataset=dataset), METRICS)
        linear = metrics.query("feature_set == 'spline' and classifier == 'logistic_regression'")
        areas = linear.loc[linear["metric"] == "roc_auc", "value"]
        assert len(areas) == labels
        (drawn,) = [e for e in exhibits if e.title == f"Detection: {dataset}"]
        assert f"logistic regression reach {areas.mean():.3f}" in drawn.caption


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


def test_a_notebook_draws_the_study_without_writing_anything(project):
    tables = Collection(every_table(project), [TEXTS, *TABLES, SHIFT])
    before = set(project.rglob("*"))
    exhibits = list(toxicity_figures(tables, ToxicityScope.model_validate(NAMES)))
    assert set(project.rglob("*")) == before
    drawn = [exhibit for exhibit in exhibits if exhibit.figure is not None]
    assert len(drawn) == 2 * 5 + 1
    assert all(isinstance(exhibit.drawn, Figure) for exhibit in drawn)
    plt.close("all")
