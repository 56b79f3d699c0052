"""The report in a browser: tables sort and filter; without scripts and on paper it is whole."""

import pytest
from llm_anatomy.tables.registry import ALL_TABLES

from tests.browser.conftest import LAPTOP, PHONE, PICTURES, Visit
from tests.unit.report.conftest import MEASURES, small_run  # noqa: F401 - a fixture
from tests.unit.report.test_report import _make

pytestmark = pytest.mark.slow

LONG = "table[data-source$='measures.parquet']"


@pytest.fixture
def report(small_run, monkeypatch):  # noqa: F811
    """The page of a small run, with a table of many rows."""
    monkeypatch.setitem(ALL_TABLES, MEASURES.name, MEASURES)
    _make(small_run)
    return small_run.gathered.parent.resolve() / "report.html"


@pytest.fixture(params=["laptop", "phone"])
def visit(request, browser, report):
    context = browser.new_context(viewport=LAPTOP if request.param == "laptop" else PHONE)
    visitor = Visit(context.new_page(), report)
    visitor.page.goto(report.as_uri())
    yield visitor
    assert visitor.complaints == []
    assert visitor.outside == []
    context.close()


def column(visit, number):
    found = visit.page.locator(f"{LONG} >> nth=1").locator(f"tbody tr td:nth-child({number})")
    return [text.strip() for text in found.all_inner_texts()]


def test_a_table_sorts_by_exact_numbers_with_a_click_and_with_a_key(visit):
    heading = visit.page.locator(f"{LONG} >> nth=1").locator("th", has_text="value")
    heading.click()
    assert heading.get_attribute("aria-sort") == "ascending"
    # Missing values come first, and a tiny negative number before small positive ones.
    assert column(visit, 3) == ["–", "−1 × 10⁻⁷", "0.1235", "3", "12346"]
    heading.focus()
    visit.page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(visit, 3) == ["12346", "3", "0.1235", "−1 × 10⁻⁷", "–"]


def test_the_page_fits_and_is_kept_as_a_picture(visit):
    wide = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    PICTURES.mkdir(parents=True, exist_ok=True)
    visit.page.screenshot(
        path=PICTURES / f"report-{visit.page.viewport_size['width']}.png", full_page=True
    )


def test_on_paper_every_row_stands_and_nothing_asks_to_be_clicked(visit):
    rows = visit.page.locator("tbody tr").count()
    visit.page.emulate_media(media="print")
    assert visit.page.locator("tbody tr:visible").count() == rows
    assert not visit.page.locator("nav").is_visible()


def test_without_scripts_the_page_is_whole(browser, report):
    context = browser.new_context(viewport=LAPTOP, java_script_enabled=False)
    visit = Visit(context.new_page(), report)
    visit.page.goto(report.as_uri())
    assert visit.page.locator("img:visible").count() >= 2
    assert "hold here" in visit.page.locator("body").inner_text()
    assert visit.page.locator("tbody tr:visible").count() > 10
    assert visit.complaints == []
    context.close()


def test_rows_are_filtered_by_what_is_typed(visit):
    table = visit.page.locator(f"{LONG} >> nth=1")
    box = table.locator("xpath=ancestor::div[1]/preceding-sibling::label[1]/input")
    every = table.locator("tbody tr").all_inner_texts()
    assert len(every) == 5
    box.fill("ROME")
    shown = table.locator("tbody tr:visible").all_inner_texts()
    assert shown == [text for text in every if "Rome" in text]
    assert len(shown) == 1
    box.fill("")
    assert table.locator("tbody tr:visible").count() == 5
