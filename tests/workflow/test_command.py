"""`llm-anatomy` on a finished run: what a terminal shows, what a log gets, what is stale."""

import os
import pty
import re
import subprocess
import sys

import pytest

PROGRAM = [sys.executable, "-m", "llm_anatomy.cli.app"]
ONE_JOB = ["results/data/capitals.parquet", "--forcerun", "build_dataset", "--cores", "1"]


def environment(project):
    return project.environment() | {"COLUMNS": "100", "TERM": "xterm"}


def command(project, *arguments):
    return subprocess.run(
        [*PROGRAM, *arguments, "--configfile", project.configuration],
        cwd=project.folder,
        env=environment(project),
        capture_output=True,
        text=True,
    )


def on_a_terminal(project, *arguments):
    """What a command writes to a terminal, and its exit status."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *arguments, "--configfile", project.configuration],
        cwd=project.folder,
        env=environment(project),
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    written = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    return written.decode(errors="replace"), process.wait()


def test_a_person_sees_what_runs_and_how_many_are_done(finished):
    shown, status = on_a_terminal(finished, "run", *ONE_JOB)
    assert status == 0, shown
    assert "1 of 1 jobs done" in shown
    assert "build_dataset capitals" in shown
    assert "Select jobs to execute" not in shown
    assert "The report: " in shown


def test_a_failed_job_is_told_above_the_display(finished):
    table = finished.folder / "capitals.csv"
    before = table.read_bytes()
    table.write_bytes(before + b'"Mars\n')
    try:
        shown, status = on_a_terminal(finished, "run", *ONE_JOB)
    finally:
        table.write_bytes(before)
    assert status == 1
    assert "capitals.csv" in shown
    assert "Traceback" not in shown


def test_a_log_gets_snakemakes_own_lines(finished):
    done = command(finished, "run", *ONE_JOB)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 steps (100%) done" in done.stderr
    assert "\x1b[" not in done.stdout + done.stderr


def test_status_says_what_is_done_and_why_the_rest_is_not(finished):
    done = command(finished, "status")
    assert re.match(r"Configuration: .*\n(\d+) of \1 jobs are done and up to date\.\n", done.stdout)
    file = finished.folder / finished.configuration
    before = file.read_text()
    file.write_text(before.replace('"resamples": 100', '"resamples": 101'))
    try:
        stale = command(finished, "status")
    finally:
        file.write_text(before)
    assert "summarise_sweeps tiny capitals: settings changed: summary.resamples" in stale.stdout
    done_jobs, jobs = map(int, re.findall(r"patching +(\d+) of (\d+)", stale.stdout)[0])
    assert done_jobs == jobs - 2
    assert "further jobs follow from these" in stale.stdout


@pytest.mark.parametrize("command_line", [["plan"], ["doctor"], ["explain", "facts/facts"]])
def test_every_look_at_a_run_ends_well(finished, command_line):
    done = subprocess.run(
        [*PROGRAM, *command_line],
        cwd=finished.folder,
        env=environment(finished),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
