"""Exhibits refuse what the report could not show."""

from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from llm_anatomy.errors import UserError
from llm_anatomy.figures.exhibit import (
    Beside,
    Exhibit,
    read_exhibits,
    save_figure,
    set_style,
    set_width,
    write_exhibits,
)
from llm_anatomy.statistics.evidence import Least
from llm_anatomy.tables.claims import Statement
from PIL import Image

from tests.unit.report.conftest import Run


def test_exhibits_come_back_as_they_were_written(small_run: Run) -> None:
    shown = read_exhibits(small_run.figures)
    assert [exhibit.title for exhibit in shown.exhibits] == [
        "Values by row",
        "Some rows",
        "All rows",
    ]
    assert shown.exhibits[1].rows == (3, 0, 1)
    assert shown.exhibits[2].rows is None
    assert list(shown.content_sha256) == [str(small_run.measures)]


@pytest.mark.parametrize(
    ("exhibit", "message"),
    [
        (Exhibit("Empty", "Nothing."), "neither a figure nor a table"),
        (Exhibit("Gone", "…", figure="gone.png"), "gone.png"),
        (Exhibit("Column", "…", table=Path("T"), columns=("nope",)), "nope"),
        (
            Exhibit(
                "Beside",
                "…",
                table=Path("T"),
                columns=("token",),
                beside=Beside(Path("T"), "no", ()),
            ),
            "T cannot stand beside by 'no'",
        ),
        (Exhibit("Row", "…", table=Path("T"), rows=(5,)), "5 rows; there is no row 5"),
        (Exhibit("Row", "…", table=Path("T"), rows=(0, -1)), "5 rows; there is no row -1"),
    ],
)
def test_what_cannot_be_shown_is_refused(small_run: Run, exhibit: Exhibit, message: str) -> None:
    small_run.measures.rename("T")
    with pytest.raises(ValueError, match=message):
        write_exhibits(small_run.figures, "facts", [exhibit])


def test_row_positions_may_come_from_a_pandas_index(small_run: Run) -> None:
    rows = tuple(small_run.frame.nlargest(2, "value").index)
    exhibit = Exhibit("Largest", "…", table=small_run.measures, rows=rows)
    write_exhibits(small_run.figures, "facts", [exhibit])
    assert read_exhibits(small_run.figures).exhibits[0].rows == (3, 4)


def test_damaged_exhibits_name_their_rule(small_run: Run) -> None:
    (small_run.figures / "exhibits.json").write_text("{")
    with pytest.raises(UserError, match="--forcerun conclude_facts"):
        read_exhibits(small_run.figures)


def test_figures_hold_no_date_or_software(small_run: Run) -> None:
    with Image.open(small_run.figures / "values.png") as image:
        assert set(image.info) <= {"dpi"}


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_a_figure_in_every_format_has_the_same_bytes_at_any_time(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for day in ("0", "1700000000"):
        # What matplotlib would write as the date, and the salt of names that it would draw.
        monkeypatch.setenv("SOURCE_DATE_EPOCH", day)
        set_style()
        figure, axes = plt.subplots()
        axes.plot([1, 2], label="a line")
        axes.fill_between([0, 1], [0, 1], [1, 2], clip_on=True)
        axes.legend()
        path = tmp_path / f"{day}.{form}"
        save_figure(figure, path)
        assert not plt.fignum_exists(figure.number)
        found.append(path.read_bytes())
    assert found[0] == found[1]
    assert found[0].startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[form])


def test_a_name_without_a_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no format for a figure; let it end in \.png, \.pdf"):
        save_figure(plt.figure(), tmp_path / "figure.jpeg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("width", "inches"), [("column", 3.5), ("text", 7.2), (5.0, 5.0)])
def test_a_figure_is_as_wide_as_a_papers_column(
    width: str | float, inches: float, tmp_path: Path
) -> None:
    set_style()
    figure, axes = plt.subplots(figsize=(6, 2))
    axes.set_title("one")
    set_width(figure, width)
    save_figure(figure, tmp_path / "wide.png")
    with Image.open(tmp_path / "wide.png") as image:
        assert image.size == (round(inches * 160), 320)


@pytest.mark.parametrize("width", ["wide", 0.0, float("nan"), float("inf")])
def test_a_width_that_is_none_is_refused(width: str | float) -> None:
    with pytest.raises(UserError, match="give column or text, or inches"):
        set_width(plt.figure(), width)


@pytest.mark.parametrize("ends", [{"low": 2, "high": 1}, {"low": 1}, {"high": 1}])
def test_a_verdict_has_an_interval_or_none(ends: dict[str, float]) -> None:
    claim = Statement("P", "C", "1", "", Least(1, "prompts"))
    with pytest.raises(ValueError, match="interval"):
        claim.judged("m", evidence=1, measured_value=1, holds=True, note="", **ends)
