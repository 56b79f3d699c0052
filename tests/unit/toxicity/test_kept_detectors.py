"""Detectors that read prompts: kept without pickles, refused elsewhere, scored as made."""

import json
from io import BytesIO, TextIOWrapper
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.artefacts.files import sha256_file
from llm_anatomy.cli import app
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.detectors import DetectorComparison
from llm_anatomy.config.models import Chat
from llm_anatomy.config.toxicity import Baselines, Classifiers, Folds, Scoring
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.source.record import write_record
from llm_anatomy.tables.detectors import DETECTORS, OPERATING_POINTS, SUBGROUPS
from llm_anatomy.toxicity import prompt_scoring
from llm_anatomy.toxicity.asking import Asked, ask, asking_record
from llm_anatomy.toxicity.comparison import ComparisonSettings, Contender
from llm_anatomy.toxicity.detector import (
    IN_RANGE,
    LONGER,
    SHORTER,
    UNLIKE,
    Detector,
    load_detector,
)
from llm_anatomy.toxicity.evaluate import labelled_texts, out_of_fold
from llm_anatomy.toxicity.first_token import FirstToken, SparseRecipe
from llm_anatomy.toxicity.folds import split_texts
from llm_anatomy.toxicity.keeping import card, kept_detectors, write_kept
from llm_anatomy.toxicity.operating import held_out_settings, operate
from llm_anatomy.toxicity.prompt_scoring import flagged, score_prompts
from llm_anatomy.toxicity.running import running_scores
from llm_anatomy.toxicity.token_probes import PooledRecipe, TokenStates
from sklearn.metrics import roc_auc_score

from tests.tiny import save_tiny_model

