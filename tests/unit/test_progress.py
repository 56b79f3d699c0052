"""What a user sees of a long stage: a bar on a terminal, heartbeats in the log file."""

import os
import pty
import re
import subprocess
import sys
import termios
import textwrap

import pytest

STAGE = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from llm_anatomy import progress
    from llm_anatomy.config.base import Settings
    from llm_anatomy.errors import UserError
    from llm_anatomy.runner import run_stage

    progress.HEARTBEAT_SECONDS = 0.1

    class Rest(Settings):
        seconds: float
        mistake: bool = False
        fault: bool = False

    def run(settings: Rest, *, many: tuple[Path, ...], one: Path) -> None:
        "Sleep a little, twenty times."
        if settings.mistake:
            raise UserError("texts.csv: row 3 is empty")
        if settings.fault:
            raise RuntimeError("a bug")
        with progress.Progress(20, "naps", "sleep") as naps:
            for _ in range(20):
                time.sleep(settings.seconds)
                naps.advance()

    if __name__ == "__main__":
        run_stage(run)
    """
)


@pytest.fixture
def command(tmp_path):
    path = tmp_path / "stage.py"
    path.write_text(STAGE)

    def build(settings):
        return [
            *(sys.executable, str(path), "--settings", settings, "--many", "a", "b"),
            *("--one", "c", "--log", str(tmp_path / "logs/stage.log")),
        ]

    return build


def test_log_file_tells_count_rate_and_time_left(command, tmp_path):
    done = subprocess.run(command('{"seconds": 0.03}'), capture_output=True, text=True, check=True)
    lines = (tmp_path / "logs/stage.log").read_text().splitlines()
    assert "sleep: 0 of 20 naps" in lines[0]
    beats = [line for line in lines if line.endswith("left")]
    assert len(beats) >= 3
    for beat in beats:
        assert re.search(r"sleep: \d+ of 20 naps, [\d.]+ naps/s, \d+:\d\d:\d\d left$", beat)
    assert re.search(r"sleep: 20 naps in 0:00:0\d$", lines[-2])
    # Only Linux tells a process its peak.
    assert re.search(r"done(, with at most \d+ MB of memory)?$", lines[-1])
    assert done.stderr == done.stdout == "", "without a terminal the log file is the only place"


def test_terminal_shows_a_bar_and_no_heartbeats(command):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen(command('{"seconds": 0.03}'), stderr=theirs, stdout=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # Linux reports the closed other end of a terminal as an error
        pass
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert re.search(r"sleep: +\d+%\|.*\d+/20 \[.*naps/s\]", text)
    assert "left" not in text


def test_a_mistake_is_one_sentence_on_the_terminal_and_in_the_log(command, tmp_path):
    failed = subprocess.run(
        command('{"seconds": 0, "mistake": true}'), capture_output=True, text=True
    )
    assert failed.returncode == 1
    assert failed.stderr == "Error: texts.csv: row 3 is empty\n"
    log = (tmp_path / "logs/stage.log").read_text()
    assert log.count("\n") == 1
    assert log.endswith("Error: texts.csv: row 3 is empty\n")


def test_a_fault_keeps_its_traceback(command, tmp_path):
    failed = subprocess.run(
        command('{"seconds": 0, "fault": true}'), capture_output=True, text=True
    )
    assert failed.returncode == 1
    assert "fault of LLM Anatomy" in failed.stderr
    assert "RuntimeError: a bug" in (tmp_path / "logs/stage.log").read_text()


def test_settings_that_do_not_fit_are_named(command):
    failed = subprocess.run(command('{"seconds": "x"}'), capture_output=True, text=True)
    assert failed.returncode == 1
    assert "the key 'seconds' is \"x\"" in failed.stderr
    assert "Traceback" not in failed.stderr
