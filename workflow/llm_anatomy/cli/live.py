"""A run as a person on a terminal follows it: what runs, how far each job is, the time left."""

import time
from collections.abc import Callable, Iterable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from llm_anatomy.cli.run_state import Heartbeat, RunningJob, RunState

BAR_WIDTH = 16
LONGEST_LIST = 12


def follow(
    lines: Iterable[str],
    state: RunState,
    console: Console,
    far: Callable[[RunningJob], Heartbeat | None],
    left: Callable[[], float | None],
) -> None:
    """Show a run until its last line; what a person should read stays above the display.

    Args:
        lines: What Snakemake and its jobs print.
        state: Where the run is; brought up to date here.
        console: The terminal.
        far: How far a job is.
        left: Seconds that the run will still take, as far as they are known.
    """
    with Live(
        get_renderable=lambda: display(state, far, left()), console=console, refresh_per_second=2
    ):
        for line in lines:
            if (shown := state.read(line.rstrip("\n"))) is not None:
                console.print(Text(shown))


def display(
    state: RunState, far: Callable[[RunningJob], Heartbeat | None], left: float | None
) -> RenderableType:
    """The lines that are drawn again and again: one for the run, one for every running job."""
    counted = f"{state.done} of {state.total} jobs done" if state.total else "planning the run …"
    failed = f", {state.failed} failed" if state.failed else ""
    rest = f", about {duration(left)} left" if left is not None else ""
    run = Table.grid(padding=(0, 1))
    run.add_row(
        ProgressBar(total=max(state.total, 1), completed=state.done, width=BAR_WIDTH),
        Text(f"{counted}{failed}{rest}", style="bold"),
    )
    jobs = Table.grid(padding=(0, 1))
    now = time.monotonic()
    running = list(state.running.values())
    for job in running[:LONGEST_LIST]:
        at = far(job)
        jobs.add_row(
            Text(f"  {job.label}"),
            Text(duration(now - job.started), style="dim"),
            ProgressBar(total=at.total, completed=at.done, width=BAR_WIDTH) if at else Text(""),
            Text(_words(at), style="dim"),
        )
    hidden = len(running) - LONGEST_LIST
    more = [Text(f"  and {hidden} more", style="dim")] if hidden > 0 else []
    return Group(run, jobs, *more)


def _words(at: Heartbeat | None) -> str:
    if at is None:
        return ""
    return f"{at.done} of {at.total} {at.unit}" + (f", {at.left} left" if at.left else "")


def duration(seconds: float) -> str:
    """Seconds as a person says them: `40 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
