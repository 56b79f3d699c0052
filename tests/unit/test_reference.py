"""Generated pages say what the code says."""

from pathlib import Path

import pytest
from llm_anatomy.cli.reference import reference_pages
from llm_anatomy.tables.registry import ALL_TABLES

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("page", ["docs/tables.md", "config/README.md", "envs/llm_anatomy.yaml"])
def test_is_in_sync_with_the_code(page):
    page = Path(page)
    assert (ROOT / page).read_text() == reference_pages()[page], f"{page} is old; run `make docs`"


def test_every_column_says_what_it_means():
    for schema in ALL_TABLES.values():
        for column in schema.columns:
            assert column.meaning, f"{schema.name}.{column.name} has no meaning"
