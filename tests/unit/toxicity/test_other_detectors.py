"""Given splits behind the leak guard, and Hugging Face classifiers by their score."""

import huggingface_hub
import numpy as np
import pytest
import torch
from llm_anatomy.config.toxicity import (
    Classifiers,
    Folds,
    HubClassifier,
    Scoring,
    Transfer,
)
from llm_anatomy.errors import UserError
from llm_anatomy.rulebook.code import package_root
from llm_anatomy.stages import (
    fetch_classifier,
    reads_the_network,
    score_hub_classifier,
    split_texts,
    transfer_detector,
)
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.toxicity import FOLDS, HUB_METRICS, HUB_SCORES, OVERLAP, TRANSFER
from llm_anatomy.toxicity.hub import HubSettings, score_with_classifier
from llm_anatomy.toxicity.transfer import TransferSettings
from sklearn.metrics import roc_auc_score
from transformers import AutoConfig, AutoModelForSequenceClassification

from tests.tiny import tiny_tokenizer
from tests.unit.sources.fake_hub import FakeHub
from tests.unit.toxicity.tables import write_inputs

SCORING = Scoring(resamples=10)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("LLM_ANATOMY_COMPUTE", '{"threads": 1}')


def split(folder, inputs):
    split_texts.run(
        split_texts.SplitStage(seed=0, folds=Folds()),
        texts=inputs.texts,
        **{name: folder / f"{name}.parquet" for name in ("folds", "labels", "duplicates")},
    )
    return folder / "folds.parquet"


def texts_of(n, seed, shared=0):
    rng = np.random.default_rng(seed)
    words = [f"w{i}" for i in range(50)]
    made = [" ".join(rng.choice(words, size=15)) for _ in range(n)]
    same = np.random.default_rng(99)
    return made[shared:] + [" ".join(same.choice(words, size=15)) for _ in range(shared)]


def transfer(tmp_path, shared, **asked):
    folders = [tmp_path / name for name in ("train", "test")]
    for folder in folders:
        folder.mkdir()
    known = write_inputs(folders[0], 80, 0, texts=texts_of(80, 0, shared))
    held_out = write_inputs(folders[1], 60, 1, texts=texts_of(60, 1, shared))
    settings = TransferSettings(
        seed=0,
        folds=Folds(),
        classifiers=Classifiers(names=["logistic_regression"], c=[0.1], c_tfidf=[1.0]),
        scoring=SCORING,
        transfer=Transfer(train="known", test="new", **asked),
    )
    transfer_detector.run(
        settings,
        train_texts=known.texts,
        train_folds=split(folders[0], known),
        train_features=known.spline_features,
        test_texts=held_out.texts,
        test_features=held_out.spline_features,
        metrics=tmp_path / "metrics.parquet",
        overlap=tmp_path / "overlap.parquet",
    )
    return read_table(tmp_path / "metrics.parquet", TRANSFER), read_table(
        tmp_path / "overlap.parquet", OVERLAP
    )


def test_a_detector_of_one_dataset_finds_the_signal_in_another(tmp_path):
    metrics, overlap = transfer(tmp_path, shared=0)
    assert len(overlap) == 0
    areas = metrics[metrics["metric"] == "roc_auc"].set_index(
        ["label", "feature_set", "test_texts"]
    )["value"]
    assert areas["bad", "spline", "all"] > 0.85
    assert areas["bad", "tfidf", "all"] < 0.75
    assert areas["bad", "spline", "no_copies"] == areas["bad", "spline", "all"]
    assert set(metrics["n_train"]) == {80}
    assert set(metrics["n_test"]) == {60}


def test_shared_texts_fail_unless_allowed(tmp_path):
    (tmp_path / "strict").mkdir()
    with pytest.raises(UserError, match=r"5 texts of 'new' are copies of texts of 'known'"):
        transfer(tmp_path / "strict", shared=5)
    metrics, overlap = transfer(tmp_path, shared=5, allow_overlap=True)
    assert overlap["text_id"].nunique() == 5
    tested = metrics.groupby("test_texts")["n_test"].unique().map(list).to_dict()
    assert tested == {"all": [60], "no_copies": [55]}


