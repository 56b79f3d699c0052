"""How long a run will still take: the plan of its jobs, asked for beside the run."""

import subprocess
import time
from collections.abc import Sequence
from threading import Lock, Thread
from types import TracebackType
from typing import Self

from llm_anatomy.cli.run_state import RunningJob, RunState, seconds_left
from llm_anatomy.config.root import Configuration
from llm_anatomy.errors import UserError
from llm_anatomy.plan.jobs import PlannedJob, list_jobs
from llm_anatomy.plan.resources import need_of

# A forecast is asked for twice a second, and asks every job in turn.
HOLDS_SECONDS = 5.0


class Forecast:
    """The planned seconds of a run's jobs; `with Forecast(arguments, configuration) as f:`.

    The jobs come from a dry run on a thread of its own, which takes seconds; until it is done, and
    while a model's shape is not known, there is no forecast.

    Args:
        arguments: Snakemake's, of the run.
        configuration: The configuration of the run.
    """

    def __init__(self, arguments: Sequence[str], configuration: Configuration) -> None:
        self._arguments, self._configuration = arguments, configuration
        self._jobs: list[PlannedJob] = []
        self._lock = Lock()
        self._made = -HOLDS_SECONDS
        self._left: float | None = None
        self._thread = Thread(target=self._plan, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.join(timeout=0)

    def seconds_left(self, state: RunState, cores: int) -> float | None:
        """How long the run will still take, as far as that is known; see `run_state`."""
        passed = time.monotonic() - self._made
        if passed < HOLDS_SECONDS:
            return None if self._left is None else max(0.0, self._left - passed)
        self._left = self._forecast(state, cores)
        self._made = time.monotonic()
        return self._left

    def _forecast(self, state: RunState, cores: int) -> float | None:
        with self._lock:
            jobs = list(self._jobs)
        waiting: dict[str, float] = {}
        for job in jobs:
            running = RunningJob(job.rule, job.wildcards, 0.0)
            seconds = self._seconds(running)
            if seconds is None:
                return None
            waiting[running.label] = seconds
        return seconds_left(state, waiting, self._seconds, cores)

    def _seconds(self, job: RunningJob) -> float | None:
        need = need_of(job.rule, job.wildcards, self._configuration)
        return None if need is None else need.minutes * 60

    def _plan(self) -> None:
        try:
            jobs = list_jobs(self._arguments, done_too=False)
        except (UserError, OSError, subprocess.SubprocessError):
            return  # The run itself says what is wrong.
        with self._lock:
            self._jobs = jobs
