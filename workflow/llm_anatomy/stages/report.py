"""Write the claims of every study that ran, and the report: one self-contained HTML page."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.root import Configuration
from llm_anatomy.figures.exhibit import read_exhibits
from llm_anatomy.report.overview import make_overview
from llm_anatomy.report.render import Report, render
from llm_anatomy.report.sections import make_front, make_sections
from llm_anatomy.report.shown import TableReader
from llm_anatomy.report.tested import gather_claims, read_claims
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.claims import ALL_CLAIMS
from llm_anatomy.tables.core import atomic_path, write_table
from llm_anatomy.tables.registry import ALL_TABLES


class ReportSettings(Settings):
    """What the head of the report names; `compute` in it is neither shown nor given."""

    configuration: Configuration


def run(
    settings: ReportSettings,
    *,
    anatomy: Path,
    figures: tuple[Path, ...],
    claims: tuple[Path, ...],
    models: tuple[Path, ...],
    intakes: tuple[Path, ...],
    lock: Path,
    gathered: Path,
    report: Path,
) -> None:
    """Join every study's claims; read its exhibits and the tables they name; write the page."""
    write_table(gathered, ALL_CLAIMS, *gather_claims(claims))
    reader = TableReader(ALL_TABLES)
    front = make_front(read_exhibits(anatomy), reader)
    shown = [read_exhibits(folder) for folder in figures]
    sections = make_sections(shown, reader, len(front))
    tested = read_claims(gathered)
    reader.record(gathered)
    overview = make_overview(settings.configuration, models, intakes, lock, reader)
    page = render(Report(overview, sections, tested, reader.records, front))
    with atomic_path(report) as temporary:
        temporary.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    run_stage(run)
