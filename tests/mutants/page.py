"""The table of kill rates and the survivors, as they stand in docs/testing.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- mutants: `make mutants` -->", "<!-- end of mutants -->"
# Survivors that change nothing that a test could or should assert.
HARMLESS = ("equivalent", "looks")

Result = Mapping[str, Any]
# By place and change, why a survivor lives.
Judged = Mapping[str, Mapping[str, str]]


def table(results: Sequence[Result], judged: Judged, told: str) -> str:
    """Kill rates per package, and every survivor with what was judged of it.

    Args:
        results: Of each mutant its `place`, `line`, `package`, `change`, and as `outcome` killed,
            timeout or survived.
        judged: Of some survivors, why they live.
        told: What the numbers are of.
    """
    head = (
        "| package | mutants | noticed | survived | rate | judged harmless | rate without these |"
    )
    lines = [told, "", head, "|---" * 7 + "|"]
    packages = sorted({result["package"] for result in results})
    for package in [*packages, None]:
        own = [result for result in results if package in (None, result["package"])]
        alive = [result for result in own if result["outcome"] == "survived"]
        harmless = sum(judgement(judged, result).startswith(HARMLESS) for result in alive)
        dead, others = len(own) - len(alive), len(own) - harmless
        label = f"`{package}`" if package else "all"
        rates = [f"{100 * dead / count:.0f} %" if count else "" for count in (len(own), others)]
        numbers = [len(own), dead, len(alive), rates[0], harmless, rates[1]]
        lines.append(f"| {label} | " + " | ".join(map(str, numbers)) + " |")
    survivors = [result for result in results if result["outcome"] == "survived"]
    if survivors:
        lines += ["", "| survivor | change | judged |", "|---|---|---|"]
    for result in sorted(survivors, key=lambda each: (each["place"], each["line"])):
        cells = (result["place"], result["change"], judgement(judged, result) or "not judged yet")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def rewrite(page: Path, text: str) -> None:
    """Put a new table between the page's two marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def package_of(path: Path) -> str:
    """What a module of the package is counted with: its folder, but for what decides verdicts."""
    return "claims" if path.stem.endswith(("claims", "evidence")) else path.parts[2]


def place_of(path: Path, definition: str | None) -> str:
    """A module, in the package, and what of it is changed; no line, which other edits move."""
    return f"{path.relative_to('workflow/llm_anatomy')} {definition or ''}".strip()


def judgement(judged: Judged, result: Result) -> str:
    """Why a survivor lives; empty where that is not judged."""
    return judged.get(result["place"], {}).get(result["change"], "")
