"""Every verdict of the toxicity study on tables made by hand, from its criterion."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from llm_anatomy.tables.detectors import DETECTORS
from llm_anatomy.tables.detectors import TABLES as DETECTOR_TABLES
from llm_anatomy.tables.toxicity import (
    ABLATIONS,
    EARLY_EXIT,
    FOLDS,
    HARD_NEGATIVES,
    HUB_METRICS,
    METRICS,
    SELF_TRAINING,
    TABLES,
)
from llm_anatomy.toxicity.claims import ToxicityScope, toxicity_claims
from llm_anatomy.toxicity.statements import OF_ONE_LABEL, STATEMENTS

from tests.unit.verdicts import (
    Case,
    Claim,
    Row,
    any_evidence,
    at,
    by_name,
    check_least_evidence,
    check_nothing_vanished,
    collect,
    missing_cases,
)

ALL = (*TABLES, *DETECTOR_TABLES)
LINEAR = Claim(
    "Logistic regression on the spline features of all layers detects toxicity almost perfectly.",
    "% ROC-AUC",
    "Holds where the whole interval is at 98 % or more.",
)
LENGTH = Claim(
    "The score is not text length in disguise (the paper has no such baseline).",
    "points of ROC-AUC",
    "Holds if the interval is above the other's.",
)
PUBLIC = Claim(
    "Spline features detect toxicity better than public classifiers.",
    "points of ROC-AUC",
    "Difference to the best of them; holds if the interval is above the other's.",
)
EARLY = Claim(
    "A random forest on the first three layers loses less than five points.", "points of ROC-AUC"
)
GROUPS = Claim(
    "Features 1 to 4 (active share) carry the signal; features 5 to 7 (distance) add little.",
    "points of ROC-AUC",
    "Holds if 1-4 are above 5-7 and within two points of all.",
)
DEEPER = Claim(
    "Every further layer helps: the score grows from the first layer to all.",
    "Spearman correlation",
    "Rank correlation of layers and score; holds above 0.8.",
)
FEW = Claim(
    "With 5 % of the labels and self-training the score falls by about one point.",
    "points of ROC-AUC",
    "Holds below three points.",
)
DOMAINS = Claim(
    "Spline features tell domains apart almost perfectly.",
    "% ROC-AUC",
    "Holds where the whole interval is at 98 % or more.",
)
NEGATIVES = Claim(
    "Without clean texts of the toxic texts' own source the score is far higher.",
    "points of ROC-AUC",
    "Holds if the interval with easy ones is above that with both.",
)
ADDITION = Claim(
    "Spline features add to what the hidden state tells (the paper has no such baseline).",
    "points of ROC-AUC",
    "Bootstrap interval of the difference, over texts; holds if all of it is above 0.",
)
LATENCY = Claim(
    "Reading three layers is about twelve times as fast as reading all.",
    "times",
    "Holds if the speed-up is at least three quarters of",
)
JIGSAW = Claim("On Jigsaw's official test set boosted trees score above the Kaggle winner.", "")

FOREST, REGRESSION = "random_forest", "logistic_regression"
NO_INTERVAL = (0.0, 1.0)


def opposites(row: Row) -> list[Row]:
    """A row of ROC-AUC behind rows that say the opposite, of what no claim is about."""
    against = {"value": 1 - row["value"], "low": 1 - row["high"], "high": 1 - row["low"]}
    return [
        row | against | {"metric": "average_precision"},
        row | against | {"metric": "tpr_at_fpr_0.01"},
        row | against | {"metric": "roc_auc", "label": "other"},
        row | {"metric": "roc_auc"},
    ]


def both_classifiers(row: Row) -> list[Row]:
    """The same of one classifier, behind the opposite of another."""
    other = FOREST if row["classifier"] == REGRESSION else REGRESSION
    against = {"value": 1 - row["value"], "low": 1 - row["high"], "high": 1 - row["low"]}
    return opposites(row | against | {"classifier": other}) + opposites(row)


def area(value: float, interval: tuple[float, float] = NO_INTERVAL, label: str = "toxic") -> Row:
    low, high = interval
    return {"label": label, "value": value, "low": low, "high": high, "n_test": 40, "n_folds": 5}


def metrics(
    spline: float | None,
    interval: tuple[float, float] = NO_INTERVAL,
    *,
    label: str = "toxic",
    first_layers: float | None = None,
    **baselines: tuple[float, tuple[float, float]],
) -> list[Row]:
    """ROC-AUC of the spline features, of their first layers with a forest, and of baselines."""
    rows: list[Row] = []
    if spline is not None:
        own = {"feature_set": "spline", "classifier": REGRESSION}
        rows += both_classifiers(area(spline, interval, label) | own)
    if first_layers is not None:
        for name, value in (
            ("spline_first_1_layers", 1 - first_layers),
            ("spline_first_3_layers", first_layers),
        ):
            own = {"feature_set": name, "classifier": FOREST}
            rows += both_classifiers(area(value) | own)
    for name, (value, ends) in baselines.items():
        own = {"feature_set": name, "classifier": REGRESSION}
        rows += opposites(area(value, ends, label) | own)
    return rows


def public(
    *scores: tuple[str, float, tuple[float, float], float],
) -> dict[str, list[Row]]:
    """Classifiers by name, each with ROC-AUC, interval and ROC-AUC of its answers."""
    tables = {}
    for name, value, interval, by_answer in scores:
        own = {"feature_set": f"hub:{name}", "classifier": "none"}
        answers = area(by_answer) | own | {"metric": "roc_auc_hard_label"}
        tables[name] = [*opposites(area(value, interval) | own), answers]
    return tables


def groups(shares: float, distances: float) -> list[Row]:
    """Ablations by groups of features; single features and layers say the opposite."""
    rows = []
    for kind, features, value in (
        ("feature", "1-4", 1 - shares),
        ("feature", "5-7", 1 - distances),
        ("features", "1-4", shares),
        ("features", "5-7", distances),
        ("layer", "5-7", 1 - distances),
    ):
        own = {"kind": kind, "features": features, "classifier": REGRESSION}
        rows += both_classifiers(area(value) | own)
    return rows


def depth(*values: float) -> list[Row]:
    """Ablations of the first layers, from behind; single layers say the opposite."""
    rows = []
    for layer, value in reversed(list(enumerate(values))):
        for kind, number in (("layer", 1 - value), ("first_layers", value)):
            own = {"kind": kind, "layer": layer, "features": "1-7", "classifier": REGRESSION}
            rows += both_classifiers(area(number) | own)
    return rows


def few(value: float, rate: float = 0.05) -> list[Row]:
    """Self-training; with more labels, and without it, the opposite."""
    rows = []
    for share, training, number in (
        (0.2, "self_training", 1 - value),
        (rate, "labelled_only", 1 - value),
        (rate, "self_training", value),
    ):
        own = {"label_rate": share, "training": training, "n_labelled": 12}
        rows += both_classifiers(area(number) | own | {"classifier": REGRESSION})
    return rows


def negatives(easy: float, both: float, hard: float = 0.8, length: float = 0.6) -> list[Row]:
    """Negatives of three kinds; text length says the opposite."""
    rows = []
    for kind, features, value in (
        ("easy", "length", length),
        ("both", "length", 1.0),
        ("hard", "length", 0.1),
        ("hard", "spline", hard),
        ("easy", "spline", easy),
        ("both", "spline", both),
    ):
        own = {"dataset": "texts", "easy": "chats", "negatives": kind, "feature_set": features}
        row = own | {"label": "toxic", "classifier": REGRESSION, "value": value}
        row |= {"low": value - 0.02, "high": value + 0.02}
        rows += [row | {"metric": "roc_auc"}, row | {"metric": "average_precision", "value": 0.5}]
    return rows


def timed(shares: dict[int, float]) -> list[Row]:
    """Cost of the features of the first layers, as a share of the plain pass; other costs lie."""
    whole = max(shares)
    own = {"n_texts": 50, "n_tokens": 900}
    rows = [{"what": "plain", "n_layers": whole, "share_of_plain": 1.0, "median_ms": 7.0} | own]
    return rows + [
        {
            "what": "features",
            "n_layers": n,
            "share_of_plain": share,
            "median_ms": 5.0,
            "p95_ms": 6.0,
        }
        | own
        for n, share in shares.items()
    ]


def labelled(*texts: Iterable[str], labels: Iterable[str]) -> list[Row]:
    """Texts with the labels that each has."""
    return [
        {"text_id": f"t{i}", "label": label, "truth": label in own}
        for i, own in enumerate(texts)
        for label in labels
    ]


def added(gain: float | None, low: float = -1, high: float = 1, label: str = "toxic") -> list[Row]:
    """Spline features beside the state of layer 7; a rarer label says the opposite."""
    values = {"tfidf": 0.1, "spline": 0.7, "mean_state_layer_3": 0.2, "mean_state_layer_7": 0.8}
    values |= {"spline_and_state": 0.85}
    rows: list[Row] = []
    for name, value in values.items():
        own = {"feature_set": name, "classifier": REGRESSION, "n_test": 40, "metric": "roc_auc"}
        rows.append(own | {"label": "rare", "value": 1 - value, "n_positive": 5})
        rows.append(own | {"label": label, "value": value, "n_positive": 20})
        rows.append(own | {"label": label, "value": 0, "n_positive": 20, "metric": "brier"})
    if gain is not None:
        own = {"feature_set": "spline_and_state", "metric": "gain_over_state", "n_test": 40}
        own |= {"beyond": "mean_state_layer_7"}
        against = {"value": -gain, "low": -high, "high": -low}
        rows.append(own | against | {"label": "rare", "n_positive": 5})
        rows.append(
            own | {"label": label, "n_positive": 20, "value": gain, "low": low, "high": high}
        )
    return rows


KINDS = ("code", "law", "maths")


def domains(code: float, law: float, maths: float, **more: Any) -> dict[str, list[Row]]:
    """Three classes that exclude each other, with intervals of 0.01 on both sides."""
    values = dict(zip(KINDS, (code, law, maths), strict=True))
    rows = [
        row
        for label, value in values.items()
        for row in metrics(value, (value - 0.01, value + 0.01), label=label)
    ]
    return {"folds": labelled(*[[kind] for kind in KINDS], labels=KINDS), "metrics": rows} | more


USUAL: dict[str, Any] = {
    "folds": labelled(["toxic"], [], labels=["toxic"]),
    "metrics": metrics(0.99, (0.98, 1.0), first_layers=0.97, length=(0.6, (0.5, 0.7))),
    "ablations": groups(0.98, 0.7) + depth(0.7, 0.8, 0.9),
    "self_training": few(0.98),
    "hard_negatives": negatives(0.99, 0.9),
    "detectors": added(0.05, 0.01, 0.09),
    "early_exit": timed({1: 0.25, 4: 1.0}),
    "classifiers": public(("detox", 0.8, (0.7, 0.9), 0.75)),
    "comparisons": [("texts", "chats")],
}


def tables_of(model: str, dataset: str, tables: dict[str, Any]) -> dict[str, list[Row]]:
    owner = {"model": model, "dataset": dataset, "easy": "chats"}
    schemas = (FOLDS, METRICS, ABLATIONS, SELF_TRAINING, HARD_NEGATIVES, EARLY_EXIT, DETECTORS)
    made = {at(schema, **owner): tables[schema.name.split("/")[1]] for schema in schemas}
    for name, rows in tables["classifiers"].items():
        made[at(HUB_METRICS, dataset=dataset, classifier=name)] = rows
    return made


def claimed(folder: Path, tables: dict[str, Any]) -> list[Row]:
    scope = ToxicityScope(
        models=["tiny"],
        datasets=["texts"],
        hub_classifiers=list(tables["classifiers"]),
        comparisons=tables["comparisons"],
        compared=["texts"],
    )
    made = tables_of("tiny", "texts", tables)
    return toxicity_claims(collect(folder, ALL, made), scope)


def spline(value: float | None, *interval: float, **more: Any) -> dict[str, list[Row]]:
    ends = interval or NO_INTERVAL
    return {"metrics": metrics(value, (ends[0], ends[1]), **more)}


DETECTION = [
    Case(
        LINEAR,
        "all of it from 98 % on",
        spline(0.985, 0.98, 0.99),
        True,
        98.5,
        (98, 99),
        ("texts, label toxic, 40 texts, 5 folds",),
    ),
    Case(
        LINEAR,
        "98 %, with an interval below",
        spline(0.98, 0.9, 0.99),
        None,
        98,
        (90, 99),
        undecided=True,
    ),
    Case(LINEAR, "97 %, up to 98 %", spline(0.97, 0.95, 0.98), None, 97, (95, 98), undecided=True),
    Case(LINEAR, "97 %, up to 97.9 %", spline(0.97, 0.95, 0.979), False, 97, (95, 97.9)),
    Case(LINEAR, "not measured", spline(None), None),
    Case(LINEAR, "two labels", {"folds": labelled(["toxic"], ["b"], labels=["toxic", "b"])}, None),
    Case(
        LENGTH,
        "above the whole interval of length",
        spline(0.9, 0.86, 0.95, length=(0.7, (0.6, 0.85)), tfidf=(0.83, NO_INTERVAL)),
        True,
        20,
        note=(
            "spline features 90.0 %, length alone 70.0 %",
            "Beside them: tfidf 83.0 %.",
        ),
    ),
    Case(
        LENGTH,
        "twenty points above, and the intervals overlap",
        spline(
            0.9,
            0.8,
            0.95,
            length=(0.7, (0.6, 0.85)),
            mean_state_layer_2=(0.91, NO_INTERVAL),
            last_state_layer_2=(0.92, NO_INTERVAL),
            intrinsic_dimension=(0.5, NO_INTERVAL),
        ),
        None,
        20,
        note=("Beside them: mean_state_layer_2 91.0 %.",),
        undecided=True,
    ),
    Case(
        LENGTH,
        "intervals that touch",
        spline(0.9, 0.85, 0.95, length=(0.7, (0.6, 0.85))),
        None,
        20,
        note=("no other baseline",),
        undecided=True,
    ),
    Case(LENGTH, "below", spline(0.6, 0.5, 0.7, length=(0.9, (0.8, 1.0))), False, -30),
    Case(LENGTH, "length not measured", spline(0.9), None),
    Case(
        PUBLIC,
        "above the whole interval of the best",
        spline(0.9, 0.86, 0.95)
        | {
            "classifiers": public(
                ("a", 0.5, (0.4, 0.99), 0.55),
                ("b", 0.7, (0.6, 0.85), 0.65),
                ("c", 0.6, (0.5, 0.99), 0.95),
            )
        },
        True,
        20,
        note=(
            "texts, label toxic: spline features 90.0 %",
            "a 50.0 % (55.0 % by its yes-or-no answer); b 70.0 % (65.0 % by its yes-or-no answer); "
            "c 60.0 % (95.0 %",
        ),
    ),
    Case(
        PUBLIC,
        "twenty points above, and the intervals overlap",
        spline(0.9, 0.84, 0.95) | {"classifiers": public(("a", 0.7, (0.6, 0.85), 0.5))},
        None,
        20,
        undecided=True,
    ),
    Case(
        PUBLIC,
        "intervals that touch",
        spline(0.9, 0.85, 0.95) | {"classifiers": public(("a", 0.7, (0.6, 0.85), 0.5))},
        None,
        20,
        undecided=True,
    ),
    Case(
        PUBLIC,
        "below",
        spline(0.6, 0.5, 0.7) | {"classifiers": public(("a", 0.9, (0.8, 0.99), 0.1))},
        False,
        -30,
    ),
    Case(PUBLIC, "no classifier", {"classifiers": {}}, None, note=("Not tested: the key",)),
    Case(PUBLIC, "our own score is missing", spline(None), None, note=("Not tested",)),
    Case(
        EARLY,
        "4 points less",
        spline(0.95, first_layers=0.91),
        True,
        4,
        note=("texts, label toxic: 91.0 % against 95.0 %.",),
    ),
    Case(EARLY, "more", spline(0.8, first_layers=0.9), True, -10),
    # Numbers whose difference is 5 to the last bit.
    Case(EARLY, "5 points less", spline(0.1, first_layers=0.05), False, 5),
    Case(EARLY, "6 points less", spline(0.95, first_layers=0.89), False, 6),
    Case(EARLY, "not measured", spline(0.95), None),
    Case(EARLY, "nothing to compare with", spline(None, first_layers=0.9), None),
]
PARTS = [
    Case(
        GROUPS,
        "all but a point",
        spline(0.9) | {"ablations": groups(0.89, 0.7)},
        True,
        19,
        note=("features 1-4 89.0 %, 5-7 70.0 %, all seven 90.0 %",),
    ),
    Case(GROUPS, "more than all", spline(0.9) | {"ablations": groups(0.95, 0.94)}, True, 1),
    # Numbers whose difference is 0.02 to the last bit.
    Case(GROUPS, "two points less", spline(0.04) | {"ablations": groups(0.02, 0.01)}, False, 1),
    Case(GROUPS, "three points less", spline(0.9) | {"ablations": groups(0.87, 0.5)}, False, 37),
    Case(GROUPS, "as much as distances", spline(0.9) | {"ablations": groups(0.9, 0.9)}, False, 0),
    Case(GROUPS, "less than distances", spline(0.9) | {"ablations": groups(0.89, 0.9)}, False, -1),
    Case(GROUPS, "not measured", {"ablations": depth(0.7, 0.8, 0.9)}, None),
    Case(GROUPS, "nothing to compare with", spline(None), None),
    Case(DEEPER, "three layers, each better", {"ablations": depth(0.5, 0.6, 0.7)}, True, 1),
    Case(
        DEEPER,
        "one of five before its turn",
        {"ablations": depth(0.5, 0.6, 0.7, 0.9, 0.8)},
        True,
        0.9,
        note=(
            "texts, label toxic: 50.0 % with the first layer, 90.0 % at best (first 4 layers), "
            "80.0 % with all",
        ),
    ),
    Case(
        DEEPER, "two before their turn", {"ablations": depth(0.6, 0.5, 0.8, 0.7, 0.9)}, False, 0.8
    ),
    Case(DEEPER, "each worse", {"ablations": depth(0.8, 0.7, 0.6)}, False, -1),
    Case(
        DEEPER,
        "each better, of features that tell nothing apart",
        spline(0.55, 0.5, 0.6) | {"ablations": depth(0.5, 0.52, 0.55)},
        None,
        note=("do not tell the label apart better than chance",),
    ),
    Case(DEEPER, "two layers", {"ablations": depth(0.5, 0.6)}, None),
    Case(
        FEW,
        "two points less",
        spline(0.95) | {"self_training": few(0.93)},
        True,
        2,
        note=("texts, label toxic: 93.0 % from 12 labels per fold",),
    ),
    # Numbers whose difference is 3 to the last bit.
    Case(FEW, "three points less", spline(0.1) | {"self_training": few(0.07)}, False, 3),
    Case(FEW, "half as much", spline(0.9) | {"self_training": few(0.45)}, False, 45),
    Case(FEW, "other shares of labels", {"self_training": few(0.9, rate=0.1)}, None),
    Case(FEW, "nothing to compare with", spline(None), None),
]
OTHERS = [
    Case(
        DOMAINS,
        "the worst has 99.1 %",
        domains(1.0, 0.991, 1.0),
        True,
        99.1,
        (98.1, 100.1),
        ("texts: the worst of 3 domains against the rest, law; mean 99.7 %.",),
    ),
    Case(
        DOMAINS,
        "the worst has 96 %",
        domains(1.0, 1.0, 0.96),
        False,
        96,
        (95, 97),
        ("the worst of 3 domains against the rest, maths; mean 98.7 %.",),
    ),
    Case(
        DOMAINS,
        "the worst has 98 %, by the point",
        domains(1.0, 1.0, 0.98),
        None,
        98,
        (97, 99),
        undecided=True,
    ),
    Case(DOMAINS, "one label", {}, None),
    Case(
        DOMAINS,
        "two classes",
        domains(1, 1, 1, folds=labelled(["code"], ["law"], labels=KINDS[:2])),
        None,
    ),
    Case(
        DOMAINS,
        "a text of two domains",
        domains(1, 1, 1, folds=labelled(["code"], ["law"], ["maths", "law"], labels=KINDS)),
        None,
    ),
    Case(
        DOMAINS,
        "a text of none",
        domains(1, 1, 1, folds=labelled(["code"], ["law"], ["maths"], [], labels=KINDS)),
        None,
    ),
    Case(
        NEGATIVES,
        "easy ones are told apart better",
        {"hard_negatives": negatives(0.95, 0.9, 0.85, 0.65)},
        True,
        5,
        note=(
            "texts against chats: 95.0 % with easy negatives alone, 90.0 % with both, 85.0 % with "
            "hard ones alone; text length alone reaches 65.0 % on easy negatives.",
        ),
    ),
    Case(
        NEGATIVES,
        "by the point alone",
        {"hard_negatives": negatives(0.93, 0.9)},
        None,
        3,
        undecided=True,
    ),
    Case(NEGATIVES, "as well", {"hard_negatives": negatives(0.9, 0.9)}, None, 0, undecided=True),
    Case(NEGATIVES, "worse", {"hard_negatives": negatives(0.8, 0.9, 0.7)}, False, -10),
    Case(NEGATIVES, "nothing to compare", {"comparisons": []}, None),
    Case(
        ADDITION,
        "the whole interval is above zero",
        {"detectors": added(0.05, 0.01, 0.09)},
        True,
        5,
        (1, 9),
        note=(
            "texts, label toxic, logistic regression on the same folds: spline features 70.0 %, "
            "mean state of layer 7, which the inner folds prefer, 80.0 %, both together 85.0 %.",
        ),
    ),
    Case(
        ADDITION,
        "zero is in it",
        {"detectors": added(0.05, 0.0, 0.1)},
        None,
        5,
        (0, 10),
        undecided=True,
    ),
    Case(ADDITION, "worse", {"detectors": added(-0.02, -0.03, -0.01)}, False, -2, (-3, -1)),
    Case(ADDITION, "not measured", {"detectors": added(None)}, None),
    Case(
        LATENCY,
        "three quarters of four times",
        {"early_exit": timed({2: 0.5, 4: 0.75, 1: 0.25})},
        True,
        3,
        note=(
            "4 layers against 1, 50 texts one at a time; all features take 0.75 of a plain pass.",
            "at least three quarters of 4/1.",
        ),
    ),
    Case(LATENCY, "a little less", {"early_exit": timed({4: 0.74, 1: 0.25})}, False, 2.96),
    Case(
        LATENCY,
        "compared with what was read first, not with one layer",
        {"early_exit": timed({8: 1.0, 2: 0.33})},
        True,
        1 / 0.33,
        note=("8 layers against 2",),
    ),
    Case(LATENCY, "slower", {"early_exit": timed({8: 0.5, 4: 1.0})}, False, 0.5),
    Case(LATENCY, "only the whole model", {"early_exit": timed({4: 1.1})}, None, 1),
    Case(JIGSAW, "always", {}, None, note=("Not tested: needs the Jigsaw data.",)),
]
CASES = [*DETECTION, *PARTS, *OTHERS]
NEVER = {JIGSAW: (True, False)}

__all__ = ["any_evidence"]
pytestmark = pytest.mark.usefixtures("any_evidence")


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_verdict_follows_from_its_tables(case: Case, tmp_path: Path) -> None:
    case.check(claimed(tmp_path, USUAL | dict(case.changes)))


def test_every_claim_has_cases_for_and_against_it(tmp_path: Path) -> None:
    one_label = [row["claim"] for row in claimed(tmp_path / "label", USUAL)]
    assert len(one_label) == len(set(one_label))
    several = [
        row["claim"] for row in claimed(tmp_path / "classes", USUAL | domains(0.99, 0.99, 0.99))
    ]
    assert sorted(one_label) == sorted(several) == sorted(each.sentence for each in STATEMENTS)
    sentences = {*one_label, *several}
    assert missing_cases(sentences, CASES, NEVER) == []
    assert {case.claim.sentence for case in CASES} == sentences


def test_verdicts_are_of_the_models_and_data_sets_asked_for(tmp_path: Path) -> None:
    against = USUAL | {
        "metrics": metrics(0.6, (0.55, 0.65), first_layers=0.5, length=(0.8, (0.7, 0.9))),
        "ablations": groups(0.5, 0.7) + depth(0.9, 0.8, 0.7),
        "self_training": few(0.4),
        "hard_negatives": negatives(0.8, 0.9),
        "detectors": added(-0.02, -0.03, -0.01),
        "early_exit": timed({1: 0.9, 4: 1.0}),
    }
    made = tables_of("bad", "texts", against) | tables_of("good", "texts", USUAL)
    made |= tables_of("bad", "other", USUAL) | tables_of("good", "other", against)
    tables = collect(tmp_path, ALL, made)

    def verdicts(datasets: list[str], easy: list[tuple[str, str]]) -> dict[str, list[object]]:
        scope = ToxicityScope(
            models=["good", "bad"],
            datasets=datasets,
            hub_classifiers=["detox"],
            comparisons=easy,
            compared=datasets[:1],
        )
        found: dict[str, list[object]] = {}
        for row in toxicity_claims(tables, scope):
            found.setdefault(row["claim"], []).append((row["model"], row["holds"]))
        return found

    found = verdicts(["texts"], [("texts", "chats")])
    assert found.pop(JIGSAW.sentence) == [("good", None), ("bad", None)]
    assert found.pop(DOMAINS.sentence) == [("good", None), ("bad", None)]
    judged = {case.claim.sentence for case in CASES} - {JIGSAW.sentence, DOMAINS.sentence}
    assert found == {sentence: [("good", True), ("bad", False)] for sentence in judged}
    found = verdicts(["other", "texts"], [])
    assert found[NEGATIVES.sentence] == [("good", None), ("bad", None)]
    # Time does not depend on what is read: one data set tells.
    assert found[LATENCY.sentence] == [("good", False), ("bad", True)]
    of_good, of_bad = [("good", False), ("good", True)], [("bad", True), ("bad", False)]
    assert found[LINEAR.sentence] == found[PUBLIC.sentence] == of_good + of_bad


BARE = {"ablations": [], "self_training": [], "classifiers": {}, "comparisons": []}
# What settings leave away, and how many claims they leave without a verdict.
LEFT_AWAY: list[tuple[dict[str, Any], int]] = [
    ({}, 2),
    ({"metrics": metrics(0.99, (0.98, 1.0), length=(0.6, (0.5, 0.7)))}, 3),
    ({"self_training": few(0.9, rate=0.2)}, 3),
    (
        {
            "metrics": metrics(0.99, (0.98, 1.0), length=(0.6, (0.5, 0.7))),
            "self_training": few(0.9, rate=0.2),
        },
        4,
    ),
    ({"metrics": metrics(0.99, (0.98, 1.0), first_layers=0.97)}, 3),
    ({"metrics": metrics(None)}, 9),
    ({"metrics": []}, 9),
    ({"ablations": []}, 4),
    ({"ablations": groups(0.9, 0.8)}, 3),
    (BARE, 7),
    ({"early_exit": timed({4: 1.0})}, 3),
    ({"folds": labelled(["toxic"], ["b"], labels=["toxic", "b"])}, 9),
    (domains(0.995, 0.995, 0.995), 8),
    (domains(0.99, 0.99, 0.99, metrics=[]), 9),
]


@pytest.mark.parametrize(("changes", "untested"), LEFT_AWAY)
def test_no_claim_vanishes(changes: dict[str, Any], untested: int, tmp_path: Path) -> None:
    rows = claimed(tmp_path, USUAL | changes)
    check_nothing_vanished(rows, STATEMENTS)
    assert sum(row["holds"] is None for row in rows) == untested


def test_equal_claims_are_told_apart_by_their_data_set(tmp_path: Path) -> None:
    made = tables_of("m", "one", USUAL) | tables_of("m", "two", USUAL)
    scope = ToxicityScope(
        models=["m"],
        datasets=["one", "two"],
        hub_classifiers=["detox"],
        comparisons=[("one", "chats")],
        compared=["one"],
    )
    rows = toxicity_claims(collect(tmp_path, ALL, made), scope)
    check_nothing_vanished(rows, STATEMENTS)
    found = {
        s.sentence: [r["dataset"] for r in rows if r["claim"] == s.sentence] for s in STATEMENTS
    }
    assert [found[each.sentence] for each in OF_ONE_LABEL] == [["one", "two"]] * 7
    assert found[LATENCY.sentence] == ["one"]
    assert found[JIGSAW.sentence] == [""]


def test_every_claim_needs_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_least_evidence(monkeypatch, lambda: claimed(tmp_path, USUAL), len(STATEMENTS) - 2)


def counted(rows: list[Row], positive: int, texts: int = 40) -> list[Row]:
    return [row | {"n_positive": positive, "n_test": texts} for row in rows]


@pytest.mark.parametrize(("positive", "judged"), [(9, False), (10, True), (30, True), (31, False)])
def test_ten_texts_of_each_class_are_needed(
    positive: int, judged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    changes = {
        "metrics": counted(USUAL["metrics"], positive),
        "hard_negatives": counted(USUAL["hard_negatives"], positive),
    }
    rows = {row["claim"]: row for row in claimed(tmp_path, USUAL | changes)}
    for claim in (LINEAR, LENGTH, PUBLIC, EARLY, GROUPS, FEW, NEGATIVES):
        row = rows[claim.sentence]
        assert (row["holds"] is not None) == judged
        assert (row["evidence"], row["least_evidence"]) == (min(positive, 40 - positive), 10)
    # These are judged by layers and by time.
    assert rows[DEEPER.sentence]["evidence"] == 3
    assert rows[DEEPER.sentence]["holds"] is None
    assert rows[LATENCY.sentence]["holds"] is True


@pytest.mark.parametrize(("low", "judged"), [(0.5, False), (0.501, True)])
def test_what_is_not_told_apart_cannot_be_lost(
    low: float, judged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    own = metrics(0.52, (low, 0.6), first_layers=0.51, length=(0.51, (0.49, 0.6)))
    changes = {
        "metrics": counted(own, 20),
        "ablations": groups(0.52, 0.51) + depth(0.5, 0.51, 0.52, 0.53),
        "self_training": few(0.52),
    }
    rows = {row["claim"]: row for row in claimed(tmp_path, USUAL | changes)}
    for claim in (EARLY, GROUPS, FEW):
        assert rows[claim.sentence]["holds"] is (True if judged else None)
        assert rows[claim.sentence]["evidence"] == (20 if judged else 0)
    assert rows[LINEAR.sentence]["holds"] is False
    assert rows[DEEPER.sentence]["holds"] is (True if judged else None)
