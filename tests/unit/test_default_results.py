"""The page of results says what the run's record says, and shows the pictures of that run."""

import json
import re

import pytest

from benchmarks.default_results import (
    PAGE,
    PICTURES,
    RECORD,
    SHOWN,
    VERDICTS,
    page_with,
    picture_hashes,
    rendered,
)
from tests.workflow.project import ROOT

MEGABYTE = 10**6


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_the_page_is_what_its_record_says(record):
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with(page, rendered(record["claims"])), (
        "run `python -m benchmarks.default_results results`"
    )


def test_the_pictures_are_those_of_the_record_and_all_shown(record):
    assert picture_hashes(PICTURES) == record["pictures"]
    shown = set(re.findall(r"\]\(images/results/([\w.-]+)\)", PAGE.read_text(encoding="utf-8")))
    assert shown == set(SHOWN) == set(record["pictures"])
    assert sum(file.stat().st_size for file in PICTURES.iterdir()) < 1.5 * MEGABYTE


def test_every_claim_stands_on_the_page_once_with_its_verdict(record):
    page = PAGE.read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for claim in record["claims"]:
        start = f"| {claim['claim']} | {claim['dataset']} |".replace("\n", " ⏎ ")
        (row,) = [row for row in rows if row.startswith(start)]
        assert f" | {claim['verdict']} | " in row
        assert claim["verdict"] in VERDICTS
        assert (claim["measured_value"] is None) <= (claim["verdict"] == "untested"), claim["claim"]


def test_counts_and_numbers_are_those_of_claims_made_by_hand():
    claim = {
        **{"paper": "A 2024", "claim": "It is so.", "model": "m", "dataset": "d"},
        **{"paper_value": "1 | 2", "measured_value": 0.5, "low": 0.25, "high": 0.75},
        **{"unit": "nats", "verdict": "holds", "evidence": 1200, "evidence_unit": "facts"},
    }
    none = {"measured_value": None, "low": None, "high": None, "verdict": "untested"}
    page = rendered([claim, claim | none | {"dataset": "e"}])
    assert "| A 2024 | 1 | 0 | 0 | 1 | 2 |" in page
    assert "| It is so. | d | 1 \\| 2 | 0.5 (0.25 to 0.75) nats | holds | 1,200 facts |" in page
    assert "| It is so. | e | 1 \\| 2 | – | untested | 1,200 facts |" in page


def test_the_page_is_in_the_repository_of_the_site():
    assert "results.md" in (ROOT / "mkdocs.yml").read_text()
