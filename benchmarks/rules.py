"""Where the time of a run went, by rule: `python -m benchmarks.rules [logs/benchmarks]`.

Read from the files that Snakemake writes beside every job.
"""

import csv
import sys
from pathlib import Path

Total = tuple[str, int, float, float, float]


def main() -> None:
    """Print the table of a run."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "logs/benchmarks")
    sys.stdout.write(table(folder) + "\n")


def by_rule(folder: Path) -> list[Total]:
    """Rule, jobs, seconds, processor seconds and most MB of memory; the longest first."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for file in sorted(folder.rglob("*.tsv")):
        rule = file.relative_to(folder).parts[0].removesuffix(".tsv")
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                numbers = tuple(_number(row[key]) for key in ("s", "cpu_time", "max_rss"))
                found.setdefault(rule, []).append((numbers[0], numbers[1], numbers[2]))
    totals = [
        (rule, len(jobs), sum(j[0] for j in jobs), sum(j[1] for j in jobs), max(j[2] for j in jobs))
        for rule, jobs in found.items()
    ]
    return sorted(totals, key=lambda total: (-total[2], total[0]))


def table(folder: Path) -> str:
    """The totals as a table of the page."""
    lines = [
        "| rule | jobs | seconds | processor seconds | most memory, MB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{rule}` | {jobs} | {wall:.0f} | {cpu:.0f} | {memory:.0f} |"
        for rule, jobs, wall, cpu, memory in by_rule(folder)
    ]
    return "\n".join(lines)


def _number(cell: str) -> float:
    """Jobs shorter than a measurement have no memory: `-`, or NA."""
    try:
        return float(cell)
    except ValueError:
        return 0.0


if __name__ == "__main__":
    main()
