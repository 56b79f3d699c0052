"""The saved detector equals the classifier it was made from, and refuses what it does not fit."""

import json
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.cli.app import main
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.toxicity import Classifiers, DetectorSettings, Folds, Scoring
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.spline import feature_columns, spline_features
from llm_anatomy.model.run.batching import encode, token_budget_batches
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.source.record import write_record
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import SPLINE_FEATURES
from llm_anatomy.toxicity import detector as detector_module
from llm_anatomy.toxicity.detection import train_detector
from llm_anatomy.toxicity.detector import (
    IN_RANGE,
    LONGER,
    SHORTER,
    UNLIKE,
    Detector,
    LabelDetector,
    Logistic,
    TrainingRange,
    from_forest,
    load_detector,
    save_detector,
)
from llm_anatomy.toxicity.evaluate import Evaluation
from llm_anatomy.toxicity.folds import split_texts
from llm_anatomy.toxicity.running import running_scores
from llm_anatomy.toxicity.scoring import score_texts
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from tests.tiny import save_tiny_model

DESCRIPTION = {"n_layers": 2, "provenance": {"model": "tiny", "weights_sha256": "a" * 64}}


def sample(seed=0, n=80, width=6):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    return rng.normal(size=(n, width)) + truth[:, None], truth


def arrays_of(model: LogisticRegression) -> Logistic:
    return Logistic(model.coef_[0], model.intercept_)


def test_arrays_score_as_sklearn_does():
    x, truth = sample()
    fresh = np.random.default_rng(9).normal(size=(500, 6))
    logistic = LogisticRegression(class_weight="balanced").fit(x, truth)
    assert np.allclose(
        arrays_of(logistic).score(fresh), logistic.predict_proba(fresh)[:, 1], atol=1e-12
    )
    forest = RandomForestClassifier(30, class_weight="balanced", random_state=0).fit(x, truth)
    assert np.allclose(
        from_forest(forest).score(fresh), forest.predict_proba(fresh)[:, 1], atol=1e-12
    )


def make_detector() -> Detector:
    x, truth = sample()
    logistic = arrays_of(LogisticRegression().fit(x, truth))
    forest = from_forest(RandomForestClassifier(3, random_state=0).fit(x, truth))
    mean, scale = x.mean(0), x.std(0)
    covered = TrainingRange.of(x, np.arange(3, 3 + len(x)))
    labels = {
        "bad": LabelDetector(mean, scale, logistic, covered),
        "worse": LabelDetector(mean, scale, forest, covered),
    }
    return Detector(labels, DESCRIPTION)


def test_a_saved_detector_scores_as_before_with_the_same_bytes(tmp_path):
    made = make_detector()
    for name in ("one", "two"):
        save_detector(tmp_path / name, made)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read = load_detector(tmp_path / "one")
    x, _ = sample(seed=4)
    assert read.description == DESCRIPTION
    assert list(read.labels) == ["bad", "worse"]
    for label in made.labels:
        assert (read.labels[label].score(x) == made.labels[label].score(x)).all()
        lengths = np.arange(len(x))
        flags = read.labels[label].range.flags(x, lengths)
        assert flags == made.labels[label].range.flags(x, lengths)
        assert set(flags[:3]) == {SHORTER}


def test_a_text_unlike_all_training_texts_is_flagged():
    low, high = np.array([-1.0, 10.0]), np.array([3.0, 10.0])
    covered = TrainingRange(low, high, np.array([5, 9]), margin=0.5)
    # Half the span beyond either end is allowed, and 0.1 % of the value for rounding.
    rows = [([-1, 10], 5), ([-3, 10], 9), ([5, 10.009], 7), ([-3.1, 10], 7), ([5.1, 10], 7)]
    rows += [([0, 10.1], 7), ([0, 9.9], 7), ([0, 10], 4), ([0, 10], 10), ([99, 10], 4)]
    flags = covered.flags(np.array([row for row, _ in rows]), np.array([n for _, n in rows]))
    assert flags == [IN_RANGE] * 3 + [UNLIKE] * 4 + [SHORTER, LONGER, SHORTER]


def test_a_detector_of_the_format_without_a_range_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(detector_module, "FORMAT", 1)
    save_detector(tmp_path / "d.safetensors", make_detector())
    monkeypatch.undo()
    with pytest.raises(UserError, match="of format 1, and this version reads format 3"):
        load_detector(tmp_path / "d.safetensors")


