"""Which page a person wants to see, and where it lies."""

from pathlib import Path

from llm_anatomy.errors import UserError

# What can be shown, by the name of the argument, below the results folder.
PAGES = {"report": "report.html", "atlas": "atlas/index.html"}


def page(name: str, results: Path) -> Path:
    """The file of a page.

    Raises:
        UserError: There is no page of this name, or it was not made yet.
    """
    if name not in PAGES:
        raise UserError(f"there is no page '{name}' to show; there are {', '.join(PAGES)}")
    file = results / PAGES[name]
    if not file.is_file():
        raise UserError(f"there is no {file}; make it with: llm-anatomy run")
    return file.resolve()
