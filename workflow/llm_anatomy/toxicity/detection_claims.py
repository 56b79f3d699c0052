"""What one data set says of the paper's claims on detection."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from llm_anatomy.statistics.intervals import lies_above, lies_within
from llm_anatomy.toxicity.statements import (
    BETTER_THAN_PUBLIC,
    BEYOND_LENGTH,
    DEEPER_IS_BETTER,
    DOMAINS,
    EARLY_FOREST,
    FEW_LABELS,
    LINEAR_DETECTION,
    SHARES_CARRY,
)

LINEAR = "logistic_regression"
CHANCE = 0.5
# A ROC-AUC that the paper calls almost perfect.
ALMOST_PERFECT = 0.98
Claim = dict[str, Any]


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

    def sample(self, label: str) -> str:
        """What a note calls the label's texts."""
        return f"{self.dataset}, label {label}"

    def area(self, feature_set: str, classifier: str, label: str) -> pd.Series | None:
        """The row of ROC-AUC; None when it was not measured."""
        rows = self.metrics.query(
            "feature_set == @feature_set and classifier == @classifier and label == @label "
            "and metric == 'roc_auc'"
        )
        return rows.iloc[0] if len(rows) else None


def detection_claims(tables: DatasetTables) -> list[Claim]:
    """Claims that one dataset can test: detection for one label, domains for exclusive classes."""
    if tables.classes_exclude_each_other:
        return [_domains(tables)]
    if len(tables.labels) > 1:
        # Kinds of toxicity among toxic texts: the paper's Jigsaw table is about another question.
        return []
    label = tables.labels[0]
    tests: tuple[Callable[[DatasetTables, str], Claim], ...] = (
        _linear,
        _beyond_length,
        _beyond_classifiers,
        _early_exit,
        _feature_groups,
        _deeper_is_better,
        _few_labels,
    )
    return [test(tables, label) for test in tests]


def smaller_class(row: pd.Series) -> int:
    """Texts of the smaller class, as evidence of one area."""
    return int(min(row["n_positive"], row["n_test"] - row["n_positive"]))


def _told_apart(row: pd.Series) -> int:
    """The same, or none where nothing is told apart and so nothing can be lost."""
    return smaller_class(row) if row["low"] > CHANCE else 0


def apart(one: pd.Series, other: pd.Series) -> bool | None:
    """Whether the interval of one area lies above that of another; undecided where they overlap."""
    return lies_above(one["low"] - other["high"], one["high"] - other["low"], 0.0)


def _unmeasured(classifier: str, features: str, keys: str) -> str:
    return f"no {classifier} on {features} was measured; see {keys}"


NO_LINEAR = _unmeasured(
    "logistic regression", "the spline features", "toxicity.classifiers.names (logistic_regression)"
)


def _linear(tables: DatasetTables, label: str) -> Claim:
    row = tables.area("spline", LINEAR, label)
    if row is None:
        return LINEAR_DETECTION.untested(tables.model, tables.dataset, why=NO_LINEAR)
    return LINEAR_DETECTION.judged(
        tables.model,
        tables.dataset,
        evidence=smaller_class(row),
        **_almost_perfect(row),
        note=f"{tables.sample(label)}, {row['n_test']} texts, {row['n_folds']} folds, penalty "
        "chosen inside the training folds; bootstrap interval over texts. Other data and a "
        "smaller model than the paper's. Holds where the whole interval is at 98 % or more.",
    )


def _almost_perfect(row: pd.Series) -> dict[str, Any]:
    """A ROC-AUC in per cent, close to one or not."""
    ends = {end: 100 * row[end] for end in ("low", "high")}
    holds = lies_within(row["low"], row["high"], first=ALMOST_PERFECT)
    return ends | {"measured_value": 100 * row["value"], "holds": holds}


