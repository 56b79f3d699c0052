"""Progress of long work: a bar on a terminal, heartbeats with rate and time left in the log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

T = TypeVar("T")
HEARTBEAT_SECONDS = 15.0


class Progress:
    """Count work that is done; `with Progress(total, "texts", "extract") as p: p.advance(8)`."""

    def __init__(self, total: int, unit: str, task: str) -> None:
        self.total, self.unit, self.task, self.done = total, unit, task, 0
        self._start = self._last = time.monotonic()
        self._bar = tqdm(
            total=total, unit=f" {unit}", desc=task, disable=not sys.stderr.isatty(), leave=False
        )

    def __enter__(self) -> Self:
        logger.info("%s: 0 of %d %s", self.task, self.total, self.unit)
        return self

    def advance(self, count: int = 1) -> None:
        """Record that `count` more units are done."""
        self.done += count
        self._bar.update(count)
        now = time.monotonic()
        if now - self._last >= HEARTBEAT_SECONDS:
            self._last = now
            rate = self.done / (now - self._start)
            logger.info(
                "%s: %d of %d %s, %.3g %s/s, %s left",
                self.task,
                self.done,
                self.total,
                self.unit,
                rate,
                self.unit,
                _clock((self.total - self.done) / rate),
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
        if kind is None:
            seconds = time.monotonic() - self._start
            logger.info("%s: %d %s in %s", self.task, self.done, self.unit, _clock(seconds))


def track(items: Iterable[T], total: int, unit: str, task: str) -> Iterator[T]:
    """Iterate over `items`, reporting progress one unit at a time."""
    with Progress(total, unit, task) as progress:
        for item in items:
            yield item
            progress.advance()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
