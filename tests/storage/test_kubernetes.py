"""Jobs in pods that share no disk make the bytes of a run on one machine."""

import subprocess
from dataclasses import dataclass, replace

import pytest

from tests.storage.bucket import StoredProject
from tests.storage.pods import Pods
from tests.workflow.project import Project
from tests.workflow.tiny_run import write_tiny_run

# What reads the user's own files stays on the user's machine; a target has nothing to run.
HERE = ("prepare_model", "build_dataset", "patching")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class PodProject(StoredProject):
    """A copy of the project whose jobs run in pods."""

    profile: str = "kubernetes"
    place: str = "pods"
    pods: Pods | None = None

    def environment(self) -> dict[str, str]:
        return super().environment() | {"KUBECONFIG": str(self.pods.kubeconfig)}


def test_a_study_in_pods_gives_the_same_bytes(server, tmp_path):
    local = Project.copy(tmp_path / "local")
    with Pods(tmp_path / "pods", server.packages) as pods:
        remote = replace(PodProject.copy(tmp_path / "remote"), server=server, pods=pods)
        for project in (local, remote):
            write_tiny_run(project.folder)
        # Pods get what git tracks.
        for command in (["init", "-q"], ["add", "--all"]):
            subprocess.run(["git", *command], cwd=remote.folder, check=True)
        local.run("patching")
        planned = remote.planned("patching")
        done = remote.snakemake("patching", "--seconds-between-status-checks", "1")
        assert done.returncode == 0, f"{done.stderr[-4000:]}\n{pods.logs()}"
        assert len(pods.started) == sum(n for rule, n in planned.items() if rule not in HERE)
    assert remote.results() == local.results()
