"""Every configuration that ships plans a complete run, through the real command line."""

import pytest
import yaml

from tests.workflow.project import ROOT, Project

SHIPPED = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "config").rglob("*.yaml"))


def needed_files(path):
    """The user's own data files that a configuration names, in order."""
    datasets = yaml.safe_load((ROOT / path).read_text()).get("datasets", [])
    return [dataset["path"] for dataset in datasets if "path" in dataset]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy whose environment has the optional package that hub data need; it is not run."""
    made = Project.copy(tmp_path_factory.mktemp("shipped"))
    (made.folder / "workflow/datasets.py").write_text("")
    return made


@pytest.mark.parametrize("path", SHIPPED)
def test_plans_a_run_up_to_the_report(project, path):
    asked_for = needed_files(path)
    if asked_for:
        # Data that may not be shipped: the user is told which file to put where.
        done = project.snakemake("--dry-run", "--configfile", path)
        assert done.returncode == 1
        assert f"there is no file {asked_for[0]}" in done.stdout + done.stderr
        return
    planned = project.planned("--configfile", path)
    assert {"prepare_model", "report", "write_manifest", "all"} <= set(planned)


def test_workflow_folder_has_an_entry_for_the_catalogue(project):
    planned = project.planned("--configfile", "config/config.yaml", "-s", "workflow/Snakefile")
    assert {"report", "write_manifest"} <= set(planned)
    assert (ROOT / ".snakemake-workflow-catalog.yml").exists()