N = 60
COMPARISON = DetectorComparison(penalties=[0.3], probe_penalties=[0.01], steps=200, max_length=40)
SETTINGS = ComparisonSettings(
    seed=0,
    folds=Folds(n_folds=3, similarity=1.0),
    classifiers=Classifiers(),
    scoring=Scoring(resamples=20),
    baselines=Baselines(names=[]),
    comparison=COMPARISON,
)
NAMES = ("first_token", "attention_probe", "max_probe")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared tiny model with a chat template."""
    folder = tmp_path_factory.mktemp("kept")
    model = folder / "results/models/tiny"
    save_tiny_model(model / "weights")
    settings = model / "weights/tokenizer_config.json"
    template = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    changed = json.loads(settings.read_text()) | {"chat_template": template}
    settings.write_text(json.dumps(changed))
    files = {p.name: sha256_file(p) for p in sorted((model / "weights").iterdir())}
    weights = files["model.safetensors"]
    record = {"model": "tiny", "revision": "none", "weights_sha256": weights, "files": files}
    write_record(model, record, {})
    return folder


@pytest.fixture(scope="module")
def loaded(project: Path) -> LoadedModel:
    return load_model(
        project / "results/models/tiny/provenance.json", Precision(), Compute(threads=1)
    )


def frame() -> pd.DataFrame:
    bad = np.arange(N) % 2 == 0
    texts = [f"{'bad ' * (3 + i % 4) if b else 'the lake is '} {i}" for i, b in enumerate(bad)]
    frame = pd.DataFrame({"text_id": [f"row-{i}" for i in range(N)], "text": texts})
    return frame.assign(label_bad=pd.array(bad, dtype="boolean"))


@pytest.fixture(scope="module")
def kept(loaded: LoadedModel) -> tuple[dict[str, Detector], Asked]:
    texts = frame()
    asked = ask(loaded, texts, Chat(), COMPARISON, [], 256)
    (label,) = labelled_texts(split_texts(texts, SETTINGS.folds, 0, "x").folds, asked.text_ids)
    found = []
    states = TokenStates("token_states", asked.tokens)
    for features, recipe in (
        (FirstToken("first_token", asked.features, 64), SparseRecipe((0.3,), 1000)),
        (states, PooledRecipe("attention", (0.01,), 200)),
        (states, PooledRecipe("max", (0.01,), 200)),
    ):
        result = out_of_fold(label, features, recipe, 2, 0)
        work = operate(label, recipe, result.choices, COMPARISON.false_positive_rates, 2, 0)
        found.append(Contender(recipe, result, work, 1.0, 0))
    about = {"dataset": "made", "seed": 0, "provenance": loaded.provenance}
    about |= asking_record(loaded.tokenizer, Chat())
    return kept_detectors(found, asked, SETTINGS, about), asked


@pytest.fixture(scope="module")
def saved(project: Path, kept: tuple[dict[str, Detector], Asked]) -> Path:
    detectors, _ = kept
    write_kept(project / "kept", detectors, dict.fromkeys(detectors, "# card"))
    return project / "kept"


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_detector_scores_as_it_was_trained(
    name: str, saved: Path, kept: tuple[dict[str, Detector], Asked], loaded: LoadedModel
) -> None:
    detectors, asked = kept
    read = load_detector(saved / f"{name}.safetensors")
    assert read.description == detectors[name].description
    found = score_prompts(loaded, read, list(frame()["text"]), 256)
    assert found["flag_bad"].eq(IN_RANGE).all()
    own = detectors[name].labels["bad"]
    if name == "first_token":
        used = read.description["training"]["bad"]["tokens"]
        expected = own.score(asked.features[:, used].astype(float))
        assert 0 < len(used) < asked.features.shape[1] / 2
    else:
        expected = own.score_tokens(asked.tokens)
    assert np.allclose(found["score_bad"], expected, atol=1e-4)
    assert roc_auc_score(frame()["label_bad"].to_numpy(bool), found["score_bad"]) > 0.95
    assert (found["n_tokens"] == asked.tokens.lengths).all()


def test_the_same_detector_has_the_same_bytes(
    tmp_path: Path, saved: Path, kept: tuple[dict[str, Detector], Asked]
) -> None:
    write_kept(tmp_path / "again", kept[0], dict.fromkeys(NAMES, "# card"))
    files = sorted(path.name for path in saved.iterdir())
    assert files == sorted(f"{name}{end}" for name in NAMES for end in (".md", ".safetensors"))
    for name in files:
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_texts_outside_the_training_texts_have_no_score(
    name: str, saved: Path, loaded: LoadedModel
) -> None:
    detector = load_detector(saved / f"{name}.safetensors")
    texts = ["x", "bad " * 30, "", frame()["text"][0], "Ω" * 5]
    found = score_prompts(loaded, detector, texts, 64)
    flags = found["flag_bad"].tolist()
    assert flags[:3] == [SHORTER, LONGER, "empty text"]
    assert flags[3] == IN_RANGE
    # What a random model would answer to it is like the rest; its tokens' states are not.
    assert name == "first_token" or flags[4] in (UNLIKE, LONGER)
    assert found["score_bad"].notna().tolist() == [flag == IN_RANGE for flag in flags]


def test_time_is_shared_among_texts_by_their_tokens_in_milliseconds(
    saved: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([1.0, 1.012])
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr(prompt_scoring, "time", clock)
    detector = load_detector(saved / "max_probe.safetensors")
    found = score_prompts(loaded, detector, [frame()["text"][0], "", frame()["text"][1]], 64)
    shares = found["n_tokens"] / found["n_tokens"].sum()
    np.testing.assert_allclose(found["milliseconds"], 12 * shares)


def test_thresholds_are_set_on_texts_that_did_not_train(
    kept: tuple[dict[str, Detector], Asked],
) -> None:
    detectors, asked = kept
    (label,) = labelled_texts(split_texts(frame(), SETTINGS.folds, 0, "x").folds, asked.text_ids)
    recipe = PooledRecipe("max", (0.01,), 200)
    states = TokenStates("token_states", asked.tokens)
    expected = held_out_settings(label, states, recipe, 0.01, [0.001, 0.05], 0)
    training = detectors["max_probe"].description["training"]["bad"]
    result = out_of_fold(label, states, recipe, 2, 0)
    negatives = np.sort(result.scores[~label.truth])[::-1]
    # Of 30 negatives 0.1 % allow none above the threshold, and 5 % one.
    assert training["thresholds"]["0.001"] == pytest.approx(negatives[0])
    assert training["thresholds"]["0.05"] == pytest.approx(negatives[1])
    assert training["platt"] == pytest.approx(expected["platt"])


def test_scores_are_held_against_the_threshold_that_is_asked_for(
    kept: tuple[dict[str, Detector], Asked],
) -> None:
    detector = kept[0]["max_probe"]
    tau = detector.description["training"]["bad"]["thresholds"]["0.05"]
    scores = pd.DataFrame({"score_bad": [tau, tau + 1e-6, np.nan]})
    found = flagged(detector, scores, 0.05)
    assert found["above_bad"].tolist()[:2] == [False, True]
    assert found["above_bad"].isna().tolist() == [False, False, True]
    assert found["probability_bad"].isna().tolist() == [False, False, True]
    with pytest.raises(UserError, match=r"is 0.2, and the detector has thresholds for 0.001, 0.01"):
        flagged(detector, scores, 0.2)


def test_another_chat_template_is_refused(
    kept: tuple[dict[str, Detector], Asked], loaded: LoadedModel
) -> None:
    detector = kept[0]["max_probe"]
    other = Detector(detector.labels, detector.description | {"chat_record": {"template": "x"}})
    with pytest.raises(UserError, match="trained with another chat template"):
        score_prompts(loaded, other, ["bad bad bad 1"], 64)


@pytest.mark.parametrize("name", ["attention_probe", "max_probe"])
def test_running_scores_equal_scores_of_every_beginning(
    name: str, kept: tuple[dict[str, Detector], Asked], loaded: LoadedModel
) -> None:
    """One pass against as many as there are tokens, each with a beginning of the text alone."""
    detector, text = kept[0][name], "bad bad bad the lake is bad 7"
    steps = running_scores(loaded, detector, text)
    assert "".join(steps["token"]).replace(" ", "") == text.replace(" ", "")
    for end in range(1, len(steps) + 1):
        cut = Detector(detector.labels, detector.description | {"max_length": end})
        alone = score_prompts(loaded, cut, [text], 64).iloc[0]
        step = steps.iloc[end - 1]
        assert step["n_tokens"] == end == alone["n_tokens"]
        assert step["flag_bad"] == alone["flag_bad"]
        assert step["score_bad"] == pytest.approx(alone["score_bad"], abs=1e-5, nan_ok=True)
    assert steps["score_bad"].notna().any()
    assert steps["flag_bad"][0] == SHORTER


def test_a_running_score_of_another_detector_is_refused(
    kept: tuple[dict[str, Detector], Asked], loaded: LoadedModel
) -> None:
    with pytest.raises(UserError, match="the detector is a sparse_logistic"):
        running_scores(loaded, kept[0]["first_token"], "bad")


def command(project: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `llm-anatomy score`."""
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit) as ended:
        app.main(["score", "--threads", "1", *arguments])
    return int(ended.value.code or 0)


