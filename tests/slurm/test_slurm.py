"""What goes wrong on clusters, on a real one, and the workflow's own stages on it."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tests.workflow.project import ROOT, Project
from tests.workflow.tiny_run import write_tiny_run

pytestmark = pytest.mark.slow

SNAKEFILE = textwrap.dedent(
    """
    import sys


    def growing(amount):
        def with_attempt(wildcards, attempt):
            return amount * attempt
        return with_attempt


    rule hungry:
        output: "hungry.txt"
        resources: mem_mb=growing(600)
        shell: "echo {resources.mem_mb} >> attempts.txt; "
               "python -c 'import time; held = bytearray(800_000_000); held[::4096] = b\\"x\\" * "
               "len(held[::4096]); time.sleep(4)' && echo {resources.mem_mb} > {output}"


    rule nap:
        output: "nap.txt"
        resources: mem_mb=600
        shell: "echo $$ >> naps.txt; sleep 6; echo done > {output}"


    rule card:
        output: "card{n}.txt"
        resources: mem_mb=600, gpu=1
        shell: "{sys.executable} -m tests.slurm.device {output}"
    """
)
# The shipped profile; only its waiting times are shorter. After n seconds, and then after n + 10
# more, Snakemake's plugin asks what has ended; most of these jobs take 10 to 15 seconds.
PROFILE = [
    *("--profile", str(ROOT / "profiles/slurm")),
    *("--slurm-init-seconds-before-status-checks", "4"),
    *("--seconds-between-status-checks", "4"),
    *("--latency-wait", "10"),
]


@pytest.fixture(scope="module", autouse=True)
def local(tmp_path_factory):
    """A run on this machine, which goes on while the cluster's jobs of the first test wait."""
    project = one_study(tmp_path_factory.mktemp("local"))
    with (project.folder / "said.txt").open("w") as said:
        process = subprocess.Popen(
            project.command(),
            cwd=project.folder,
            env=project.environment(),
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    yield project, process
    process.kill()


def test_memory_kills_restarts_and_cards(cluster, plugin, tmp_path):
    """One run in which a job outgrows its memory, one is killed, and the controller restarts."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    targets = ["hungry.txt", "nap.txt", "card1.txt", "card2.txt"]
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *targets, *PROFILE],
        cwd=tmp_path,
        env=cluster.environment()
        | {"PYTHONPATH": os.pathsep.join([str(plugin), str(ROOT), str(ROOT / "workflow")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        os.kill(int(wait_for(tmp_path / "naps.txt")[0]), signal.SIGKILL)
        cluster.stop("slurmctld")
        time.sleep(2)
        cluster.start_controller()
        said, _ = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert (tmp_path / "attempts.txt").read_text().split() == ["600", "1200"]
    assert (tmp_path / "hungry.txt").read_text().strip() == "1200"
    assert len((tmp_path / "naps.txt").read_text().split()) == 2
    assert (tmp_path / "nap.txt").read_text() == "done\n"
    cards = [(tmp_path / f"card{n}.txt").read_text().split() for n in (1, 2)]
    # Each job sees its card as number 0, and takes it whatever the other has locked.
    assert cards == [["cuda:0", "0"]] * 2


def test_a_run_through_sbatch_gives_the_same_bytes_as_on_one_machine(
    cluster, plugin, local, tmp_path
):
    """From the user's files to the report and the manifest."""
    remote = one_study(tmp_path)
    environment = remote.environment() | cluster.environment()
    environment["PYTHONPATH"] = os.pathsep.join([remote.environment()["PYTHONPATH"], str(plugin)])
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *PROFILE, "--configfile", remote.configuration],
        cwd=remote.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    here, process = local
    assert process.wait() == 0, (here.folder / "said.txt").read_text()
    assert "report.html" in here.results()
    assert remote.results() == here.results()


def one_study(folder):
    """The tiny run with one of its studies: every kind of job, in few waves."""
    project = Project.copy(folder / "project")
    write_tiny_run(project.folder)
    settings = project.folder / project.configuration
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"studies": ["patching"]}))
    return project


def wait_for(path, seconds=60):
    end = time.monotonic() + seconds
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.1)
    return path.read_text().split()
