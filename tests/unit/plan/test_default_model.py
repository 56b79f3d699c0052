"""On the default model the estimated memory is within 30 % of what a stage really takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from llm_anatomy.config.base import Compute
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.config.neurons import NeuronsSettings, VocabularyMap
from llm_anatomy.config.root import Configuration
from llm_anatomy.plan.resources import need_of
from llm_anatomy.plan.shape import prepared_shape
from llm_anatomy.runner import COMPUTE_VARIABLE
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.data import TEXTS

from tests.default_model import default_model

COMPUTE = Compute(threads=1, batch_tokens=512)
TEXT = "The lake lies at the foot of two low hills and is fed by a single stream. " * 8
# Not getrusage: its peak starts at that of the process that forked this one.
MEASURE = """
import pathlib, runpy, sys
module = sys.argv[1]
sys.argv = sys.argv[1:]
runpy.run_module(module, run_name="__main__")
status = pathlib.Path("/proc/self/status").read_text().splitlines()
peak = next(line for line in status if line.startswith("VmHWM:"))
print(int(peak.split()[1]) * 1024 / 1e6)
"""


@pytest.mark.default_model
@pytest.mark.parametrize("rule", ["extract_activations", "map_neurons"])
def test_estimated_memory_is_close_to_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    model = default_model()
    monkeypatch.chdir(tmp_path)
    shape = prepared_shape(model.parent)
    configuration = Configuration(
        studies=["geometry", "neurons"],
        compute=COMPUTE,
        datasets=[Dataset(name="lakes", path="lakes.csv", max_rows=4)],
        neurons=NeuronsSettings(map=VocabularyMap(parts=shape.n_layers)),
    )
    settings, paths = _stage(rule, configuration, model)
    monkeypatch.setenv(COMPUTE_VARIABLE, COMPUTE.model_dump_json())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
    stage = [f"llm_anatomy.stages.{rule}", "--settings", settings]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *stage, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = float(done.stdout.split()[-1])
    wildcards = {"model": "default", "dataset": "lakes"}
    need = need_of(rule, wildcards, configuration, {"default": shape})
    assert need is not None
    assert need.memory_mb == pytest.approx(measured, rel=0.3)


def _stage(rule: str, configuration: Configuration, model: Path) -> tuple[str, dict[str, Path]]:
    """Settings and paths of a small job of a rule."""
    if rule == "map_neurons":
        settings = {"map": configuration.neurons.map.model_dump(), "part": 0}
        paths = {"vocabulary": Path("v.parquet"), "statistics": Path("s.parquet")}
        return json.dumps(settings), {"model": model} | paths
    texts = {"text_id": [f"row-{row}" for row in range(4)], "text": [TEXT] * 4}
    write_table(Path("lakes.parquet"), TEXTS, texts, {})
    settings = {
        "precision": configuration.precision.model_dump(),
        "extraction": configuration.geometry.extraction.model_dump(),
        "shard": 1,
    }
    names = ("traces", "states", "attention-counts")
    paths = {name: Path(f"{name}.parquet") for name in names}
    return json.dumps(settings), {"model": model, "texts": Path("lakes.parquet")} | paths