def _beyond_length(tables: DatasetTables, label: str) -> Claim:
    spline, length = (tables.area(name, LINEAR, label) for name in ("spline", "length"))
    if spline is None or length is None:
        missing = _unmeasured(
            "logistic regression", "text length", "toxicity.baselines.names (length)"
        )
        return BEYOND_LENGTH.untested(
            tables.model, tables.dataset, why=NO_LINEAR if spline is None else missing
        )
    names = ("tfidf", "mean_state")
    others = {
        r["feature_set"]: r["value"]
        for _, r in tables.metrics[tables.metrics["metric"] == "roc_auc"].iterrows()
        if r["label"] == label and r["feature_set"].startswith(names)
    }
    beside = "; ".join(f"{name} {100 * value:.1f} %" for name, value in others.items())
    return BEYOND_LENGTH.judged(
        tables.model,
        tables.dataset,
        evidence=smaller_class(spline),
        measured_value=100 * (spline["value"] - length["value"]),
        holds=apart(spline, length),
        note=(
            f"{tables.sample(label)}: spline features {100 * spline['value']:.1f} %, length alone "
            f"{100 * length['value']:.1f} % on the same folds. Holds if the interval is above the "
            f"other's. Beside them: {beside or 'no other baseline'}."
        ),
    )


def _beyond_classifiers(tables: DatasetTables, label: str) -> Claim:
    spline = tables.area("spline", LINEAR, label)
    table = tables.classifiers
    areas = table[(table["label"] == label) & (table["metric"] == "roc_auc")]
    if spline is None or areas.empty:
        none = "the key toxicity.baselines.hub_classifiers names none"
        return BETTER_THAN_PUBLIC.untested(
            tables.model,
            tables.dataset,
            why=NO_LINEAR if spline is None else none,
            note="The paper scored them by their yes-or-no answer and itself by probabilities.",
        )
    best = areas.iloc[int(areas["value"].to_numpy(float).argmax())]
    hard = table[(table["label"] == label) & (table["metric"] == "roc_auc_hard_label")]
    by_answer = hard.set_index("feature_set")["value"]
    listed = "; ".join(
        f"{str(name).removeprefix('hub:')} {100 * value:.1f} % "
        f"({100 * by_answer[str(name)]:.1f} % by its yes-or-no answer)"
        for name, value in zip(areas["feature_set"], areas["value"].to_numpy(float), strict=True)
    )
    return BETTER_THAN_PUBLIC.judged(
        tables.model,
        tables.dataset,
        evidence=smaller_class(spline),
        measured_value=100 * (spline["value"] - best["value"]),
        holds=apart(spline, best),
        note=(
            f"{tables.sample(label)}: spline features {100 * spline['value']:.1f} %, classifiers "
            f"by their score: {listed}. The paper scored them by their yes-or-no answer and itself "
            "by probabilities. Difference to the best of them; holds if the interval is above the "
            "other's."
        ),
    )


def _early_exit(tables: DatasetTables, label: str) -> Claim:
    full = tables.area("spline", LINEAR, label)
    early = tables.area("spline_first_3_layers", "random_forest", label)
    if full is None or early is None:
        missing = _unmeasured(
            "random forest",
            "the first three layers",
            "toxicity.early_exit.n_layers (3) and toxicity.classifiers.names (random_forest)",
        )
        return EARLY_FOREST.untested(
            tables.model, tables.dataset, why=NO_LINEAR if full is None else missing
        )
    loss = 100 * (full["value"] - early["value"])
    return EARLY_FOREST.judged(
        tables.model,
        tables.dataset,
        evidence=_told_apart(full),
        measured_value=loss,
        holds=bool(loss < 5),
        note=f"{tables.sample(label)}: {100 * early['value']:.1f} % against "
        f"{100 * full['value']:.1f} %.",
    )


def _feature_groups(tables: DatasetTables, label: str) -> Claim:
    areas = _ablation(tables, label, "features")
    whole = tables.area("spline", LINEAR, label)
    if areas.empty or whole is None:
        missing = _unmeasured(
            "logistic regression",
            "groups of features",
            "toxicity.ablations.classifiers (logistic_regression)",
        )
        return SHARES_CARRY.untested(
            tables.model, tables.dataset, why=NO_LINEAR if whole is None else missing
        )
    by_group = areas.set_index("features")["value"]
    shares, distances = by_group["1-4"], by_group["5-7"]
    return SHARES_CARRY.judged(
        tables.model,
        tables.dataset,
        evidence=_told_apart(whole),
        measured_value=100 * (shares - distances),
        holds=bool(shares > distances and whole["value"] - shares < 0.02),
        note=(
            f"{tables.sample(label)}: features 1-4 {100 * shares:.1f} %, 5-7 "
            f"{100 * distances:.1f} %, all seven {100 * whole['value']:.1f} %. Holds if 1-4 are "
            "above 5-7 and within two points of all."
        ),
    )


