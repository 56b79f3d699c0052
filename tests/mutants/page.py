"""The table of kill rates and the survivors, as they stand in docs/testing.md."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

BEGIN, END = "<!-- mutants: `make mutants` -->", "<!-- end of mutants -->"

Result = Mapping[str, str]


def table(results: Sequence[Result], judged: Mapping[str, str], told: str) -> str:
    """Kill rates per package, and every survivor with what was judged of it.

    Args:
        results: Of each mutant its `name`, `package`, `change`, and as `outcome` killed, timeout or
            survived.
        judged: Of some survivors, by name, why they live.
        told: What the numbers are of.
    """
    counts = Counter((result["package"], result["outcome"]) for result in results)
    packages = sorted({package for package, _ in counts})
    lines = [told, "", "| package | mutants | killed | survived | rate |", "|---|---|---|---|---|"]
    for package in [*packages, None]:
        own = [package] if package else packages
        dead = sum(counts[name, outcome] for name in own for outcome in ("killed", "timeout"))
        alive = sum(counts[name, "survived"] for name in own)
        rate = f"{100 * dead / (dead + alive):.0f} %"
        label = f"`{package}`" if package else "all"
        lines.append(f"| {label} | {dead + alive} | {dead} | {alive} | {rate} |")
    survivors = [result for result in results if result["outcome"] == "survived"]
    if survivors:
        lines += ["", "| survivor | change | judged |", "|---|---|---|"]
    for result in sorted(survivors, key=lambda each: each["name"]):
        change = result["change"].replace("|", "\\|")
        why = judged.get(result["name"], "not judged yet")
        lines.append(f"| {result['name']} | {change} | {why} |")
    return "\n".join(lines)


def rewrite(page: Path, text: str) -> None:
    """Put a new table between the page's two marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
