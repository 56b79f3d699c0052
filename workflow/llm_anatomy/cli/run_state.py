"""What a run is doing, read from the lines that Snakemake prints and the logs of its jobs."""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llm_anatomy.plan.jobs import TARGETS, job_of

_STARTED = re.compile(r"Job (\d+): (\w+: .*)")
_FINISHED = re.compile(r"Finished jobid: (\d+) \(Rule: \w+\)")
_FAILED = re.compile(r"Error in rule \w+, jobid: (\d+):")
_COUNTED = re.compile(r"(\d+) of (\d+) steps \(\d+%\) done")
_TOTAL = re.compile(r"total +(\d+)")
# Lines about Snakemake's own work, which a person who watches the jobs need not read.
_ROUTINE = re.compile(
    r"\[\w{3} \w{3} +\d+ [\d:]+ \d{4}\]$|Select jobs to execute|Execute \d+ jobs|Reason: |Using "
    r"|Assuming unrestricted|SNAKEMAKE$|=+$|  \w[\w() ]*: |Building DAG|Provided cores: "
    r"|Rules claiming more threads|Conda environments: |Job stats:|job +count|-+  -+$|\w+ +\d+$"
    r"|Complete log|host: |Shutting down, this|Removing output files|Provided resources: "
)
# A heartbeat of `llm_anatomy.progress` in a job's log.
_HEARTBEAT = re.compile(r"^\S+ INFO [\w ]+: (\d+) of (\d+) (.+?)(?:, \S+ .+/s, (\S+) left)?$")
_TAIL_BYTES = 4096


@dataclass(frozen=True)
class RunningJob:
    """A job that has begun.

    Attributes:
        rule: Its rule.
        wildcards: What it works on.
        started: `time.monotonic()` of its beginning.
    """

    rule: str
    wildcards: Mapping[str, str]
    started: float

    @property
    def label(self) -> str:
        """Its rule and what it works on, in words."""
        return " ".join([self.rule, *dict.fromkeys(self.wildcards.values())])


@dataclass
class RunState:
    """Jobs that run, and how many are done of how many."""

    total: int = 0
    done: int = 0
    failed: int = 0
    running: dict[str, RunningJob] = field(default_factory=dict)
    # Jobs and the seconds that each took, as far as they are done.
    finished: list[tuple[RunningJob, float]] = field(default_factory=list)

    def read(self, line: str, clock: Callable[[], float] = time.monotonic) -> str | None:
        """Take one printed line in.

        Args:
            line: The line, without its end.
            clock: The time in seconds.

        Returns:
            The line where a person should see it (errors, warnings, messages of jobs), else
            nothing.
        """
        if found := _STARTED.match(line):
            job = job_of(found[2])
            if job.rule not in TARGETS:
                self.running[found[1]] = RunningJob(job.rule, job.wildcards, clock())
        elif found := _FINISHED.match(line):
            if job_done := self.running.pop(found[1], None):
                self.finished.append((job_done, clock() - job_done.started))
        elif found := _COUNTED.match(line):
            self.done, self.total = int(found[1]), int(found[2])
        elif found := _TOTAL.match(line):
            self.total = self.total or int(found[1])
        elif found := _FAILED.match(line):
            self.running.pop(found[1], None)
            self.failed += 1
            return line
        elif line.strip() and not _ROUTINE.match(line):
            return line
        return None


@dataclass(frozen=True)
class Heartbeat:
    """How far a job says it is: `done` of `total` units, and the time left by its own rate."""

    done: int
    total: int
    unit: str
    left: str | None


def heartbeat(job: RunningJob, logs: Path = Path("logs")) -> Heartbeat | None:
    """The last word of a job's log on how far it is; nothing while it has not said so.

    Args:
        job: The job.
        logs: The folder of all logs.
    """
    file = log_of(job, logs)
    if file is None:
        return None
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    found = next((match for line in reversed(lines) if (match := _HEARTBEAT.match(line))), None)
    return found and Heartbeat(int(found[1]), int(found[2]), found[3], found[4])


def log_of(job: RunningJob, logs: Path) -> Path | None:
    """A job's log: below the folder of its rule, the file whose path names all its wildcards."""
    files = [logs / f"{job.rule}.log", *sorted((logs / job.rule).rglob("*.log"))]
    wanted = Counter(job.wildcards.values())
    for separators in ("/", "/|-of-|-to-"):
        for file in filter(Path.is_file, files):
            path = file.relative_to(logs).with_suffix("").as_posix()
            if wanted <= Counter(re.split(separators, path)):
                return file
    return None


def seconds_left(
    state: RunState,
    waiting: Mapping[str, float],
    planned: Callable[[RunningJob], float | None],
    cores: int,
) -> float | None:
    """How long a run will still take, by its plan and by how the plan has held so far.

    Args:
        state: The run.
        waiting: Planned seconds of every job that had not begun, by `RunningJob.label`.
        planned: Planned seconds of one job; nothing where the plan does not know.
        cores: Jobs that run at once.

    Returns:
        Seconds; nothing before the first planned job is done.
    """
    held = [(known, took) for job, took in state.finished if (known := planned(job))]
    if not held or not waiting:
        return None
    # Short jobs say little about how fast this machine is: their sum does.
    pace = sum(took for _, took in held) / sum(known for known, _ in held)
    begun = {job.label for job, _ in state.finished} | {j.label for j in state.running.values()}
    ahead = sum(seconds for label, seconds in waiting.items() if label not in begun)
    now = time.monotonic()
    rest = [
        max(0.0, pace * known - (now - job.started))
        for job in state.running.values()
        if (known := planned(job))
    ]
    return max([(pace * ahead + sum(rest)) / cores, *rest])