def test_the_command_scores_with_thresholds(
    project: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame().to_csv(project / "texts.csv", index=False)
    asked = ("--texts", "texts.csv", "--output", "scores.csv", "--false-positive-rate", "0.05")
    detector = ("--detector", str(saved / "attention_probe.safetensors"))
    assert command(project, monkeypatch, *detector, *asked) == 0
    found = pd.read_csv(project / "scores.csv")
    truth = frame()["label_bad"].to_numpy(bool)
    assert found["above_bad"][truth].mean() > 0.9
    assert found["above_bad"][~truth].mean() < 0.2
    assert found["probability_bad"].between(0, 1).all()


def test_a_stream_is_scored_line_by_line(
    project: Path,
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [frame()["text"][0], "", frame()["text"][1]]
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO("\n".join(lines).encode())))
    detector = ("--detector", str(saved / "max_probe.safetensors"))
    assert command(project, monkeypatch, *detector, "--stream") == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == [
        "row",
        "text",
        "n_tokens",
        "truncated",
        "score_bad",
        "flag_bad",
        "milliseconds",
    ]
    assert [row[:2] for row in rows[1:]] == [["1", lines[0]], ["2", ""], ["3", lines[2]]]
    assert [row[5] for row in rows[1:]] == [IN_RANGE, "empty text", IN_RANGE]
    assert command(project, monkeypatch, *detector, "--stream", "--texts", "texts.csv") == 1


