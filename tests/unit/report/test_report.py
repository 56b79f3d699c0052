"""The report page says what the tables say, to anybody, anywhere."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from llm_anatomy.config.root import Configuration
from llm_anatomy.errors import UserError
from llm_anatomy.figures.exhibit import read_exhibits
from llm_anatomy.report.overview import configuration_yaml
from llm_anatomy.report.sections import make_sections
from llm_anatomy.report.shown import TableReader
from llm_anatomy.stages import report as report_stage
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.registry import ALL_TABLES

from tests.unit.report.conftest import MEASURES, Run, draw


class Page(HTMLParser):
    """The tables of a page as a reader sees them, and every address that it would fetch."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[dict[str, Any]] = []
        self.loads: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self._open: list[str] = []
        self._in_load = False
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "img":
            self.images.append(values)
        if tag == "table":
            self.tables.append({"source": values.get("data-source"), "rows": []})
        if tag == "tr":
            self.tables[-1]["rows"].append([])
        if tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append({"text": "", "values": []})
        if tag == "data":
            self.tables[-1]["rows"][-1][-1]["values"].append(values["value"])
        self._in_load = tag == "code" and values.get("class") == "load"
        if self._in_load:
            self.loads.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self._in_load = False

    def handle_data(self, data: str) -> None:
        if "td" in self._open or "th" in self._open:
            self.tables[-1]["rows"][-1][-1]["text"] += data
        if self._in_load:
            self.loads[-1] += data


@pytest.fixture
def page(small_run: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(ALL_TABLES, MEASURES.name, MEASURES)
    return _make(small_run)


def _make(run: Run) -> str:
    report = Path("results/report.html")
    report_stage.run(
        report_stage.ReportSettings(configuration=Configuration(studies=["facts"], seed=7)),
        anatomy=run.anatomy,
        figures=(run.figures,),
        claims=(run.claims,),
        gathered=run.gathered,
        models=(run.model,),
        intakes=(run.intake,),
        lock=run.lock,
        report=report,
    )
    return report.read_text(encoding="utf-8")


def test_a_warning_of_the_intake_is_on_the_page_once(page: str) -> None:
    assert page.count("&#39;z&#39; never occurs") == 1


def test_numbers_of_the_page_are_the_numbers_of_the_table(page: str, small_run: Run) -> None:
    shown = [t for t in Page(page).tables if t["source"] == str(small_run.measures)]
    some, everything = shown
    expected = small_run.frame.iloc[[3, 0, 1]]
    assert [cell["text"].strip() for cell in some["rows"][0]] == ["token", "valuenats", "right"]
    assert [float(row[1]["values"][0]) for row in some["rows"][1:]] == list(expected["value"])
    assert [row[0]["text"] for row in some["rows"][1:]] == ["Rome", "␣Paris", "<b>&amp;"]
    assert [row[2]["text"] for row in some["rows"][1:]] == ["yes", "yes", "no"]
    assert len(everything["rows"]) == 1 + len(small_run.frame)
    assert everything["rows"][3][2]["text"] == "–"


def test_the_load_expression_loads_what_is_shown(page: str, small_run: Run) -> None:
    loads = [load for load in Page(page).loads if "measures" in load]
    whole, some, _ = [eval(load, {"pandas": pd}) for load in loads]
    pd.testing.assert_frame_equal(whole, pd.read_parquet(small_run.measures))
    expected = small_run.frame[["token", "value", "right"]].iloc[[3, 0, 1]]
    assert list(some["value"]) == list(expected["value"])
    assert list(some["token"]) == list(expected["token"])


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    parsed = Page(page)
    assert not set(parsed.tags) & {"link", "iframe", "object", "embed"}
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in parsed.images)
    assert all(image["alt"] for image in parsed.images)
    assert not re.search(r"url\(|@import", page)


