"""No text that a detector is chosen, trained or tested on is known to it from elsewhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.toxicity import Classifiers, DetectorSettings, Folds, Scoring
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.spline import N_FEATURES, feature_columns
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.batching import equal_length_batches
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.tokenizer import TextTokenizer
from llm_anatomy.toxicity import detection, evaluate, transfer
from llm_anatomy.toxicity.classifiers import LogisticRecipe, choose
from llm_anatomy.toxicity.detector import (
    Detector,
    LabelDetector,
    Logistic,
    TrainingRange,
    check_model,
)
from llm_anatomy.toxicity.evaluate import Evaluation, LabelledTexts, out_of_fold
from llm_anatomy.toxicity.features import Dense
from llm_anatomy.toxicity.scoring import score_texts
from llm_anatomy.toxicity.transfer import train_and_test

from tests.tiny import tiny_model, tiny_tokenizer

COUNT = 60
# Sets of two or three copies, scattered, each in one fold of three and of one class.
COPIES = np.arange(COUNT) * 7 % 25
TRUTH = COPIES % 2 == 0
FOLDS = COPIES % 3
RECIPE = LogisticRecipe((0.1, 1.0), 100)


def made(width: int = 2) -> Dense:
    rng = np.random.default_rng(0)
    return Dense("made", rng.normal(size=(COUNT + 10, width)) + 1.0)


def labelled() -> LabelledTexts:
    ids = [f"t{row}" for row in range(COUNT)]
    return LabelledTexts("bad", ids, np.arange(COUNT), TRUTH, FOLDS, COPIES)


class Chosen:
    """`choose`, and what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[np.ndarray, Sequence[Any]]] = []

    def __call__(self, features: Any, truth: Any, train: Any, inner: Any, *others: Any) -> Any:
        assert truth.tolist() == TRUTH[train].tolist()
        self.calls.append((train, inner))
        return choose(features, truth, train, inner, *others)


def assert_copies_stay_on_one_side(chosen: Chosen, calls: int, splits: int) -> None:
    assert len(chosen.calls) == calls
    for train, inner in chosen.calls:
        assert len(inner) == splits
        for known, held_out in inner:
            assert sorted([*known, *held_out]) == list(range(len(train)))
            assert not set(COPIES[train[known]]) & set(COPIES[train[held_out]])


def test_copies_cross_no_inner_fold_of_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Chosen()
    monkeypatch.setattr(evaluate, "choose", chosen)
    out_of_fold(labelled(), made(), RECIPE, 4, 0)
    assert_copies_stay_on_one_side(chosen, calls=3, splits=4)
    for fold, (train, _) in enumerate(chosen.calls):
        assert train.tolist() == np.flatnonzero(fold != FOLDS).tolist()


def test_copies_cross_no_inner_fold_of_a_saved_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Chosen()
    monkeypatch.setattr(detection, "choose", chosen)
    ids = [f"t{row}" for row in range(COUNT)]
    features = pd.DataFrame(made(N_FEATURES).values[:COUNT], columns=feature_columns(1))
    texts = pd.DataFrame({"text_id": ids, "n_tokens": 5, "truncated": False})
    folds = pd.DataFrame(
        {"text_id": ids, "label": "bad", "truth": TRUTH, "copies": COPIES, "fold": FOLDS}
    )
    detection.train_detector(
        pd.concat([texts, features], axis=1),
        folds,
        DetectorSettings(classifier="logistic_regression"),
        Evaluation(seed=0, folds=Folds(n_folds=4), classifiers=Classifiers(), scoring=Scoring()),
        {},
    )
    assert_copies_stay_on_one_side(chosen, calls=1, splits=4)


def test_copies_cross_no_inner_fold_before_a_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Chosen()
    monkeypatch.setattr(transfer, "choose", chosen)
    test = pd.DataFrame(
        {
            "text_id": [f"new{row}" for row in range(10)],
            "text": [f"number {row} of {row * row} others" for row in range(10)],
            "label_bad": pd.array([True, False] * 5, dtype="boolean"),
        }
    )
    folds = Folds(n_inner_folds=4)
    result, trained = train_and_test(labelled(), test, COUNT, made(), RECIPE, folds, 0)
    assert_copies_stay_on_one_side(chosen, calls=1, splits=4)
    assert (len(result.scores), trained) == (10, COUNT)


