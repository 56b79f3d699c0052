"""Killed at any moment, the same command finishes with the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.workflow.project import Project

KILLS = 20
# A killed run is left alone for up to so many seconds after it has made its share of the results,
# and no longer than to its next result: on a fast machine it would have ended by then.
DELAY = 3
# The report and the manifest come last and one by one, so that with fewer results a run goes on.
LAST = 3
# Taken from the undisturbed run: the only numbers that no two runs agree on, measured times; and
# with them the model and the data, to save time.
KEPT = ("toxicity/tiny/remarks/early_exit.parquet", "models/tiny/", "data/")

pytestmark = pytest.mark.slow


def test_twenty_kills_leave_the_same_bytes(finished, tmp_path):
    expected = finished.results()
    shutil.copytree(finished.folder, tmp_path / "killed", symlinks=True)
    killed = Project(tmp_path / "killed")
    for name in expected:
        if not name.startswith(KEPT):
            (killed.folder / "results" / name).unlink()
    # Of folders that rules make, Snakemake only asks whether they are there.
    for folder in sorted((killed.folder / "results").rglob("*/"), reverse=True):
        with suppress(OSError):
            folder.rmdir()
    draw = random.Random(0)
    first, last = count(killed), len(expected)
    # Moments all over the run, counted in results: a slow machine gets as far as a fast one.
    for number, share in enumerate(
        sorted(draw.randrange(first, last - LAST) for _ in range(KILLS))
    ):
        process = subprocess.Popen(
            killed.command(),
            cwd=killed.folder,
            env=killed.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while count(killed) < share and process.poll() is None:
            time.sleep(0.02)
        reached, end = count(killed), time.monotonic() + draw.uniform(0, DELAY)
        while time.monotonic() < end and count(killed) == reached < last - LAST:
            time.sleep(0.02)
        # In turn with and without its stages, which then go on as orphans beside the next run.
        if number % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        assert process.wait() == -signal.SIGKILL, f"run {number} ended before it was killed"
        killed.run("--unlock")
    wait_for_orphans(killed)
    killed.run()
    assert killed.planned() == {}
    found = whole(killed.results())
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def count(project):
    """How many finished results there are."""
    files = (project.folder / "results").rglob("*")
    return sum(".partial" not in str(path) and path.is_file() for path in files)


def whole(results):
    """Without what killed writers left, which nothing reads."""
    return {name: content for name, content in results.items() if ".partial" not in name}


def wait_for_orphans(project, seconds=60):
    """Stages of killed runs may still be at work, as docs/cluster.md says of clusters."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and orphans(project):
        time.sleep(1)


def orphans(project):
    """Processes that work in the project's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # A process may end while it is looked at.
        with suppress(OSError):
            if (process / "cwd").readlink() == project.folder:
                found.append(process.name)
    return found
