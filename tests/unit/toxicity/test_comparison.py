"""Detectors beside each other: thresholds, calibration, what spline features add, and no leak."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.config.detectors import DetectorComparison
from llm_anatomy.config.toxicity import (
    Baselines,
    Classifiers,
    EarlyExit,
    Folds,
    Scoring,
)
from llm_anatomy.geometry.activations import Traces, read_traces
from llm_anatomy.statistics.intervals import exact_interval, exact_interval_of_sets
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION, SPLINE_FEATURES, TRACES
from llm_anatomy.toxicity import operating
from llm_anatomy.toxicity.asking import Asked
from llm_anatomy.toxicity.classifiers import Choice, LogisticRecipe
from llm_anatomy.toxicity.compared import Compared, compare_detectors
from llm_anatomy.toxicity.comparison import ComparisonSettings, Inputs
from llm_anatomy.toxicity.detection import DetectionSettings, OtherFeatures, detect
from llm_anatomy.toxicity.evaluate import LabelledTexts
from llm_anatomy.toxicity.extended import further_features, text_quantiles
from llm_anatomy.toxicity.features import Dense
from llm_anatomy.toxicity.folds import split_texts
from llm_anatomy.toxicity.operating import (
    calibration_error,
    error_if_calibrated,
    mean_interval,
    negatives_needed,
    operate,
    platt,
    reliability,
    threshold,
)
from llm_anatomy.toxicity.token_probes import Tokens
from sklearn.metrics import roc_auc_score

from tests.unit.toxicity.tables import write_inputs

N, VOCAB, WIDTH = 150, 60, 12
ABOUT = {
    "dataset": "made",
    "seed": 0,
    "provenance": {"model": "tiny", "weights_sha256": "a" * 64},
}
COMMON = {
    "seed": 0,
    "folds": Folds(),
    "classifiers": Classifiers(names=["logistic_regression"], c=[0.01, 1.0], c_tfidf=[1.0]),
    "scoring": Scoring(resamples=100),
    "baselines": Baselines(names=["length", "tfidf", "mean_state"]),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inputs, ComparisonSettings, Compared]:
    """Spline features and mean states that tell `bad`, and asked texts whose token 7 tells it."""
    inputs = write_inputs(tmp_path_factory.mktemp("compared"), n=N)
    texts = read_table(inputs.texts, TEXTS)
    spline = read_table(inputs.spline_features, SPLINE_FEATURES)
    folds = split_texts(texts, COMMON["folds"], 0, "made").folds
    bad = texts["label_bad"].to_numpy(bool)
    rng = np.random.default_rng(1)
    mean = rng.normal(size=(N, 5))
    mean[:, 0] += 1.5 * bad
    states = {("mean", 1): mean}
    others = OtherFeatures(
        texts, read_table(inputs.intrinsic_dimension, INTRINSIC_DIMENSION), list(texts["text_id"]),
        states,
    )  # fmt: skip
    before = detect(spline, folds, others, DetectionSettings(early_exit=EarlyExit(), **COMMON))
    lengths = rng.integers(3, 9, size=N)
    tokens = rng.normal(size=(lengths.sum(), WIDTH)).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    tokens[starts + rng.integers(0, 3, size=N), 2] += 5 * bad
    features = rng.normal(size=(N, VOCAB)).astype(np.float32)
    features[:, 7] += 1.5 * bad
    features[:, 9] -= 1.5 * bad
    # In another order than the texts, as nothing promises the same one.
    order = rng.permutation(N)
    asked = Asked(
        [texts["text_id"][i] for i in order],
        features[order],
        Tokens(tokens, lengths).of(order),
        np.full(N, 2),
        1,
        [f"<{i}>" for i in range(VOCAB)],
        np.isin(order, [3, 5]),
    )
    further = list(texts["text_id"]), rng.normal(size=(N, 4, 7)) + bad[:, None, None]
    given_ = Inputs(spline, folds, others, further, before.predictions, before.choices, asked)
    comparison = DetectorComparison(penalties=[0.5, 0.2], steps=150, probe_penalties=[0.01])
    asked_for = ComparisonSettings(comparison=comparison, **COMMON)
    return given_, asked_for, compare_detectors(given_, asked_for, ABOUT)


def of(table: pd.DataFrame, metric: str) -> "pd.Series[float]":
    return table[table["metric"] == metric].set_index("feature_set")["value"]


def test_every_method_is_measured_on_the_same_texts(made: tuple) -> None:
    _, _, result = made
    methods = set(zip(result.detectors["feature_set"], result.detectors["classifier"], strict=True))
    logistic = "logistic_regression"
    assert methods == {
        *((n, logistic) for n in ("spline", "length", "tfidf", "mean_state_layer_1")),
        ("spline_and_state", logistic),
        ("spline_extended", logistic),
        ("first_token", "sparse_logistic"),
        ("token_states", "attention_probe"),
        ("token_states", "max_probe"),
    }
    assert set(result.detectors["label"]) == {"bad"}
    assert set(result.detectors["n_test"]) == {N}
    areas = result.detectors[result.detectors["metric"] == "roc_auc"]
    assert (areas["low"] <= areas["value"]).all()
    assert (areas["value"] <= areas["high"]).all()
    by_name = areas.set_index(["feature_set", "classifier"])["value"]
    assert by_name["token_states", "max_probe"] > 0.9
    assert by_name["first_token", "sparse_logistic"] > 0.85
    assert by_name["spline_extended", logistic] > by_name["spline", logistic]
    assert by_name["length", logistic] < 0.65


def test_earlier_detectors_keep_their_scores(made: tuple) -> None:
    given_, _, result = made
    label = given_.predictions[given_.predictions["label"] == "bad"]
    areas = of(result.detectors, "roc_auc")
    for name in ("spline", "tfidf", "mean_state_layer_1"):
        own = label[label["feature_set"] == name]
        folds = [part for _, part in own.groupby("fold")]
        by_fold = [roc_auc_score(part["truth"], part["score"]) for part in folds]
        pairs = [part["truth"].sum() * (~part["truth"]).sum() for part in folds]
        assert areas[name] == pytest.approx(np.average(by_fold, weights=pairs))


def test_what_spline_features_add_is_the_difference_on_the_same_texts(made: tuple) -> None:
    _, _, result = made
    areas = of(result.detectors, "roc_auc")
    gain = result.detectors[result.detectors["metric"] == "gain_over_state"].iloc[0]
    assert gain["value"] == pytest.approx(areas["spline_and_state"] - areas["mean_state_layer_1"])
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    # Paired: narrower than the two areas' own intervals would have it.
    both = result.detectors[
        (result.detectors["metric"] == "roc_auc")
        & result.detectors["feature_set"].isin(["spline_and_state", "mean_state_layer_1"])
    ]
    assert gain["high"] - gain["low"] < (both["high"] - both["low"]).sum()


def test_the_state_beside_spline_features_is_the_one_that_inner_folds_prefer(made: tuple) -> None:
    """A layer that tells nothing stands first; beside it spline features would add far more."""
    given_, asked_for, result = made
    noise = np.random.default_rng(5).normal(size=(N, 5))
    others = replace(given_.others, states={("mean", 0): noise, **given_.others.states})
    folds, spline = given_.folds, given_.spline_features
    before = detect(spline, folds, others, DetectionSettings(early_exit=EarlyExit(), **COMMON))
    inputs = replace(given_, others=others, predictions=before.predictions, choices=before.choices)
    methods = DetectorComparison(methods=["spline_and_state"])
    settings = asked_for.model_copy(update={"comparison": methods})
    found = compare_detectors(inputs, settings, ABOUT).detectors
    columns = ["metric", "beyond", "value", "low", "high"]
    gains = [table[table["metric"] == "gain_over_state"] for table in (found, result.detectors)]
    assert gains[0]["beyond"].tolist() == ["mean_state_layer_1"]
    assert gains[0][columns].values.tolist() == gains[1][columns].values.tolist()
    assert of(found, "roc_auc")["mean_state_layer_0"] < 0.65
    assert found[found["metric"] != "gain_over_state"]["beyond"].isna().all()


def test_skill_is_what_of_the_base_rates_error_is_left_out(made: tuple) -> None:
    given_, _, result = made
    truth = given_.predictions.drop_duplicates("text_id")["truth"]
    assert len(truth) == N
    by_chance = truth.mean() * (1 - truth.mean())
    error, skill = of(result.detectors, "brier"), of(result.detectors, "brier_skill")
    assert len(error) > 5
    np.testing.assert_allclose(skill, 1 - error / by_chance)


def test_work_is_counted_in_tokens_and_layers(made: tuple) -> None:
    given_, _, result = made
    shares = result.detectors.groupby("feature_set")["pass_share"].first()
    plain = given_.spline_features.set_index("text_id")["n_tokens"]
    own = pd.Series(given_.asked.tokens.lengths, given_.asked.text_ids)
    assert shares["length"] == shares["tfidf"] == 0
    assert shares["spline"] == shares["spline_and_state"] == 1
    assert shares["mean_state_layer_1"] == 0.5
    assert shares["first_token"] == pytest.approx(((own + 2) / plain).mean())
    assert shares["token_states"] == pytest.approx((own / plain).mean() * 0.5)


def test_operating_points_count_and_give_exact_intervals(made: tuple) -> None:
    _, asked_for, result = made
    points = result.operating_points
    rates = asked_for.comparison.false_positive_rates
    assert (points.groupby(["feature_set", "classifier"]).size() == len(rates)).all()
    assert (points["n_positive"] + points["n_negative"] == N).all()
    for row in points.to_dict("records"):
        assert row["true_positive_rate"] == row["n_found"] / row["n_positive"]
        assert row["n_negative_sets"] == row["n_negative"]
        ends = row["false_positive_low"], row["false_positive_high"]
        assert ends == pytest.approx(exact_interval(row["n_false"], row["n_negative"]))
    assert dict(zip(points["wanted_rate"], points["negatives_needed"], strict=True)) == {
        0.001: 2995, 0.01: 299, 0.05: 59,
    }  # fmt: skip
    by_rate = points.pivot_table(index="classifier", columns="wanted_rate", values="n_found")
    assert (by_rate[0.05] >= by_rate[0.001]).all()


def test_copies_make_no_interval_narrower(made: tuple) -> None:
    """Five texts to a set: as many trials as sets, in every table with exact intervals."""
    given_, asked_for, _ = made
    sets = given_.folds.groupby("label").cumcount() // 5
    inputs = replace(given_, folds=given_.folds.assign(copies=sets, fold=sets % 5))
    before = detect(
        inputs.spline_features, inputs.folds, inputs.others,
        DetectionSettings(early_exit=EarlyExit(), **COMMON),
    )  # fmt: skip
    inputs = replace(inputs, predictions=before.predictions, choices=before.choices)
    # Another level than the usual one, which all intervals have to have.
    scoring = asked_for.scoring.model_copy(update={"level": 0.8})
    one = DetectorComparison(methods=["spline_and_state"])
    wide = asked_for.model_copy(update={"comparison": one, "scoring": scoring})
    result = compare_detectors(inputs, wide, ABOUT)
    own = inputs.folds[inputs.folds["label"] == "bad"]
    negatives = int(own[~own["truth"]]["copies"].nunique())
    points = result.operating_points
    assert (negatives < points["n_negative"]).all()
    assert set(points["n_negative_sets"]) == {negatives}
    for row in points.to_dict("records"):
        share = row["n_false"] / row["n_negative"]
        ends = exact_interval_of_sets(share, negatives, 0.8)
        assert (row["false_positive_low"], row["false_positive_high"]) == pytest.approx(ends)
        ends = exact_interval_of_sets(row["true_positive_rate"], row["n_positive_sets"], 0.8)
        assert (row["true_positive_low"], row["true_positive_high"]) == pytest.approx(ends)
    bins = result.reliability
    assert (bins["n_sets"] < bins["n_texts"]).any()
    for row in bins.to_dict("records"):
        ends = exact_interval_of_sets(row["positive_share"], row["n_sets"], 0.8)
        assert (row["low"], row["high"]) == pytest.approx(ends)


def test_the_sparse_model_names_the_tokens_that_tell(made: tuple) -> None:
    _, _, result = made
    tokens = result.answer_tokens.set_index("token")["weight"]
    assert tokens.idxmax() == "<7>"
    assert tokens.idxmin() == "<9>"
    assert result.answer_tokens["n_used"].iloc[0] >= len(tokens)
    # A token that the penalty left out says nothing.
    assert (tokens != 0).all()


def test_reliability_bins_hold_every_text_once(made: tuple) -> None:
    _, _, result = made
    for _, own in result.reliability.groupby(["feature_set", "classifier"]):
        assert own["n_texts"].sum() == N
        assert own["probability"].is_monotonic_increasing
        assert (own["low"] <= own["positive_share"]).all()


def test_texts_of_one_probability_share_a_bin_whatever_their_order() -> None:
    """Twelve texts of which half are positive, all with probability one half, are calibrated."""
    truth = np.arange(12) < 6
    (alone,) = reliability(np.full(12, 0.5), truth, 3)
    assert (alone.probability, alone.positive, alone.count) == (0.5, 6, 12)
    assert calibration_error(reliability(np.full(12, 0.5), truth, 3)) == 0
    rng = np.random.default_rng(0)
    probability = rng.integers(0, 9, size=200) / 10
    labels = rng.random(200) < probability
    order = rng.permutation(200)
    found = reliability(probability, labels, 4)
    for part, other in zip(found, reliability(probability[order], labels[order], 4), strict=True):
        assert (part.positive, part.count) == (other.positive, other.count)
        assert part.probability == pytest.approx(other.probability)
    assert [part.probability for part in found] == sorted(part.probability for part in found)
    assert sum(part.count for part in found) == 200
    distinct = reliability(np.arange(200) / 200, labels, 4)
    assert [part.count for part in distinct] == [50] * 4


def test_what_a_detector_does_not_read_is_counted(made: tuple) -> None:
    given_, asked_for, result = made
    cut = result.detectors.groupby("feature_set")["n_cut"].agg(["min", "max"])
    # Of the texts that the model is asked, two; features of texts were of whole texts.
    assert (cut["min"] == cut["max"]).all()
    assert cut["max"].to_dict() == {
        name: 2 if name in ("first_token", "token_states") else 0 for name in cut.index
    }
    shorter = given_.spline_features.assign(truncated=np.arange(N) < 9)
    one = DetectorComparison(methods=["spline_and_state"])
    less = compare_detectors(
        replace(given_, spline_features=shorter),
        asked_for.model_copy(update={"comparison": one}),
        ABOUT,
    )
    by_set = less.detectors.groupby("feature_set")["n_cut"].max()
    assert {by_set[name] for name in ("spline", "spline_and_state", "length")} == {9}
    assert by_set["tfidf"] == 0


def test_threads_change_no_number_and_no_model_is_asked_where_none_is_needed(made: tuple) -> None:
    given_, asked_for, result = made
    again = compare_detectors(given_, asked_for, ABOUT, threads=2)
    for name in ("detectors", "operating_points", "reliability", "subgroups", "answer_tokens"):
        pd.testing.assert_frame_equal(getattr(result, name), getattr(again, name))
    assert asked_for.comparison.asks
    assert not DetectorComparison(methods=["spline_extended", "spline_and_state"]).asks


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.integers(1, 500))
def test_a_threshold_is_the_smallest_that_keeps_the_rate(scores: list[int], mille: int) -> None:
    negatives, allowed = np.array(scores, dtype=float), mille * len(scores) // 1000
    tau = threshold(negatives, mille / 1000)
    assert (negatives > tau).sum() <= allowed
    lower = [value for value in {*scores, -1} if value < tau]
    assert all((negatives > value).sum() > allowed for value in lower)


def test_numbers_of_negatives_that_show_a_rate() -> None:
    assert [negatives_needed(rate) for rate in (0.01, 0.001)] == [299, 2995]
    # One-sided 95 % is the two-sided interval at 90 %.
    for rate, count in ((0.01, 299), (0.001, 2995)):
        assert exact_interval(0, count, 0.9)[1] < rate < exact_interval(0, count - 1, 0.9)[1]


def test_the_exact_intervals_of_published_counts() -> None:
    for (k, n), (low, high) in {
        (0, 300): (0, 0.0122), (3, 300): (0.0021, 0.0289), (154, 362): (0.374, 0.478),
        (4, 4721): (0.00023, 0.00217), (0, 3000): (0, 0.00123),
    }.items():  # fmt: skip
        assert exact_interval(k, n) == (pytest.approx(low, abs=6e-4), pytest.approx(high, abs=6e-4))


def test_platt_mends_scores_that_are_too_sure() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=4000)
    truth = rng.random(4000) < 1 / (1 + np.exp(-logits))
    sure = 1 / (1 + np.exp(-(4 * logits + 2)))
    fitted = platt(sure, truth)
    assert fitted.slope == pytest.approx(0.25, abs=0.03)
    assert fitted.offset == pytest.approx(-0.5, abs=0.1)
    mended = fitted.probability(sure)
    raw, right = (calibration_error(reliability(p, truth, 10)) for p in (sure, mended))
    assert raw > 0.2
    assert right < 0.03
    assert error_if_calibrated(mended, 10, 0) == pytest.approx(right, abs=0.015)
    # Scores that say nothing: the mean of Platt's targets, 91/92 of the 90 and 1/12 of the ten.
    nothing = platt(np.full(100, 0.5), np.arange(100) < 90).probability(np.array([0.5]))
    assert nothing == pytest.approx((90 * 91 / 92 + 10 / 12) / 100, abs=1e-4)
    # A perfect ranking stays finite.
    perfect = platt(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert np.isfinite([perfect.slope, perfect.offset]).all()


def test_the_interval_of_a_mean_is_of_the_texts_that_have_a_value() -> None:
    copies, folds = np.arange(40), np.arange(40) % 2
    ids = [f"t{i}" for i in range(40)]
    texts = LabelledTexts("bad", ids, copies, copies % 3 == 0, folds, copies)
    values = np.full(40, np.nan)
    values[:10] = 0.25
    # Every text with a value has the same one, so every resample has it.
    assert mean_interval(values, texts, 50, 0.9, 0) == (0.25, 0.25)
    values[:5] = 0.75
    low, high = mean_interval(values, texts, 200, 0.9, 0)
    assert 0.25 <= low < 0.5 < high <= 0.75


def test_what_calibrates_neither_trains_nor_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every fold three parts that share no set; the classifier sees the first alone."""
    copies = np.repeat(np.arange(30), 2)
    truth = np.repeat(np.arange(30) % 2 == 0, 2)
    folds = copies % 3
    texts = LabelledTexts("bad", [f"t{i}" for i in range(60)], np.arange(60), truth, folds, copies)
    features = Dense("made", np.random.default_rng(0).normal(size=(60, 3)))
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    split = Dense.split

    def spying(self: Dense, train: np.ndarray, test: np.ndarray) -> object:
        seen.append((train, test))
        return split(self, train, test)

    monkeypatch.setattr(Dense, "split", spying)
    recipe = LogisticRecipe((1.0,), 100)
    choices = [Choice(features, 1.0, None, None, 0)] * 3
    found = operate(texts, recipe, choices, [0.05], 3, 0)
    assert found.known.all()
    for fold, (train, others) in enumerate(seen):
        test, calibration = others[: (folds == fold).sum()], others[(folds == fold).sum() :]
        assert test.tolist() == np.flatnonzero(folds == fold).tolist()
        parts = [set(copies[part]) for part in (train, test, calibration)]
        assert not parts[0] & parts[1]
        assert not parts[1] & parts[2]
        assert not parts[0] & parts[2]
        assert len(calibration)