def _deeper_is_better(tables: DatasetTables, label: str) -> Claim:
    areas = _ablation(tables, label, "first_layers").sort_values("layer")
    if len(areas) < 3:
        why = (
            f"{len(areas)} numbers of first layers say nothing of an order; the ablations of "
            "toxicity.ablations.classifiers (logistic_regression) measure one for every layer"
        )
        return DEEPER_IS_BETTER.untested(tables.model, tables.dataset, why=why, evidence=len(areas))
    whole = tables.area("spline", LINEAR, label)
    if whole is None or not whole["low"] > CHANCE:
        why = (
            NO_LINEAR
            if whole is None
            else "the features of all layers do not tell the label apart better than chance, so no "
            "layer helps"
        )
        return DEEPER_IS_BETTER.untested(tables.model, tables.dataset, why=why, evidence=len(areas))
    values = areas["value"].to_numpy()
    rank = float(spearmanr(np.arange(len(values)), values).statistic)
    return DEEPER_IS_BETTER.judged(
        tables.model,
        tables.dataset,
        evidence=len(areas),
        measured_value=rank,
        holds=bool(rank > 0.8),
        note=(
            f"{tables.sample(label)}: {100 * values[0]:.1f} % with the first layer, "
            f"{100 * values.max():.1f} % at best (first {int(values.argmax()) + 1} layers), "
            f"{100 * values[-1]:.1f} % with all. Rank correlation of layers and score; holds above "
            "0.8."
        ),
    )


def _few_labels(tables: DatasetTables, label: str) -> Claim:
    full = tables.area("spline", LINEAR, label)
    table = tables.self_training
    rows = table[
        (table["metric"] == "roc_auc")
        & (table["label"] == label)
        & (table["classifier"] == LINEAR)
        & (table["training"] == "self_training")
    ].set_index("label_rate")
    if full is None or 0.05 not in rows.index:
        missing = _unmeasured(
            "self-training",
            "5 % of the labels",
            "toxicity.self_training.label_rates (0.05) and .classifiers (logistic_regression)",
        )
        return FEW_LABELS.untested(
            tables.model, tables.dataset, why=NO_LINEAR if full is None else missing
        )
    row = rows.loc[0.05]
    loss = 100 * (full["value"] - row["value"])
    return FEW_LABELS.judged(
        tables.model,
        tables.dataset,
        evidence=_told_apart(full),
        measured_value=loss,
        holds=bool(loss < 3),
        note=(
            f"{tables.sample(label)}: {100 * row['value']:.1f} % from {row['n_labelled']} labels "
            "per fold, where the paper's 5 % are 1,840. Holds below three points."
        ),
    )


def _domains(tables: DatasetTables) -> Claim:
    areas = {label: tables.area("spline", LINEAR, label) for label in tables.labels}
    known = {label: row for label, row in areas.items() if row is not None}
    if not known:
        return DOMAINS.untested(tables.model, tables.dataset, why=NO_LINEAR)
    worst = min(known, key=lambda label: known[label]["value"])
    mean = float(np.mean([row["value"] for row in known.values()]))
    return DOMAINS.judged(
        tables.model,
        tables.dataset,
        evidence=min(smaller_class(row) for row in known.values()),
        **_almost_perfect(known[worst]),
        note=f"{tables.dataset}: the worst of {len(known)} domains against the rest, {worst}; mean "
        f"{100 * mean:.1f} %. Holds where the whole interval is at 98 % or more.",
    )


def _ablation(tables: DatasetTables, label: str, kind: str) -> pd.DataFrame:
    table = tables.ablations
    return table[
        (table["metric"] == "roc_auc")
        & (table["kind"] == kind)
        & (table["label"] == label)
        & (table["classifier"] == LINEAR)
    ]