def test_labels_that_are_not_common_are_named(tmp_path):
    with pytest.raises(UserError, match=r"common labels bad, other; .* asks for absent"):
        transfer(tmp_path, shared=0, labels=["absent"])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    tokenizer = tiny_tokenizer()
    config = AutoConfig.for_model(
        "bert",
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        num_labels=3,
        id2label={0: "fine", 1: "rude", 2: "vile"},
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        model.classifier.weight.mul_(50)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_batches_equal_one_text_at_a_time_and_the_formula(classifier):
    texts = [text[: 3 + 7 * i] for i, text in enumerate(texts_of(9, 3))]
    asked = HubClassifier(name="c", path=str(classifier), positive=["rude", "vile"])
    together = score_with_classifier(asked, texts, 2048, "cpu")
    model = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    tokenizer = tiny_tokenizer()
    for text, score, top in zip(texts, together.scores, together.top_is_positive, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"][:64]])
        with torch.no_grad():
            shares = model(input_ids=ids).logits.softmax(1)[0]
        assert score == pytest.approx(float(shares[1] + shares[2]), abs=1e-5)
        assert top == (int(shares.argmax()) > 0)
    negated = asked.model_copy(update={"negate": True})
    flipped = score_with_classifier(negated, texts, 2048, "cpu")
    assert np.allclose(flipped.scores, 1 - together.scores)
    several = asked.model_copy(update={"exclusive": False})
    assert (score_with_classifier(several, texts, 2048, "cpu").scores != together.scores).any()
    assert together.truncated == [n >= 64 for n in together.n_tokens]


def test_a_classifier_from_the_hub_is_fetched_once_and_scores_without_the_network(
    classifier, tmp_path, monkeypatch
):
    hub = FakeHub()
    hub.install(monkeypatch, tmp_path / "cache")
    hub.add("org/rude", classifier)
    asked = HubClassifier(name="c", hub="org/rude", revision="main", positive=["rude"])
    folder = tmp_path / "classifiers" / "c"
    try:
        fetch_classifier.run(
            fetch_classifier.FetchClassifierStage(classifier=asked), weights=folder
        )
    finally:
        huggingface_hub.set_client_factory(huggingface_hub.utils._http.default_client_factory)
    assert (folder / "model.safetensors").is_symlink()
    hub.down = True
    hub.requests.clear()
    texts = texts_of(5, 3)
    found = score_with_classifier(asked, texts, 2048, "cpu", folder)
    own = HubClassifier(name="c", path=str(classifier), positive=["rude"])
    assert (found.scores == score_with_classifier(own, texts, 2048, "cpu").scores).all()
    assert hub.requests == []


def test_jobs_that_compute_are_told_to_ask_nobody():
    stages = package_root() / "stages"
    for path in sorted(stages.glob("[a-z]*.py")):
        command = ["python", "-m", f"llm_anatomy.stages.{path.stem}", "--log", "prepare_model"]
        asks = {"download_wheel", "fetch_classifier", "prepare_model", "build_dataset"}
        assert reads_the_network(command) == (path.stem in asks), path
    assert not reads_the_network(["python", "prepare_model"])


def test_a_classifier_is_measured_by_score_and_by_its_hard_answer(classifier, tmp_path):
    inputs = write_inputs(tmp_path, 50, labels={"bad": np.arange(50) % 2 == 0})
    outputs = {name: tmp_path / f"hub_{name}.parquet" for name in ("scores", "metrics")}
    settings = HubSettings(
        seed=0,
        scoring=SCORING,
        classifier=HubClassifier(name="c", path=str(classifier), positive=["rude"]),
    )
    folds = split(tmp_path, inputs)
    score_hub_classifier.run(settings, texts=inputs.texts, folds=folds, fetched=(), **outputs)
    scores = read_table(outputs["scores"], HUB_SCORES)
    metrics = read_table(outputs["metrics"], HUB_METRICS).set_index("metric")["value"]
    # The pairs that the other features are measured on: those inside a fold.
    both = scores.merge(read_table(folds, FOLDS), on="text_id")
    parts = [part for _, part in both.groupby("fold")]
    pairs = [part["truth"].sum() * (~part["truth"]).sum() for part in parts]
    for metric, column in (("roc_auc", "score"), ("roc_auc_hard_label", "top_is_positive")):
        areas = [roc_auc_score(part["truth"], part[column]) for part in parts]
        assert metrics[metric] == pytest.approx(np.average(areas, weights=pairs))


def test_a_class_the_classifier_does_not_have_is_named(classifier):
    asked = HubClassifier(name="c", path=str(classifier), positive=["toxic"])
    with pytest.raises(UserError, match=r"no class 'toxic'.*its classes are fine, rude, vile"):
        score_with_classifier(asked, ["x"], 10, "cpu")
