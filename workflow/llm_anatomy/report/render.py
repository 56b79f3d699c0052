"""The report as one HTML page: no network, readable without scripts, the same bytes each time."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from llm_anatomy.report.overview import Overview, to_yaml
from llm_anatomy.report.sections import Item, Section
from llm_anatomy.report.shown import TableRecord
from llm_anatomy.report.studies import PAPERS
from llm_anatomy.report.tested import Claims
from llm_anatomy.report.vendored import VENDOR, vendored_files

TEMPLATES = Path(__file__).parent / "templates"
# The atlas's views, in reading order.
VIEWS = {
    "neurons": "neurons by word",
    "facts": "facts",
    "patching": "patching",
    "texts": "texts token by token",
}


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    overview: Overview
    sections: Sequence[Section]
    claims: Claims
    records: Sequence[TableRecord]
    anatomy: Sequence[Item] = ()


def render(report: Report) -> str:
    """The page. Everything that is not the page's own markup is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    followed = {section.study.paper for section in report.sections}
    script = _script()
    page = environment.get_template("report.html.jinja").render(
        anatomy=report.anatomy,
        views=[(view, VIEWS[view]) for view in VIEWS if view in _views(report.sections)],
        # The project's own script and a pinned library's; the page lets no other run.
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        overview=report.overview,
        sections=report.sections,
        claims=report.claims,
        records=report.records,
        papers=[paper for paper in PAPERS if paper in followed],
        # The project's own style sheet, not data.
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        to_yaml=to_yaml,
    )
    return page.lstrip()


def _views(sections: Sequence[Section]) -> set[str]:
    """The atlas's views of the studies that ran."""
    return {section.study.view for section in sections}


def _script() -> str:
    """What sorts and filters tables, as it stands inside the page.

    Raises:
        ValueError: It could end the element that it stands in.
    """
    files = [VENDOR / name for name in vendored_files("report")] + [TEMPLATES / "report.js"]
    script = "\n".join(file.read_text(encoding="utf-8") for file in files)
    if "</script" in script.lower() or "<!--" in script:
        raise ValueError("a script of the report holds the end of a script")
    return script
