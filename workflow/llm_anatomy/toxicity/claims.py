"""What the paper says about detection, and what was measured here."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.statistics.intervals import lies_above
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.detectors import DETECTORS
from llm_anatomy.tables.toxicity import (
    ABLATIONS,
    EARLY_EXIT,
    FOLDS,
    HARD_NEGATIVES,
    HUB_METRICS,
    METRICS,
    SELF_TRAINING,
)
from llm_anatomy.toxicity.detection_claims import (
    DatasetTables,
    apart,
    detection_claims,
    smaller_class,
)
from llm_anatomy.toxicity.statements import (
    ADDITION,
    DOMAINS,
    EASY_NEGATIVES,
    FAST_EXIT,
    JIGSAW,
    OF_ONE_LABEL,
)

Claim = dict[str, Any]


class ToxicityScope(Settings):
    """Whose tables the study's claims and figures are made from, in the order shown."""

    models: list[str]
    datasets: list[str]
    hub_classifiers: list[str]
    # Datasets of hard and of easy negatives.
    comparisons: list[tuple[str, str]]
    # Datasets on which detectors are compared.
    compared: list[str]


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
        for dataset in scope.compared:
            compared = tables.frame(DETECTORS, model=model, dataset=dataset)
            own.append(addition_claim(compared, model, dataset))
        timed = tables.frame(EARLY_EXIT, model=model, dataset=scope.datasets[0])
        own.append(latency_claim(timed, model, scope.datasets[0]))
        rows += own + untested_claims(model, own)
    return rows


def untested_claims(model: str, made: Sequence[Claim]) -> list[Claim]:
    """Rows of the claims that no data set of the run was right for."""
    one_label = "it takes a data set with one label, and this run has none"
    reasons = dict.fromkeys(OF_ONE_LABEL, one_label) | {
        DOMAINS: "it takes a data set with three classes or more of which every text has one, and "
        "this run has none",
        EASY_NEGATIVES: "the key toxicity.hard_negatives names no data sets to compare",
        ADDITION: "detectors were compared on no data set; toxicity.detector_comparison.datasets "
        "names them",
        JIGSAW: "needs the Jigsaw data. The paper's training file of 223,549 rows equals the "
        "2018 training and test sets together, so its test texts were training texts; "
        "config/papers/geometry.yaml trains on the 2018 training set alone",
    }
    there = {row["claim"] for row in made}
    return [
        statement.untested(model, why=why)
        for statement, why in reasons.items()
        if statement.sentence not in there
    ]


def negatives_claim(table: pd.DataFrame, model: str) -> Claim:
    """Easy negatives of another source against all negatives."""
    areas = {
        (row["negatives"], row["feature_set"]): row
        for _, row in table[table["metric"] == "roc_auc"].iterrows()
    }
    easy, both, hard = (areas[name, "spline"] for name in ("easy", "both", "hard"))
    first = table.iloc[0]
    return EASY_NEGATIVES.judged(
        model,
        f"{first['dataset']} against {first['easy']}",
        evidence=min(smaller_class(row) for row in areas.values()),
        measured_value=100 * (easy["value"] - both["value"]),
        holds=apart(easy, both),
        note=(
            f"{first['dataset']} against {first['easy']}: {100 * easy['value']:.1f} % with easy "
            f"negatives alone, {100 * both['value']:.1f} % with both, {100 * hard['value']:.1f} % "
            "with hard ones alone; text length alone reaches "
            f"{100 * areas['easy', 'length']['value']:.1f} % on easy negatives. "
            "Holds if the interval with easy ones is above that with both."
        ),
    )


def addition_claim(table: pd.DataFrame, model: str, dataset: str) -> Claim:
    """Spline features beside the hidden state, against the hidden state alone."""
    gains = table[table["metric"] == "gain_over_state"]
    if gains.empty:
        why = (
            "spline features and mean state together were not measured beside the mean state; see "
            "toxicity.detector_comparison.methods (spline_and_state) and toxicity.baselines.names "
            "(mean_state)"
        )
        return ADDITION.untested(model, dataset, why=why)
    # Of several labels, the one with most positives; the table's note names it.
    gain = gains.sort_values("n_positive", ascending=False, kind="stable").iloc[0]
    areas = table[(table["metric"] == "roc_auc") & (table["label"] == gain["label"])]
    values = areas.set_index("feature_set")["value"]
    state = str(gain["beyond"])
    return ADDITION.judged(
        model,
        dataset,
        evidence=smaller_class(gain),
        measured_value=100 * gain["value"],
        low=100 * gain["low"],
        high=100 * gain["high"],
        holds=lies_above(gain["low"], gain["high"], 0),
        note=(
            f"{dataset}, label {gain['label']}, logistic regression on the same folds: spline "
            f"features {100 * values['spline']:.1f} %, mean state of layer "
            f"{state.rpartition('_')[2]}, which the inner folds prefer, {100 * values[state]:.1f} "
            f"%, both together "
            f"{100 * values['spline_and_state']:.1f} %. Bootstrap interval of the difference, over "
            "texts; holds if all of it is above 0."
        ),
    )


def latency_claim(table: pd.DataFrame, model: str, dataset: str) -> Claim:
    """Three layers against the whole model."""
    whole = int(table["n_layers"].max())
    features = table[table["what"] == "features"].set_index("n_layers")["share_of_plain"]
    first, texts = int(features.index.min()), int(table["n_texts"].iloc[0])
    ratio = float(features[whole] / features[first])
    note = (
        f"{whole} layers against {first}, {texts} texts one at a time; all features take "
        f"{features[whole]:.2f} of a plain pass. Holds if the speed-up is at least three quarters "
        f"of {whole}/{first}."
    )
    if first == whole:
        why = "no fewer layers than all were timed; the key toxicity.early_exit.n_layers names them"
        return FAST_EXIT.untested(
            model, dataset, why=why, evidence=texts, measured_value=ratio, note=note
        )
    return FAST_EXIT.judged(
        model,
        dataset,
        evidence=texts,
        measured_value=ratio,
        holds=bool(ratio >= 0.75 * whole / first),
        note=note,
    )
