"""The papers' runs, by the command that makes them: every job, from an empty folder."""

import re
import subprocess
import sys

import pytest
import yaml
from llm_anatomy.config.shipped import paper_configurations

from tests.workflow.project import ROOT, Project

PAPERS = {name: yaml.safe_load(file.read_text()) for name, file in paper_configurations().items()}
# Files that only their owners may hand out, in their columns.
LABELS = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
OWN_FILES = {
    "data/jigsaw-2018-train.csv": [
        ",".join(("id", "comment_text", *LABELS)),
        *(f"c{k},Comment number {k} of them," + ",".join([str(k % 2)] * 6) for k in range(12)),
    ],
    "data/toxigen.csv": ["text", *(f"Sentence number {k}." for k in range(12))],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy whose environment has the optional package that hub data need; it is not run."""
    made = Project.copy(tmp_path_factory.mktemp("papers"))
    (made.folder / "workflow/datasets.py").write_text("")
    return made


def planned(project, folder, name):
    """Jobs of each rule that `llm-anatomy run --paper NAME` would start there."""
    command = [sys.executable, "-m", "llm_anatomy.cli.app", "run", "-n", "--paper", name]
    done = subprocess.run(
        command, cwd=folder, env=project.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    table = (done.stdout + done.stderr).rpartition("Job stats:")[2].partition("\ntotal")[0]
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


@pytest.mark.parametrize("name", sorted(PAPERS))
def test_is_planned_to_its_report_from_an_empty_folder(project, tmp_path, name):
    paper = PAPERS[name]
    for file in {d["path"] for d in paper["datasets"] if "path" in d}:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("\n".join(OWN_FILES[file]) + "\n")
    jobs = planned(project, tmp_path, name)
    assert jobs["prepare_model"] == len(paper["models"])
    assert {f"conclude_{study}" for study in paper["studies"]} <= set(jobs)
    assert {"report", "write_manifest"} <= set(jobs)
    if "patching" in paper["studies"]:
        tasks = len(paper["patching"]["tasks"])
        assert jobs["sweep_layers"] == len(paper["models"]) * tasks
    if "facts" in paper["studies"]:
        relations = len(paper["facts"]["relations"])
        assert jobs["attribute_facts"] == len(paper["models"]) * relations
    if "neurons" in paper["studies"]:
        assert jobs["map_neurons"] == len(paper["models"]) * paper["neurons"]["map"].get("parts", 1)


@pytest.mark.parametrize("name", sorted(PAPERS))
def test_its_page_names_what_it_needs(name):
    page = (ROOT / f"docs/papers/{name}.md").read_text()
    paper = PAPERS[name]
    for entry in [*paper["models"], *paper["datasets"]]:
        for key in ("hub", "path"):
            assert f"`{entry[key]}`" in page if key in entry else True, entry
    for study in paper["studies"]:
        assert study in page
    assert f"--paper {name}" in page
