"""What the paper says about detection, and what was measured here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from llm_anatomy.config.base import Settings
from llm_anatomy.tables.claims import claim_row
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.toxicity import (
    ABLATIONS,
    EARLY_EXIT,
    FOLDS,
    HARD_NEGATIVES,
    HUB_METRICS,
    METRICS,
    SELF_TRAINING,
)
from llm_anatomy.toxicity.untested import BETTER_THAN_PUBLIC, PAPER, PUBLIC_VALUE, untested_claims

LINEAR = "logistic_regression"
Claim = dict[str, Any]


class ToxicityScope(Settings):
    """Whose tables the study's claims and figures are made from, in the order shown."""

    models: list[str]
    datasets: list[str]
    hub_classifiers: list[str]
    # Datasets of hard and of easy negatives.
    comparisons: list[tuple[str, str]]


@dataclass(frozen=True)
class DatasetTables:
    """The tables of one model and dataset.

    Attributes:
        model: The model's name.
        dataset: The dataset's name.
        folds: Labels and folds.
        metrics: Detection and baselines.
        ablations: Parts of the features.
        self_training: Few labels.
        classifiers: The same metrics of public classifiers, if any are configured.
    """

    model: str
    dataset: str
    folds: pd.DataFrame
    metrics: pd.DataFrame
    ablations: pd.DataFrame
    self_training: pd.DataFrame
    classifiers: pd.DataFrame

    @property
    def labels(self) -> list[str]:
        """The labels that were learned."""
        return list(dict.fromkeys(self.folds["label"]))

    @property
    def classes_exclude_each_other(self) -> bool:
        """Whether there are several labels and every text has exactly one: a domain."""
        per_text = self.folds.groupby("text_id")["truth"].agg(["sum", "size"])
        several = len(self.labels) > 2
        return several and bool((per_text["sum"] == 1).all())

    def area(self, feature_set: str, classifier: str, label: str) -> pd.Series | None:
        """The row of ROC-AUC; None when it was not measured."""
        rows = self.metrics.query(
            "feature_set == @feature_set and classifier == @classifier and label == @label "
            "and metric == 'roc_auc'"
        )
        return rows.iloc[0] if len(rows) else None


def toxicity_claims(tables: Collection, scope: ToxicityScope) -> list[Claim]:
    """Every claim on every model; those that this run cannot test say why."""
    rows = []
    for model in scope.models:
        own = []
        for dataset in scope.datasets:
            owner = {"model": model, "dataset": dataset}
            of_dataset = DatasetTables(
                model,
                dataset,
                tables.frame(FOLDS, dataset=dataset),
                tables.frame(METRICS, **owner),
                tables.frame(ABLATIONS, **owner),
                tables.frame(SELF_TRAINING, **owner),
                tables.joined(HUB_METRICS, dataset=dataset, classifier=scope.hub_classifiers),
            )
            own += detection_claims(of_dataset)
        for dataset, easy in scope.comparisons:
            negatives = tables.frame(HARD_NEGATIVES, model=model, dataset=dataset, easy=easy)
            own.append(negatives_claim(negatives, model))
        timed = tables.frame(EARLY_EXIT, model=model, dataset=scope.datasets[0])
        own.append(latency_claim(timed, model))
        rows += own + untested_claims(model, {row["claim"] for row in own})
    return rows


def detection_claims(tables: DatasetTables) -> list[Claim]:
    """Claims that one dataset can test: detection for one label, domains for exclusive classes."""
    if tables.classes_exclude_each_other:
        return [_domains(tables)]
    if len(tables.labels) > 1:
        # Kinds of toxicity among toxic texts: the paper's Jigsaw table is about another question.
        return []
    label = tables.labels[0]
    sample = f"{tables.dataset}, label {label}"
    tests: tuple[Callable[[DatasetTables, str, str], Claim | None], ...] = (
        _linear,
        _beyond_length,
        _beyond_classifiers,
        _early_exit,
        _feature_groups,
        _deeper_is_better,
        _few_labels,
    )
    return [claim for test in tests if (claim := test(tables, label, sample)) is not None]


def negatives_claim(table: pd.DataFrame, model: str) -> Claim:
    """Easy negatives of another source against all negatives."""
    areas = table[(table["metric"] == "roc_auc")].set_index(["negatives", "feature_set"])["value"]
    easy, both = areas["easy", "spline"], areas["both", "spline"]
    hard = areas["hard", "spline"]
    first = table.iloc[0]
    return claim_row(
        PAPER,
        "Without clean texts of the toxic texts' own source the score is far higher.",
        model,
        paper_value="99.2 % without clean Jigsaw, 89.8 % with it (Llama-2-7B)",
        measured_value=100 * (easy - both),
        unit="points of ROC-AUC",
        holds=bool(easy > both),
        note=(
            f"{first['dataset']} against {first['easy']}: {100 * easy:.1f} % with easy negatives "
            f"alone, {100 * both:.1f} % with both, {100 * hard:.1f} % with hard ones alone; text "
            f"length alone reaches {100 * areas['easy', 'length']:.1f} % on easy negatives. "
            "Holds if easy is above both."
        ),
    )