def test_realised_false_alarms_are_near_the_wanted_rate_without_any_signal() -> None:
    """A threshold read off its own negatives would never miss; here it misses by chance alone."""
    n = 1500
    rng = np.random.default_rng(2)
    truth = rng.random(n) < 0.3
    texts = LabelledTexts("x", [str(i) for i in range(n)], np.arange(n), truth, np.arange(n) % 5,
                          np.arange(n))  # fmt: skip
    features = Dense("noise", rng.normal(size=(n, 40)))
    recipe = LogisticRecipe((1.0,), 100)
    choices = [Choice(features, 1.0, None, None, 0)] * 5
    found = operate(texts, recipe, choices, [0.05, 0.2], 3, 0)
    for rate, flagged in zip((0.05, 0.2), found.flagged, strict=True):
        low, high = exact_interval(int(flagged[~truth].sum()), int((~truth).sum()), 0.999)
        assert low < rate < high
    assert operating.brier(found.probability, truth).mean() == pytest.approx(0.21, abs=0.02)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(0, 99))
def test_quantiles_of_texts_equal_numpys(lengths: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=sum(lengths)).astype(np.float32)
    parts = np.split(values, np.cumsum(lengths)[:-1])
    expected = [np.quantile(part.astype(float), [0.1, 0.5, 0.9]) for part in parts]
    assert np.allclose(text_quantiles(values, np.array(lengths), [0.1, 0.5, 0.9]), expected)


def test_further_features_are_of_the_same_tokens(tmp_path) -> None:
    rng = np.random.default_rng(0)
    columns = {"text_id": ["a", "b"], "n_tokens": [3, 2], "truncated": [False] * 2}
    columns |= {"control_tokens": [0, 0], "has_bos": [True, False]}
    values = [rng.random(n).astype(np.float32) for n in (3, 2)]
    columns |= {
        "l0_active": [list(v / 2) for v in values],
        "l0_distance": [list(v) for v in values],
    }
    write_table(tmp_path / "traces.parquet", TRACES, columns, {})
    traces: list[Traces] = read_traces([tmp_path / "traces.parquet"])
    ids, found = further_features(traces, include_bos=False)
    assert ids == ["a", "b"]
    for row, own in enumerate((values[0][1:], values[1])):
        assert found[row, 0, 0] == own.max()
        assert np.allclose(found[row, 0, 1:4], np.quantile(own, [0.1, 0.5, 0.9]), atol=1e-6)
        assert np.allclose(found[row, 0, 4:], np.quantile(own / 2, [0.1, 0.5, 0.9]), atol=1e-6)