def test_the_one_script_is_inside_and_the_policy_lets_no_other_run(page: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "src=" not in "".join(re.findall(r"<script[^>]*>", page))
    assert "Tablesort" in script


def test_the_page_begins_with_the_anatomy_and_the_claims(page: str) -> None:
    places = [page.index(f'<section id="{name}">') for name in ("anatomy", "claims", "what-ran")]
    assert places == sorted(places)
    assert "Figure 1. Anatomy of tiny" in page
    assert "Figure 2. " in page


def test_the_contents_lead_to_every_figure_table_and_data_set(page: str) -> None:
    contents = page[page.index("<nav") : page.index("</nav>")]
    targets = re.findall(r'href="#([^"]+)"', contents)
    assert {"anatomy", "claims", "facts", "figure-2", "table-1", "data-1"} <= set(targets)
    for target in targets:
        assert page.count(f'id="{target}"') == 1, target
    # The studies that ran, and no other, have views in the atlas.
    assert re.findall(r'href="(atlas/[^"]+)"', contents) == [
        "atlas/index.html",
        "atlas/index.html#/facts",
    ]


def test_cells_sort_by_their_exact_numbers(page: str, small_run: Run) -> None:
    values = re.findall(r'data-sort="([^"]*)"><data value="([^"]*)"', page)
    assert values
    assert all(sort == value for sort, value in values)
    assert 'data-sort="-1e-07"' in page


def test_text_of_tables_and_captions_cannot_become_markup(page: str) -> None:
    assert "The paper saw &lt;them&gt; fall &amp; rise." in page
    assert "The last layers &lt;i&gt;matter&lt;/i&gt; most." in page
    assert "<b>" not in page


def test_claims_stand_as_they_came_out(page: str, small_run: Run) -> None:
    claims = next(t for t in Page(page).tables if t["source"] == str(small_run.gathered))
    holds, fails, few, untested, undecided = claims["rows"][1:]
    assert [row[2]["text"] for row in (holds, fails, few)] == ["letters", "", "few"]
    assert holds[4]["values"] == ["0.625", "0.5", "0.75"]
    no = "cannot be tested here"
    assert [row[5]["text"] for row in claims["rows"][1:]] == ["yes", "no", no, no, "undecided"]
    assert undecided[4]["values"] == ["0.5", "-0.5", "1.5"]
    assert (
        "Undecided: the interval reaches over the criterion. Holds above 0." in undecided[6]["text"]
    )
    assert fails[4]["text"].split() == ["−2", "nats"]
    assert few[4]["text"].split() == ["–", "nats"]
    assert untested[4]["text"].strip() == "–"
    assert "Evidence: 8 prompts; at least 5 needed." in holds[6]["text"]
    assert "4 prompts are fewer than the 5 that it needs." in few[6]["text"]
    assert "Not tested: the model is small." in untested[6]["text"]
    assert "1 of 3 hold here (1 undecided: the interval reaches over the criterion)." in page
    assert "2 could not be tested" in page


def test_the_head_names_what_ran(page: str, small_run: Run) -> None:
    for expected in (
        "tiny",
        "r1",
        "12,300,000",
        "mit",
        "ab" * 32,
        "Seed 7",
        "torch 2.13.0",
        "studies:",
        "- facts",
    ):
        assert expected in page
    assert "compute:" not in page
    assert "toxicity:" not in page


def test_every_row_of_the_data_is_accounted_for(page: str) -> None:
    (data,) = [t for t in Page(page).tables if t["rows"][0][0]["text"] == "data set"]
    assert [cell["text"] for cell in data["rows"][1]] == [
        "letters", "letters.csv", "CC0-1.0", "12", "9", "3",
        "1 empty text; 2 copy of an earlier text",
    ]  # fmt: skip


def test_the_shown_configuration_is_the_configuration_of_the_run() -> None:
    configuration = Configuration(seed=3, studies=["patching", "facts"])
    shown = yaml.safe_load(configuration_yaml(configuration))
    again = Configuration.model_validate(shown)
    for section in ("seed", "studies", "models", "datasets", "precision", "patching", "facts"):
        assert getattr(again, section) == getattr(configuration, section)


def test_the_same_results_make_the_same_bytes(page: str, small_run: Run) -> None:
    first = (small_run.figures / "values.png").read_bytes()
    draw(small_run.figures / "values.png", small_run.frame["value"])
    assert (small_run.figures / "values.png").read_bytes() == first
    assert _make(small_run) == page


def test_a_table_newer_than_its_figure_is_refused(small_run: Run, reader: TableReader) -> None:
    write_table(small_run.measures, MEASURES, small_run.frame.iloc[:4], {"seed": 1})
    with pytest.raises(UserError, match=r"measures\.parquet has changed since the figures"):
        make_sections([read_exhibits(small_run.figures)], reader)


def test_a_missing_figure_names_the_rule_that_makes_it(small_run: Run, reader: TableReader) -> None:
    (small_run.figures / "values.png").unlink()
    with pytest.raises(UserError, match="--forcerun conclude_facts"):
        make_sections([read_exhibits(small_run.figures)], reader)


def test_a_damaged_table_is_not_shown(small_run: Run, reader: TableReader) -> None:
    data = bytearray(small_run.measures.read_bytes())
    data[len(data) // 4] ^= 1
    small_run.measures.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"measures\.parquet is damaged"):
        make_sections([read_exhibits(small_run.figures)], reader)