def latency_claim(table: pd.DataFrame, model: str) -> Claim:
    """Three layers against the whole model."""
    whole = int(table["n_layers"].max())
    features = table[table["what"] == "features"].set_index("n_layers")["share_of_plain"]
    first = int(features.index.min())
    ratio = float(features[whole] / features[first])
    return claim_row(
        PAPER,
        "Reading three layers is about twelve times as fast as reading all.",
        model,
        paper_value="0.061 s and 0.005 s per text (Llama-2-7B, 32 layers)",
        measured_value=ratio,
        unit="times",
        holds=bool(ratio >= 0.75 * whole / first) if first < whole else None,
        note=(
            f"{whole} layers against {first}, {int(table['n_texts'].iloc[0])} texts one at a time; "
            f"all features take {features[whole]:.2f} of a plain pass. Holds if the speed-up is "
            f"at least three quarters of {whole}/{first}."
        ),
    )


def _almost_perfect(
    claim: str, tables: DatasetTables, row: pd.Series, paper_value: str, note: str
) -> Claim:
    """A claim that a ROC-AUC is close to one."""
    return claim_row(
        PAPER,
        claim,
        tables.model,
        paper_value=paper_value,
        measured_value=100 * row["value"],
        low=100 * row["low"],
        high=100 * row["high"],
        unit="% ROC-AUC",
        holds=bool(row["value"] >= 0.98),
        note=f"{note} Holds at 98 % or more.",
    )


def _linear(tables: DatasetTables, label: str, sample: str) -> Claim | None:
    row = tables.area("spline", LINEAR, label)
    if row is None:
        return None
    return _almost_perfect(
        "Logistic regression on the spline features of all layers detects toxicity almost "
        "perfectly.",
        tables,
        row,
        "99.18 % (Llama-2-7B), 98.45 % (Mistral-7B)",
        f"{sample}, {row['n_test']} texts, {row['n_folds']} folds, penalty chosen inside the "
        "training folds; bootstrap interval over texts. Other data and a smaller model than the "
        "paper's.",
    )


def _beyond_length(tables: DatasetTables, label: str, sample: str) -> Claim | None:
    spline, length = (tables.area(name, LINEAR, label) for name in ("spline", "length"))
    if spline is None or length is None:
        return None
    names = ("tfidf", "mean_state")
    others = {
        r["feature_set"]: r["value"]
        for _, r in tables.metrics[tables.metrics["metric"] == "roc_auc"].iterrows()
        if r["label"] == label and r["feature_set"].startswith(names)
    }
    beside = "; ".join(f"{name} {100 * value:.1f} %" for name, value in others.items())
    return claim_row(
        PAPER,
        "The score is not text length in disguise (the paper has no such baseline).",
        tables.model,
        paper_value="not reported",
        measured_value=100 * (spline["value"] - length["value"]),
        unit="points of ROC-AUC",
        holds=bool(spline["low"] > length["high"]),
        note=(
            f"{sample}: spline features {100 * spline['value']:.1f} %, length alone "
            f"{100 * length['value']:.1f} % on the same folds. Holds if the intervals do not "
            f"overlap. Beside them: {beside or 'no other baseline'}."
        ),
    )


def _beyond_classifiers(tables: DatasetTables, label: str, sample: str) -> Claim | None:
    spline = tables.area("spline", LINEAR, label)
    table = tables.classifiers
    areas = table[(table["label"] == label) & (table["metric"] == "roc_auc")]
    if spline is None or areas.empty:
        return None
    best = areas.iloc[int(areas["value"].to_numpy(float).argmax())]
    hard = table[(table["label"] == label) & (table["metric"] == "roc_auc_hard_label")]
    by_answer = hard.set_index("feature_set")["value"]
    listed = "; ".join(
        f"{str(name).removeprefix('hub:')} {100 * value:.1f} % "
        f"({100 * by_answer[str(name)]:.1f} % by its yes-or-no answer)"
        for name, value in zip(areas["feature_set"], areas["value"].to_numpy(float), strict=True)
    )
    return claim_row(
        PAPER,
        BETTER_THAN_PUBLIC,
        tables.model,
        paper_value=PUBLIC_VALUE,
        measured_value=100 * (spline["value"] - best["value"]),
        unit="points of ROC-AUC",
        holds=bool(spline["low"] > best["high"]),
        note=(
            f"{sample}: spline features {100 * spline['value']:.1f} %, classifiers by their score: "
            f"{listed}. The paper scored them by their yes-or-no answer and itself by "
            "probabilities. Difference to the best of them; holds if the intervals do not overlap."
        ),
    )


