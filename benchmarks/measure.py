"""How the benchmarks measure: ways that take turns, medians, and what is said of each figure."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

Way = Callable[[], object]
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MARKERS = {"cpu": "`make bench`", "card": "`make bench-gpu`"}


@dataclass(frozen=True)
class Row:
    """One line of the page.

    Attributes:
        name: What is measured.
        figure: The measured number.
        unit: What it counts: a share, times, seconds.
        goal: The number to reach; None where there is none.
        at_most: Whether the goal is an upper bound.
        floor: What no implementation can beat here, or where that stands.
        why: Why the goal is not reached; shown where it is not.
    """

    name: str
    figure: float
    unit: str
    goal: float | None = None
    at_most: bool = True
    floor: str = ""
    why: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.figure <= self.goal if self.at_most else self.figure >= self.goal

    @property
    def cells(self) -> list[str]:
        """The line as text."""
        bound = "" if self.goal is None else f"{'≤' if self.at_most else '≥'} {self.goal:g}"
        met = {None: "", True: "reached", False: f"not reached: {self.why or 'no reason known'}"}
        return [self.name, f"{self.figure:.3g} {self.unit}", bound, self.floor, met[self.met]]


def seconds(way: Way, device: str = "cpu") -> float:
    """Seconds of a run: processor time on a CPU, which other work distorts least."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    if device != "cpu":
        torch.cuda.synchronize()
    start = clock()
    way()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def in_turns(
    ways: Mapping[str, Callable[[], float]], repeats: int, warm: bool = True
) -> dict[str, float]:
    """Median of what each way returns, every way once in every turn.

    Args:
        ways: Each measures itself once and returns its seconds.
        repeats: Turns.
        warm: Run each once beforehand: the first pass pays for what later ones find ready.
    """
    if warm:
        for way in ways.values():
            way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            found[name].append(way())
    return {name: statistics.median(values) for name, values in found.items()}


def timed(ways: Mapping[str, Way], device: str = "cpu") -> dict[str, Callable[[], float]]:
    """Ways for `in_turns`, timed here."""

    def of(way: Way) -> Callable[[], float]:
        return lambda: seconds(way, device)

    return {name: of(way) for name, way in ways.items()}


def exponent(sizes: list[int], medians: list[float]) -> float:
    """Slope of log time over log size: 1 is in proportion."""
    return float(np.polyfit(np.log(sizes), np.log(medians), 1)[0])


def forget_peak() -> None:
    """Count the peak of this process's memory anew from here (Linux)."""
    CLEAR.write_text("5")


def peak_mb() -> float:
    """Most resident memory of this process since `forget_peak`, in MB."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6


def table(rows: list[Row]) -> str:
    """The rows as a table of the page."""
    lines = ["| what | figure | goal | floor | |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row.cells)} |" for row in rows)])


def document(rows: list[Row], machine: Mapping[str, object]) -> dict[str, object]:
    """The rows as JSON."""
    return {"machine": dict(machine), "rows": [asdict(row) | {"met": row.met} for row in rows]}


def into_page(page: Path, kind: str, text: str) -> None:
    """Put a table between its markers in the page."""
    start, end = f"<!-- {kind}: {MARKERS[kind]} -->", f"<!-- end of {kind} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")
