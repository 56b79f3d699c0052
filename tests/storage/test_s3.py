"""Results in object storage are the bytes of a run on one machine."""

import json
from dataclasses import replace

import pytest

from tests.storage.bucket import StoredProject
from tests.workflow.project import Project
from tests.workflow.tiny_run import write_tiny_run

# Times that are measured, and what is made from them, no two runs agree on.
MEASURED = ("toxicity/tiny/remarks/early_exit.parquet", "toxicity/claims.parquet")
STUDIES = ("geometry", "neurons", "patching", "facts")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def projects(server, tmp_path_factory):
    """The same project twice, with results in its folder and in the bucket."""
    folder = tmp_path_factory.mktemp("projects")
    local = Project.copy(folder / "local")
    stored = replace(StoredProject.copy(folder / "stored"), server=server)
    for project in (local, stored):
        write_tiny_run(project.folder)
        # All studies but the one that measures times, so that report and manifest compare, too.
        configuration = json.loads((project.folder / "tiny.yaml").read_text())
        configuration["studies"] = STUDIES
        (project.folder / "untimed.yaml").write_text(json.dumps(configuration))
    return local, stored


@pytest.mark.parametrize("profile", ["s3", "kubernetes"])
def test_the_profile_plans_the_jobs_of_a_run_on_one_machine(projects, profile):
    local, stored = projects
    assert replace(stored, profile=profile).planned() == local.planned()


def test_every_result_in_the_bucket_has_the_bytes_of_a_local_run(projects):
    local, stored = (replace(project, configuration="untimed.yaml") for project in projects)
    for project in (local, stored):
        project.run()
    assert stored.planned() == {}
    compare(local.results(), stored.results())


def test_a_study_in_the_bucket_goes_on_from_what_is_there(projects):
    local, stored = projects
    assert "extract_activations" not in stored.planned("toxicity")
    for project in (local, stored):
        project.run("toxicity")
    compare(local.results(), stored.results())


def compare(local, stored):
    assert sorted(stored) == sorted(local)
    differing = [name for name in local if stored[name] != local[name]]
    assert [n for n in differing if n not in MEASURED and "figures/toxicity/" not in n] == []
