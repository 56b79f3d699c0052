"""Noise depends on the configuration's seed, and each draw is a stream of its own."""

from typing import Literal

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.patching import Angle, Manipulation, Noise, RelationTask, Shuffle, Switch
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.patching.examples import BuiltTask, build_task
from llm_anatomy.patching.experiment import sweep_task

from tests.unit.patching.tools import saved_model

TASK = RelationTask(name="capitals", relation="capitals")
NOISE = Noise(name="noise", seeds=2)
RANDOM: list[Manipulation] = [
    NOISE,
    Noise(name="shared", seeds=1, shared=True),
    Noise(name="redrawn", seeds=1, redraw=True),
    Shuffle(name="shuffle", seeds=2),
    Angle(name="angle", degrees=[90], seeds=1),
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(saved_model(tmp_path_factory.mktemp("model")), Precision(), Compute())


@pytest.fixture(scope="module")
def task(loaded: LoadedModel) -> BuiltTask:
    records = [
        {"example_id": name, "subject": subject, "answers": [answer], "prompt": None}
        # Two examples of one prompt differ by their noise alone.
        for name, subject, answer in (("a", "Peru", "Lima"), ("b", "Peru", "Lima"))
    ]
    return build_task(
        TASK, records, loaded.tokenizer, context=100, manipulations=[Switch(name="switch")]
    )


def swept(
    loaded: LoadedModel,
    task: BuiltTask,
    manipulations: list[Manipulation],
    seed: int,
    method: Literal["fast", "reference"] = "fast",
) -> pd.DataFrame:
    found = sweep_task(
        loaded,
        TASK,
        task.examples,
        task.pairs,
        manipulations,
        layers=[0, 2],
        seed=seed,
        method=method,
    )
    return found[found["manipulation"] != "none"].reset_index(drop=True)


@pytest.mark.parametrize("method", ["fast", "reference"])
@pytest.mark.parametrize("manipulation", RANDOM, ids=lambda each: each.name)
def test_another_seed_gives_other_noise_and_the_same_seed_the_same(
    loaded: LoadedModel,
    task: BuiltTask,
    manipulation: Manipulation,
    method: Literal["fast", "reference"],
) -> None:
    first, again, other = (swept(loaded, task, [manipulation], s, method) for s in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    key = ["example_id", "layer", "seed"]
    pd.testing.assert_frame_equal(first[key], other[key])
    assert (np.abs(first["kl"] - other["kl"]) > 1e-6).all()


def test_draws_examples_layers_and_manipulations_have_streams_of_their_own(
    loaded: LoadedModel, task: BuiltTask
) -> None:
    shared = Noise(name="shared", seeds=1, shared=True)
    rows = swept(loaded, task, [NOISE, Angle(name="angle", degrees=[90], seeds=1), shared], 3)
    by_example = rows[rows["manipulation"] == "shared"].groupby("layer")["kl"]
    assert (by_example.max() - by_example.min() < 1e-6).all()
    assert len(by_example) == 2
    own = rows[rows["manipulation"] != "shared"]
    assert len(own) == 2 * 2 * 3
    assert own["kl"].round(6).is_unique


def test_draws_do_not_depend_on_how_many_there_are_or_what_else_is_swept(
    loaded: LoadedModel, task: BuiltTask
) -> None:
    one = swept(loaded, task, [Noise(name="noise", seeds=1)], 3)
    three = swept(loaded, task, [Shuffle(name="shuffle"), Noise(name="noise", seeds=3)], 3)
    same = three[(three["manipulation"] == "noise") & (three["seed"] == 0)]
    assert one["kl"].tolist() == pytest.approx(same["kl"].tolist(), abs=1e-9)
