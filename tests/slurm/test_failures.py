"""What goes wrong on clusters, on a real one: memory, killed jobs, a controller that restarts."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tests.workflow.project import ROOT

SNAKEFILE = textwrap.dedent(
    """
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
        shell: "echo $CUDA_VISIBLE_DEVICES > {output}; sleep 3"
    """
)


@pytest.fixture
def start(cluster, plugin, tmp_path):
    """Start a toy workflow through the shipped profile; only the waiting times are shorter."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    processes = []

    def run(*targets):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "snakemake", *targets),
                *("--profile", str(ROOT / "profiles/slurm")),
                *("--slurm-init-seconds-before-status-checks", "1"),
                *("--seconds-between-status-checks", "1"),
                *("--latency-wait", "10"),
            ],
            cwd=tmp_path,
            env=cluster.environment() | {"PYTHONPATH": str(plugin)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()


def finish(process):
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def wait_for(path, seconds=40):
    end = time.monotonic() + seconds
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.1)
    return path.read_text().split()


def test_a_job_out_of_memory_succeeds_on_retry_with_more(start, tmp_path):
    finish(start("hungry.txt"))
    assert (tmp_path / "attempts.txt").read_text().split() == ["600", "1200"]
    assert (tmp_path / "hungry.txt").read_text().strip() == "1200"


def test_a_killed_job_runs_again(start, tmp_path):
    running = start("nap.txt")
    os.kill(int(wait_for(tmp_path / "naps.txt")[0]), signal.SIGKILL)
    finish(running)
    assert len((tmp_path / "naps.txt").read_text().split()) == 2
    assert (tmp_path / "nap.txt").read_text() == "done\n"


def test_a_restarted_controller_loses_nothing(start, cluster, tmp_path):
    running = start("nap.txt")
    wait_for(tmp_path / "naps.txt")
    cluster.stop("slurmctld")
    time.sleep(2)
    cluster.start_controller()
    finish(running)
    assert len((tmp_path / "naps.txt").read_text().split()) == 1


def test_every_job_gets_a_card_of_its_own(start, tmp_path):
    finish(start("card1.txt", "card2.txt"))
    cards = {(tmp_path / f"card{n}.txt").read_text().strip() for n in (1, 2)}
    assert cards == {"0", "1"}