def _early_exit(tables: DatasetTables, label: str, sample: str) -> Claim | None:
    full = tables.area("spline", LINEAR, label)
    early = tables.area("spline_first_3_layers", "random_forest", label)
    if full is None or early is None:
        return None
    loss = 100 * (full["value"] - early["value"])
    return claim_row(
        PAPER,
        "A random forest on the first three layers loses less than five points.",
        tables.model,
        paper_value="99.18 % to 94.68 % (Llama-2-7B), 98.45 % to 93.73 % (Mistral-7B)",
        measured_value=loss,
        unit="points of ROC-AUC",
        holds=bool(loss < 5),
        note=f"{sample}: {100 * early['value']:.1f} % against {100 * full['value']:.1f} %.",
    )


def _feature_groups(tables: DatasetTables, label: str, sample: str) -> Claim | None:
    areas = _ablation(tables, label, "features")
    whole = tables.area("spline", LINEAR, label)
    if areas.empty or whole is None:
        return None
    by_group = areas.set_index("features")["value"]
    shares, distances = by_group["1-4"], by_group["5-7"]
    return claim_row(
        PAPER,
        "Features 1 to 4 (active share) carry the signal; features 5 to 7 (distance) add little.",
        tables.model,
        paper_value="single features 88-96 % against 65-67 % (Llama-2-7B, logistic regression)",
        measured_value=100 * (shares - distances),
        unit="points of ROC-AUC",
        holds=bool(shares > distances and whole["value"] - shares < 0.02),
        note=(
            f"{sample}: features 1-4 {100 * shares:.1f} %, 5-7 {100 * distances:.1f} %, all seven "
            f"{100 * whole['value']:.1f} %. Holds if 1-4 are above 5-7 and within two points of "
            "all."
        ),
    )


def _deeper_is_better(tables: DatasetTables, label: str, sample: str) -> Claim | None:
    areas = _ablation(tables, label, "first_layers").sort_values("layer")
    if len(areas) < 3:
        return None
    values = areas["value"].to_numpy()
    rank = float(spearmanr(np.arange(len(values)), values).statistic)
    return claim_row(
        PAPER,
        "Every further layer helps: the score grows from the first layer to all.",
        tables.model,
        paper_value="80.3 % with one layer, 99.2 % with all, rising throughout (Llama-2-7B)",
        measured_value=rank,
        unit="Spearman correlation",
        holds=bool(rank > 0.8),
        note=(
            f"{sample}: {100 * values[0]:.1f} % with the first layer, {100 * values.max():.1f} % "
            f"at best (first {int(values.argmax()) + 1} layers), {100 * values[-1]:.1f} % with "
            "all. Rank correlation of layers and score; holds above 0.8."
        ),
    )


def _few_labels(tables: DatasetTables, label: str, sample: str) -> Claim | None:
    full = tables.area("spline", LINEAR, label)
    table = tables.self_training
    rows = table[
        (table["metric"] == "roc_auc")
        & (table["label"] == label)
        & (table["classifier"] == LINEAR)
        & (table["training"] == "self_training")
    ].set_index("label_rate")
    if full is None or 0.05 not in rows.index:
        return None
    row = rows.loc[0.05]
    loss = 100 * (full["value"] - row["value"])
    return claim_row(
        PAPER,
        "With 5 % of the labels and self-training the score falls by about one point.",
        tables.model,
        paper_value="99.18 % to 98.25 % (Llama-2-7B), 98.45 % to 96.36 % (Mistral-7B)",
        measured_value=loss,
        unit="points of ROC-AUC",
        holds=bool(loss < 3),
        note=(
            f"{sample}: {100 * row['value']:.1f} % from {row['n_labelled']} labels per fold, where "
            "the paper's 5 % are 1,840. Holds below three points."
        ),
    )


def _domains(tables: DatasetTables) -> Claim:
    areas = {label: tables.area("spline", LINEAR, label) for label in tables.labels}
    values = {label: row["value"] for label, row in areas.items() if row is not None}
    worst = min(values, key=lambda label: values[label])
    row = areas[worst]
    assert row is not None
    return _almost_perfect(
        "Spline features tell domains apart almost perfectly.",
        tables,
        row,
        "99.14 to 100 % per domain (Mistral-7B), 99.63 to 100 % (Llama-2-7B)",
        f"{tables.dataset}: the worst of {len(values)} domains against the rest, {worst}; "
        f"mean {100 * float(np.mean(list(values.values()))):.1f} %.",
    )


def _ablation(tables: DatasetTables, label: str, kind: str) -> pd.DataFrame:
    table = tables.ablations
    return table[
        (table["metric"] == "roc_auc")
        & (table["kind"] == kind)
        & (table["label"] == label)
        & (table["classifier"] == LINEAR)
    ]
