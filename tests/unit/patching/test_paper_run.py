"""The paper's own run is complete: four models, four tasks, every manipulation."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from llm_anatomy.config.load import load_configuration

ROOT = Path(__file__).parents[3]
PAPER = ROOT / "config" / "papers" / "attend_first.yaml"


def test_the_papers_models_and_tasks() -> None:
    configuration = load_configuration(yaml.safe_load(PAPER.read_text()), str(PAPER))
    patching = configuration.patching
    assert len(configuration.models) == 4
    assert {task.kind for task in patching.tasks} == {
        "relation",
        "arithmetic",
        "extractive_qa",
        "summarisation",
    }
    kinds = ["noise", "shuffle", "freeze", "skip"]
    assert [m.kind for m in patching.task_manipulations("squad")] == kinds
    assert [m.kind for m in patching.task_manipulations("capitals")] == [*kinds, "switch"]


@pytest.mark.slow
def test_the_paper_run_can_be_planned(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "patching", "--dry-run", "--quiet", "rules"]
    places = ["--snakefile", ROOT / "Snakefile", "--directory", tmp_path, "--configfile", PAPER]
    done = subprocess.run([*command, *map(str, places)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Four models and five tasks, whose manipulations share a job.
    assert "sweep_layers" in done.stdout + done.stderr
    counts = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert counts["sweep_layers"] == str(4 * 5)
