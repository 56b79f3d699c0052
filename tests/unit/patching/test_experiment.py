"""The study's functions as a notebook calls them: frames in, frames out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.patching import (
    Freeze,
    Manipulation,
    Noise,
    PatchingSummary,
    RelationTask,
    Skip,
    Switch,
)
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.patching import sweep
from llm_anatomy.patching.clean import CleanRun
from llm_anatomy.patching.examples import BuiltTask, build_task
from llm_anatomy.patching.experiment import sweep_task
from llm_anatomy.patching.summary import summarise_sweeps
from llm_anatomy.tables.patching import CURVES, DEPTHS, EXAMPLES, FLOORS, INTAKE, PAIRS, SWEEPS

from tests.unit.patching.tools import saved_model

CITIES = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Peru": "Lima", "Chad": "Faya"}
TASK = RelationTask(name="capitals", relation="capitals", max_new_tokens=6)
MANIPULATIONS: list[Manipulation] = [
    Noise(name="noise", seeds=2),
    Freeze(name="freeze"),
    Skip(name="skip"),
    Switch(name="switch"),
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    model: Path = saved_model(tmp_path_factory.mktemp("model"))
    return load_model(model, Precision(), Compute())


@pytest.fixture(scope="module")
def task(loaded: LoadedModel) -> BuiltTask:
    records = [
        {"example_id": subject, "subject": subject, "answers": [answer], "prompt": None}
        for subject, answer in (CITIES | {"Nowhere " * 60: "Faya"}).items()
    ]
    return build_task(
        TASK, records, loaded.tokenizer, context=100, manipulations=[Switch(name="switch")]
    )


def test_a_task_is_four_frames(task: BuiltTask) -> None:
    for frame, schema in (
        (task.examples, EXAMPLES),
        (task.pairs, PAIRS),
        (task.floors, FLOORS),
        (task.intake, INTAKE),
    ):
        assert list(frame) == [column.name for column in schema.columns]
    assert list(task.examples["subject"]) == list(CITIES)
    assert set(task.pairs["example_id"]) == set(CITIES)
    assert dict(zip(task.floors["floor"], task.floors["value"], strict=True)) == {
        "uniform": 0.2,
        "majority": 0.2,
    }
    too_long = task.intake[task.intake["category"] == "prompt_too_long"]
    assert list(too_long["subject"]) == ["Nowhere " * 60]


@pytest.mark.parametrize("batch_tokens", [30, 2048])
def test_manipulations_swept_together_equal_each_alone(
    loaded: LoadedModel, task: BuiltTask, batch_tokens: int
) -> None:
    def swept(manipulations: list[Manipulation]) -> pd.DataFrame:
        return sweep_task(
            loaded, TASK, task.examples, task.pairs, manipulations, batch_tokens=batch_tokens
        )

    together, alone = swept(MANIPULATIONS), [swept([])]
    assert list(together) == [column.name for column in SWEEPS.columns]
    assert set(alone[0]["manipulation"]) == {"none"}
    for manipulation in MANIPULATIONS:
        own = swept([manipulation])
        alone.append(own[own["manipulation"] == manipulation.name])
    pd.testing.assert_frame_equal(
        together, pd.concat(alone, ignore_index=True), check_exact=True, check_dtype=False
    )


def test_batches_of_the_same_prompts_share_their_clean_run(
    loaded: LoadedModel, task: BuiltTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[torch.Tensor] = []
    clean_run = sweep.clean_run

    def counted(replay: Replay, tokens: torch.Tensor) -> CleanRun:
        runs.append(tokens)
        return clean_run(replay, tokens)

    monkeypatch.setattr(sweep, "clean_run", counted)
    noise, freeze = MANIPULATIONS[:2]
    counts = []
    for manipulations in ([noise], [noise, freeze]):
        runs.clear()
        sweep_task(loaded, TASK, task.examples, task.pairs, manipulations)
        counts.append(len(runs))
    lengths = {len(tokens) for tokens in task.examples["tokens"]}
    assert counts == [len(lengths), len(lengths)]


def test_curves_and_depths_of_sweeps(loaded: LoadedModel, task: BuiltTask) -> None:
    sweeps = sweep_task(loaded, TASK, task.examples, task.pairs, MANIPULATIONS, layers=[3, 0])
    settings = PatchingSummary(resamples=100)
    curves, depths = summarise_sweeps(sweeps, task.floors, settings)
    assert list(curves) == [column.name for column in CURVES.columns]
    assert list(depths) == [column.name for column in DEPTHS.columns]
    assert list(curves["manipulation"].unique()) == [m.name for m in MANIPULATIONS]
    assert set(curves["layer"]) == {0, 3}
    assert set(curves["layers"]) == {4}
    noise = sweeps[sweeps["manipulation"] == "noise"]
    row = curves.query("manipulation == 'noise' and subset == 'all' and metric == 'kl'").iloc[0]
    assert row["value"] == pytest.approx(np.mean(noise.loc[noise["layer"] == 0, "kl"]))
