"""A hundred thousand texts of a model with 32 layers: memory stays flat, time grows in proportion.

Twenty million tokens; the stages that read them run as they do in the workflow, each in a process
of its own, whose peak of memory and processor seconds the system counts.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scale.synthetic import write_activations

pytestmark = pytest.mark.slow
# From one shard to as many; `LLM_ANATOMY_SCALE` shortens a trial.
SHARDS = int(os.environ.get("LLM_ANATOMY_SCALE", "8"))
MOST_BYTES = 3e9
MOST_GROWTH = 1.05


def run_stage(
    name: str, settings: dict[str, object], **paths: Path | list[Path]
) -> tuple[int, float]:
    """Run a stage; its peak of memory in bytes and its processor seconds."""
    command = [sys.executable, "-m", f"llm_anatomy.stages.{name}", "--settings"]
    command.append(json.dumps(settings))
    for option, given in paths.items():
        files = given if isinstance(given, list) else [given]
        command += [f"--{option.replace('_', '-')}", *map(str, files)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, name
    return usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


def run_all(folder: Path, shards: int) -> dict[str, tuple[int, float]]:
    made = write_activations(folder / "activations", shards)
    out = folder / "out"
    used = {
        "spline_features": run_stage(
            "spline_features",
            {"spline_features": {"include_bos": False}},
            traces=made.traces,
            features=out / "spline_features.parquet",
        ),
        "intrinsic_dimension": run_stage(
            "intrinsic_dimension",
            {"intrinsic_dimension": {"clip": "none"}},
            attention_counts=made.attention_counts,
            intrinsic_dimension=out / "intrinsic_dimension.parquet",
        ),
    }
    settings = {
        "seed": 0,
        "dataset": "synthetic",
        "folds": {},
        "classifiers": {"names": ["logistic_regression"], "c": [0.01, 1.0], "c_tfidf": [1.0]},
        "baselines": {"state_depths": [0.5, 1.0]},
        "scoring": {"resamples": 50},
        "early_exit": {"n_layers": [3]},
        "detector": {},
    }
    names = ("predictions", "metrics", "choices")
    used["detect_toxicity"] = run_stage(
        "detect_toxicity",
        settings,
        texts=made.texts,
        folds=made.folds,
        spline_features=out / "spline_features.parquet",
        intrinsic_dimension=out / "intrinsic_dimension.parquet",
        states=made.states,
        detector=out / "detector.safetensors",
        **{name: out / f"{name}.parquet" for name in names},
    )
    return used


def test_twenty_million_tokens_fit_in_three_gigabytes(tmp_path: Path) -> None:
    few = run_all(tmp_path / "few", 1)
    many = run_all(tmp_path / "many", SHARDS)
    figures = {
        name: (peak, seconds, math.log(seconds / few[name][1]) / math.log(SHARDS))
        for name, (peak, seconds) in many.items()
    }
    for name, (peak, seconds, growth) in figures.items():
        sys.stderr.write(f"{name}: {peak / 1e9:.2f} GB, {seconds:.0f} s, exponent {growth:.2f}\n")
    assert {name for name, (peak, _, _) in figures.items() if peak > MOST_BYTES} == set()
    assert {name for name, (_, _, growth) in figures.items() if growth > MOST_GROWTH} == set()
