"""Killed at any moment, the same command finishes with the same bytes."""

import os
import random
import signal
import subprocess
import time

import pytest

from tests.workflow.project import Project
from tests.workflow.tiny_run import write_tiny_run

KILLS = 20
TARGETS = ("patching", "results/geometry/tiny/remarks/spline_features.parquet")

pytestmark = pytest.mark.slow


def make_project(folder):
    project = Project.copy(folder)
    write_tiny_run(project.folder)
    return project


def test_twenty_kills_leave_the_same_bytes(tmp_path):
    undisturbed, killed = make_project(tmp_path / "whole"), make_project(tmp_path / "killed")
    undisturbed.run(*TARGETS)
    draw = random.Random(0)
    for number in range(KILLS):
        process = subprocess.Popen(
            killed.command(*TARGETS),
            cwd=killed.folder,
            env=killed.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(draw.uniform(2, 12))
        # In turn with and without its stages, which then go on as orphans beside the next run.
        if number % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        killed.run("--unlock")
    killed.run(*TARGETS)
    assert killed.planned(*TARGETS) == {}
    wait_for_orphans(killed)
    assert names(killed) == names(undisturbed)
    for name, content in undisturbed.results().items():
        assert killed.results()[name] == content, name


def names(project):
    return [name for name in project.results() if not name.endswith(".partial")]


def wait_for_orphans(project, seconds=60):
    """Stages of killed runs may still be writing; what they write must not differ."""
    end = time.monotonic() + seconds
    while any((project.folder / "results").rglob("*.partial")) and time.monotonic() < end:
        before = {p: p.stat().st_mtime for p in (project.folder / "results").rglob("*.partial")}
        time.sleep(5)
        after = {p: p.stat().st_mtime for p in (project.folder / "results").rglob("*.partial")}
        if before == after:
            return