def test_damaged_and_foreign_files_are_named(tmp_path):
    save_detector(tmp_path / "d.safetensors", make_detector())
    content = (tmp_path / "d.safetensors").read_bytes()
    for bad in (content[:100], b"not a detector", b""):
        (tmp_path / "bad.safetensors").write_bytes(bad)
        with pytest.raises(UserError, match=r"bad\.safetensors is damaged or no detector"):
            load_detector(tmp_path / "bad.safetensors")
    with pytest.raises(UserError, match="there is no detector at"):
        load_detector(tmp_path / "missing.safetensors")


TEXTS_TO_SCORE = ["the capital of France", "bad " * 9, "x", "", "naïve 👍 مرحبا", "bad \x00 bad"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A tiny model, features of 40 texts from it, and a detector of `bad` texts."""
    folder = tmp_path_factory.mktemp("project")
    model = folder / "results/models/tiny"
    save_tiny_model(model / "weights")
    from llm_anatomy.model.run.loading import sha256_file

    files = {p.name: sha256_file(p) for p in sorted((model / "weights").iterdir())}
    record = {
        "model": "tiny",
        "revision": "none",
        "weights_sha256": files["model.safetensors"],
        "files": files,
    }
    write_record(model, record, {})
    loaded = load_model(model / "provenance.json", Precision(), Compute(threads=1))
    bad = np.arange(40) % 2 == 0
    texts = [f"{'bad ' * (3 + i % 4) if b else 'fine text '} {i}" for i, b in enumerate(bad)]
    write_table(
        folder / "texts.parquet",
        TEXTS,
        {"text_id": [f"row-{i}" for i in range(40)], "text": texts, "label_bad": bad},
        {},
    )
    write_spline_features(folder / "features.parquet", loaded, texts)
    train(folder, DetectorSettings(), "detector.safetensors")
    return folder


def train(folder: Path, detector: DetectorSettings, name: str) -> None:
    """Train as in a notebook: frames in, a detector out."""
    texts = read_table(folder / "texts.parquet", TEXTS)
    folds = split_texts(texts, Folds(similarity=1.0), seed=0, source="texts").folds
    features = folder / "features.parquet"
    trained = train_detector(
        read_table(features, SPLINE_FEATURES),
        folds,
        detector,
        Evaluation(seed=0, folds=Folds(), classifiers=Classifiers(n_trees=5), scoring=Scoring()),
        {"dataset": "made", "seed": 0, "provenance": read_provenance(features)},
    )
    save_detector(folder / name, trained)


def write_spline_features(path: Path, loaded, texts) -> None:
    encoded = encode(loaded.tokenizer, texts, 64)
    planes = partitions(loaded.decoder)
    rows = []
    for batch in token_budget_batches(encoded.ids, 1):
        read = read_activations(loaded.decoder, planes, batch, Request())
        real = spline_features(
            read.active.numpy()[:, 0], read.distance.numpy()[:, 0], batch.lengths.numpy()
        )
        rows.append((batch.rows[0], real[0]))
    values = np.stack([features for _, features in sorted(rows, key=lambda row: row[0])])
    columns = {
        "text_id": [f"row-{i}" for i in range(len(texts))],
        "n_tokens": [len(ids) for ids in encoded.ids],
        "truncated": encoded.truncated,
    }
    names = feature_columns(values.shape[1])
    columns |= {n: values.reshape(len(values), -1)[:, i] for i, n in enumerate(names)}
    provenance = loaded.provenance | {
        "extraction": {"max_length": 64},
        "spline_features": {"include_bos": True},
    }
    write_table(path, SPLINE_FEATURES, columns, provenance)


def run_command(project: Path, monkeypatch, *arguments: str) -> None:
    monkeypatch.chdir(project)
    detector = [] if "--detector" in arguments else ["--detector", "detector.safetensors"]
    try:
        main(["score", *detector, "--threads", "1", *arguments])
    except SystemExit as left:
        if left.code:
            raise


def test_scores_of_the_training_texts_equal_the_tables_features(project, monkeypatch):
    """Text to score through the command line, and table to score by hand, agree."""
    run_command(project, monkeypatch, "--texts", "texts.parquet", "--output", "scores.parquet")
    scores = pd.read_parquet(project / "scores.parquet")
    table = pd.read_parquet(project / "features.parquet")
    detector = load_detector(project / "detector.safetensors")
    features = table[detector.description["columns"]].to_numpy()
    assert np.allclose(scores["score_bad"], detector.labels["bad"].score(features), atol=1e-4)
    truth = pd.read_parquet(project / "texts.parquet")["label_bad"]
    assert scores["score_bad"][truth].min() > scores["score_bad"][~truth].max()
    assert (scores["n_tokens"] == table["n_tokens"]).all()
    assert (scores["milliseconds"] > 0).all()


@pytest.mark.parametrize("classifier", ["logistic_regression", "random_forest"])
def test_an_early_exit_reads_the_first_layers_only(project, monkeypatch, classifier):
    train(project, DetectorSettings(classifier=classifier, n_layers=1), "early.safetensors")
    run_command(
        project,
        monkeypatch,
        *("--detector", "early.safetensors"),
        *("--texts", "texts.parquet", "--output", "early.parquet"),
    )
    detector = load_detector(project / "early.safetensors")
    assert detector.description["columns"] == feature_columns(1)
    features = pd.read_parquet(project / "features.parquet")[feature_columns(1)].to_numpy()
    scores = pd.read_parquet(project / "early.parquet")["score_bad"]
    assert np.allclose(scores, detector.labels["bad"].score(features), atol=1e-3)


@pytest.mark.parametrize(("include_bos", "n_layers"), [(True, None), (False, 1)])
def test_running_scores_equal_scores_of_every_beginning(project, include_bos, n_layers):
    """One pass against as many as there are tokens, each with a beginning of the text alone."""
    train(project, DetectorSettings(n_layers=n_layers), "running.safetensors")
    detector = load_detector(project / "running.safetensors")
    loaded = load_model(
        project / "results/models/tiny/provenance.json", Precision(), Compute(threads=1)
    )
    text, about = "bad bad bad bad 12 fine text", detector.description
    # The tiny tokenizer writes no such token, so one that it does write stands for it.
    loaded.tokenizer.bos_token_id = encode(loaded.tokenizer, [text], 64).ids[0][0]

    def reading(length):
        provenance = about["provenance"] | {"extraction": {"max_length": length}}
        provenance |= {"spline_features": {"include_bos": include_bos}}
        return Detector(detector.labels, about | {"provenance": provenance})

    steps = running_scores(loaded, reading(64), text)
    assert len(steps) > 4
    assert (steps["flag_bad"] == IN_RANGE).any()
    for end, step in enumerate(steps.to_dict("records"), 1):
        alone = score_texts(loaded, reading(end), [text], 64).iloc[0]
        assert step["n_tokens"] == end == alone["n_tokens"]
        assert step["flag_bad"] == alone["flag_bad"]
        assert step["score_bad"] == pytest.approx(alone["score_bad"], abs=1e-5, nan_ok=True)


def test_standard_input_gives_one_row_per_line_on_standard_output(project, monkeypatch, capsys):
    data = "\n".join(TEXTS_TO_SCORE).encode() + b"\n"
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(data)))
    run_command(project, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "row,text,n_tokens,truncated,score_bad,flag_bad,milliseconds"
    cells = [line.split(",") for line in lines[1:]]
    assert [row[0] for row in cells] == [str(i) for i in range(1, 7)]
    assert [row[1] for row in cells] == TEXTS_TO_SCORE
    assert cells[3][2] == cells[5][2] == "0"
    assert cells[3][5] == "empty text"
    assert cells[5][5] == "text with a NUL byte"
    assert cells[2][5] == SHORTER
    for row in cells:
        assert (row[5] == IN_RANGE) == (row[4] != "")
        assert row[4] == "" or 0 <= float(row[4]) <= 1


def test_ids_and_texts_pass_through_and_nothing_is_dropped(project, monkeypatch):
    """White space, NUL and ragged rows are treated as a data set's intake treats them."""
    words = "bad bad bad bad 1"
    lines = [
        "key;comment;more",
        f"0071;{words};x",
        "NA; ;x",
        f"9;{words}",
        "10;\u200b;x",
        f";{words};y",
    ]
    (project / "in.csv").write_bytes(
        "\n".join(lines).encode("cp1252", "ignore") + b"\n11;caf\xe9;z\n"
    )
    arguments = ("--texts", "in.csv", "--column", "comment", "--id", "key")
    run_command(
        project,
        monkeypatch,
        *arguments,
        *("--delimiter", ";", "--encoding", "cp1252", "--output", "out.parquet"),
    )
    found = pd.read_parquet(project / "out.parquet")
    assert found["id"].tolist() == ["0071", "NA", "", "10", "", "11"]
    assert found["text"].tolist() == [words, " ", "", "", words, "café"]
    flags = found["flag_bad"].tolist()
    assert flags[0] == flags[4] == IN_RANGE
    assert flags[1] == flags[3] == "empty text"
    assert flags[2] == "another number of fields than the header"
    assert found["score_bad"].notna().tolist() == [flag == IN_RANGE for flag in flags]
    (project / "surrogate.jsonl").write_text('{"text": "half \\ud800 pair bad bad"}\n')
    run_command(project, monkeypatch, "--texts", "surrogate.jsonl", "--output", "out.csv")
    assert pd.read_csv(project / "out.csv")["flag_bad"].tolist() == [
        "text with half a surrogate pair"
    ]


@pytest.mark.parametrize("text", ["Hello", ".", "bad", "bad " * 60, "bad " * 500])
def test_no_score_outside_the_lengths_of_the_training_texts(project, monkeypatch, text):
    (project / "one.txt").write_text(text, encoding="utf-8")
    run_command(project, monkeypatch, "--texts", "one.txt", "--output", "one.parquet")
    found = pd.read_parquet(project / "one.parquet").iloc[0]
    counts = pd.read_parquet(project / "features.parquet")["n_tokens"]
    assert not counts.min() <= found["n_tokens"] <= counts.max()
    assert found["flag_bad"] == (SHORTER if found["n_tokens"] < counts.min() else LONGER)
    assert np.isnan(found["score_bad"])


def test_scores_do_not_depend_on_what_else_is_in_the_batch(project, monkeypatch):
    (project / "texts.txt").write_text("\n".join(TEXTS_TO_SCORE), encoding="utf-8")
    scores = []
    for budget in ("1", "4096"):
        run_command(
            project,
            monkeypatch,
            *("--texts", "texts.txt", "--output", "s.jsonl", "--batch-tokens", budget),
        )
        scores.append(pd.read_json(project / "s.jsonl", lines=True)["score_bad"])
    assert np.allclose(*scores, atol=1e-5, equal_nan=True)


def test_a_model_it_was_not_trained_on_is_refused(project, monkeypatch, capsys):
    other = json.loads((project / "results/models/tiny/provenance.json").read_text())
    other |= {"weights_sha256": "b" * 64, "model": "another"}
    (project / "other.json").write_text(json.dumps(other))
    with pytest.raises(SystemExit) as left:
        run_command(project, monkeypatch, "--model", "other.json", "--texts", "texts.parquet")
    assert left.value.code == 1
    said = capsys.readouterr().err
    assert "was trained on features of 'tiny'" in said
    assert "the model given is 'another' (weights bbbbbbbbbbbb…)" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--texts", "none.txt"), "there is no file none.txt"),
        (("--texts", "texts.parquet", "--column", "txet"), "has no column 'txet'"),
        (("--texts", "texts.parquet", "--output", "x.pkl"), "its suffix must be one of"),
        (("--texts", "latin.txt"), "latin.txt: line 2 is not valid utf-8"),
        (("--texts", "latin.txt", "--encoding", "utf-9"), "no text encoding 'utf-9'"),
        (("--texts", "latin.txt", "--id", "key"), "--id is key, and latin.txt has no columns"),
        (("--texts", "texts.parquet", "--id", "ky"), "has no column 'ky'"),
        (("--texts", "t.csv", "--delimiter", "ab"), '--delimiter is "ab"'),
        (("--texts", "texts.parquet", "--model", "nowhere.json"), "there is no model at nowhere"),
        (("--texts", "texts.parquet", "--device", "auto"), "--device is 'auto': a model is not"),
        (("--texts", "texts.parquet", "--batch-tokens", "0"), "--batch-tokens is 0: Input should"),
    ],
)
def test_mistakes_are_one_sentence(project, monkeypatch, capsys, arguments, words):
    (project / "latin.txt").write_bytes("fine\nna\u00efve".encode("latin-1"))
    with pytest.raises(SystemExit):
        run_command(project, monkeypatch, *arguments)
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