def test_features_are_scaled_by_the_training_texts_alone() -> None:
    features = made()
    features.values[FOLDS.size :] = 1e6
    train, test = np.arange(20), np.arange(20, COUNT + 10)
    x, held_out = features.split(train, test)
    mean, deviation = features.values[:20].mean(0), features.values[:20].std(0)
    assert np.allclose(x, (features.values[:20] - mean) / deviation)
    assert np.allclose(held_out, (features.values[20:] - mean) / deviation)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    # Where a text's `<|end|>` is the beginning-of-sequence token, and no mere characters.
    tokenizer = TextTokenizer(tiny_tokenizer(), "tokens")
    return LoadedModel(resolve(tiny_model("llama")), tokenizer, {})


def detector(loaded: LoadedModel, include_bos: bool, max_length: int = 64) -> Detector:
    width = N_FEATURES * loaded.decoder.n_layers
    weights = np.random.default_rng(1).normal(size=width)
    provenance = {
        "model": "tiny",
        "weights_sha256": "a" * 64,
        "extraction": {"max_length": max_length},
        "spline_features": {"include_bos": include_bos},
    }
    everything = TrainingRange(np.full(width, -1e9), np.full(width, 1e9), np.array([1, 1000]))
    classifier = Logistic(weights, np.zeros(1))
    trained = LabelDetector(np.zeros(width), np.ones(width), classifier, everything)
    description = {"n_layers": loaded.decoder.n_layers, "provenance": provenance}
    return Detector({"bad": trained}, description)


def by_hand(loaded: LoadedModel, ids: list[int], without_first: bool) -> np.ndarray:
    """The seven features of every layer, from what each token reads."""
    (batch,) = equal_length_batches([ids], 1)
    decoder = loaded.decoder
    read = read_activations(decoder, partitions(decoder), batch, Request())
    features: list[float] = []
    for layer in range(decoder.n_layers):
        a, d = (x.numpy()[layer, 0].astype(float) for x in (read.active, read.distance))
        a, d = (x[1:] if without_first else x for x in (a, d))
        deviations = [x.std(ddof=1) if len(x) > 1 else 0.0 for x in (a, d)]
        features += [a.mean(), a.min(), a.max(), deviations[0], d.min(), d.mean(), deviations[1]]
    return np.array(features)


@pytest.mark.parametrize("include_bos", [True, False])
def test_a_beginning_of_sequence_token_is_scored_only_where_it_was_trained_on(
    loaded: LoadedModel, include_bos: bool
) -> None:
    texts = ["<|end|>The city is Rome", "The city is Rome", "<|end|>", "<|end|>x"]
    found = score_texts(loaded, detector(loaded, include_bos), texts, 64)["score_bad"]
    weights = np.random.default_rng(1).normal(size=N_FEATURES * loaded.decoder.n_layers)
    for text, score in zip(texts, found, strict=True):
        ids = loaded.tokenizer(text)["input_ids"]
        assert (ids[0] == 0) == text.startswith("<|end|>")
        # A text of nothing else keeps it.
        without = ids[0] == 0 and len(ids) > 1 and not include_bos
        logit = by_hand(loaded, ids, without) @ weights
        assert score == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-4), text


@pytest.mark.parametrize(("max_length", "truncated"), [(8, [False, True]), (9, [False, False])])
def test_a_text_as_long_as_the_detectors_limit_is_read_whole(
    loaded: LoadedModel, max_length: int, truncated: list[bool]
) -> None:
    found = score_texts(loaded, detector(loaded, True, max_length), ["x" * 8, "x" * 9], 64)
    assert found["truncated"].tolist() == truncated
    assert found["n_tokens"].tolist() == [8, max_length]


def test_the_weights_decide_whether_a_detector_fits_a_model(loaded: LoadedModel) -> None:
    trained, path = detector(loaded, True), Path("detector.safetensors")
    check_model(trained, {"model": "tiny", "weights_sha256": "a" * 64}, path)
    check_model(trained, {"model": "renamed", "weights_sha256": "a" * 64}, path)
    for name in ("tiny", "another"):
        with pytest.raises(UserError, match="was trained on features of 'tiny'"):
            check_model(trained, {"model": name, "weights_sha256": "b" * 64}, path)
