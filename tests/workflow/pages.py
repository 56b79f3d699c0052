"""Fenced blocks of Markdown pages, and what a page says about running them."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.workflow.project import ROOT

# Pages that teach: every block on them is run, or says why not.
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "docs/tutorial.md",
        ROOT / "docs/notebook.md",
        *(ROOT / "docs/howto").glob("*.md"),
        *(ROOT / "docs/papers").glob("*.md"),
    ]
)
_BLOCK = re.compile(
    r"^(?:[ ]*<!-- (?P<mark>not run|dry run|stand-in): (?P<reason>[^>]+) -->\n)?"
    r"(?P<indent>[ ]*)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
LANGUAGES = {"bash", "python", "yaml"}


@dataclass(frozen=True)
class Block:
    """One fenced block: `mark` is empty where it is run as it stands."""

    page: Path
    line: int
    language: str
    text: str
    mark: str
    reason: str


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in order; those without a language are pictures of text."""
    content = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            content[: found.start("text")].count("\n") + 1,
            found["language"],
            re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
            found["mark"] or "",
            (found["reason"] or "").strip(),
        )
        for found in _BLOCK.finditer(content)
    ]