def test_the_card_says_what_it_was_trained_on_and_what_it_does(
    kept: tuple[dict[str, Detector], Asked],
) -> None:
    own = {"label": "bad", "feature_set": "token_states", "classifier": "max_probe"}
    metrics = DETECTORS.frame(
        [own | {"metric": "roc_auc", "value": 0.9, "low": 0.8, "high": 0.95},
         own | {"classifier": "attention_probe", "metric": "roc_auc", "value": 0.123}]
    )  # fmt: skip
    shares = {"true_positive_rate": 0.5, "true_positive_low": 0.4, "true_positive_high": 0.6}
    shares |= {"false_positive_rate": 0.02, "false_positive_low": 0.0, "false_positive_high": 0.1}
    point = own | shares | {"wanted_rate": 0.01, "n_negative": 90, "negatives_needed": 299}
    # Copies and groups count once, and a rate is shown where all of its interval is below it.
    point |= {"n_negative_sets": 30}
    wanted = point | {"wanted_rate": 0.05, "false_positive_high": 0.05, "negatives_needed": 59}
    group = own | {"column": "length", "group": "3 to 5 tokens", "n_texts": 20, "n_positive": 7}
    group |= {"true_positive_rate": float("nan")}
    said = card(
        kept[0]["max_probe"],
        metrics,
        OPERATING_POINTS.frame([point, wanted]),
        SUBGROUPS.frame([group | {"subgroup_auc": 0.6, "false_positive_rate": float("nan")}]),
    )
    detector = kept[0]["max_probe"]
    low, high = detector.labels["bad"].range.tokens
    assert f"Trained on 60 texts of made, 30 of them positive, 60 sets" in said  # noqa: F541
    assert f"Texts of {low} to {high} tokens" in said
    assert detector.description["provenance"]["weights_sha256"][:12] in said
    assert "| roc_auc | 0.900 | 0.800 | 0.950 |" in said
    assert "0.123" not in said
    tau = detector.description["training"]["bad"]["thresholds"]["0.01"]
    found = "50.0% (40.0% to 60.0%)"
    short = (
        f"| 1.0% | {tau:.4f} | 2.00% (0.00% to 10.00%) | {found} | no: 30 sets of negatives, 299"
    )
    assert short in said
    assert f"| 2.00% (0.00% to 5.00%) | {found} | yes: 30 sets of negatives, 59 needed |" in said
    assert "not of the kept one, which no text that it was not set on has tested" in said
    assert "| length | 3 to 5 tokens | 20 | 7 | 0.600 |  |  |" in said


def test_the_command_scores_every_beginning_and_drops_no_text(
    project: Path,
    saved: Path,
    kept: tuple[dict[str, Detector], Asked],
    loaded: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [frame()["text"][0], "", frame()["text"][1]]
    pd.DataFrame({"text": texts}).to_json(project / "turns.jsonl", orient="records", lines=True)
    asked = ("--texts", "turns.jsonl", "--output", "turns.parquet", "--running")
    detector = ("--detector", str(saved / "max_probe.safetensors"))
    assert command(project, monkeypatch, *detector, *asked) == 0
    found = pd.read_parquet(project / "turns.parquet")
    parts = dict(list(found.groupby("row")))
    for number in (1, 3):
        own = parts[number]
        assert set(own["text"]) == {texts[number - 1]}
        alone = running_scores(loaded, kept[0]["max_probe"], texts[number - 1])
        assert own["token"].tolist() == alone["token"].tolist()
        assert own["score_bad"].to_numpy() == pytest.approx(alone["score_bad"], nan_ok=True)
    assert parts[2][["n_tokens", "token", "flag_bad"]].values.tolist() == [[0, "", "empty text"]]
