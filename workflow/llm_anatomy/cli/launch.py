"""Snakemake as a process of its own: one run in a folder at a time, and Ctrl-C that ends it."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from rich.console import Console

from llm_anatomy.cli.forecast import Forecast
from llm_anatomy.cli.live import follow
from llm_anatomy.cli.run_state import RunState, heartbeat
from llm_anatomy.config.root import Configuration
from llm_anatomy.errors import UserError
from llm_anatomy.plan.jobs import snakemake_command

LOCKS = Path(".snakemake/locks")
OUR_LOCK = Path(".snakemake/llm-anatomy.lock")


def dry_run(arguments: Sequence[str]) -> int:
    """Have Snakemake say what it would do; returns its exit status."""
    return _finished(_start([*snakemake_command(), *arguments], None))


def run(arguments: Sequence[str], configuration: Configuration, cores: int) -> int:
    """Run, and show on a terminal how far the run is; elsewhere Snakemake's own lines.

    Args:
        arguments: Snakemake's, with `--cores`.
        configuration: What is run, for the time left.
        cores: Jobs at once.

    Returns:
        The exit status: 0 when all is made, 130 after Ctrl-C.

    Raises:
        UserError: Another run works in this folder.
    """
    command = [*snakemake_command(), *arguments]
    with _alone():
        if LOCKS.is_dir() and any(LOCKS.iterdir()):
            # Of a run that was killed: nobody else works here.
            subprocess.run([*command, "--unlock"], check=True, capture_output=True)
        if not sys.stderr.isatty():
            return _finished(_start(command, None))
        return _watched(command, arguments, configuration, cores)


def _watched(
    command: Sequence[str], arguments: Sequence[str], configuration: Configuration, cores: int
) -> int:
    """Run behind a display; jobs find no terminal, and draw no bars of their own."""
    state = RunState()
    with Forecast(arguments, configuration) as forecast:
        process = _start(command, subprocess.PIPE)
        assert process.stdout is not None
        lines: IO[str] = process.stdout
        with _handed_on(process):
            follow(
                lines,
                state,
                Console(stderr=True),
                heartbeat,
                lambda: forecast.seconds_left(state, cores),
            )
        return _finished(process)


def _start(command: Sequence[str], output: int | None) -> subprocess.Popen[str]:
    # A group of its own, so that Ctrl-C reaches it once, through this process.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        text=True,
        errors="replace",
        process_group=0,
    )


def _finished(process: subprocess.Popen[str]) -> int:
    with _handed_on(process) as interrupted:
        status = process.wait()
    return 128 + interrupted[0] if interrupted else min(abs(status), 1)


@contextmanager
def _handed_on(process: subprocess.Popen[str]) -> Iterator[list[int]]:
    """Hand SIGINT and SIGTERM on to a process and all that it started; yields those that came."""
    came: list[int] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        came.append(number)
        if process.poll() is None:
            os.killpg(process.pid, number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone() -> Iterator[None]:
    """Hold this folder; the lock goes with the process, however it ends."""
    OUR_LOCK.parent.mkdir(exist_ok=True)
    with OUR_LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another run works in {Path.cwd()}; wait for it, or stop it"
            ) from error
        yield
