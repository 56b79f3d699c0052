"""The report as one HTML page: no script, no network, the same bytes for the same results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from llm_anatomy.report.overview import Overview, to_yaml
from llm_anatomy.report.sections import Section
from llm_anatomy.report.shown import TableRecord
from llm_anatomy.report.studies import PAPERS
from llm_anatomy.report.tested import Claims

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    overview: Overview
    sections: Sequence[Section]
    claims: Claims
    records: Sequence[TableRecord]


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
    page = environment.get_template("report.html.jinja").render(
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
