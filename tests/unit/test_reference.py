"""Generated pages say what the code says."""

import re
from pathlib import Path

import pytest
from llm_anatomy.cli.modules import FOLDERS, folders_with_modules, modules_section
from llm_anatomy.cli.reference import reference_pages
from llm_anatomy.tables.registry import ALL_TABLES

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    "page",
    ["docs/tables.md", "docs/architecture.md", "config/README.md", "envs/llm_anatomy.yaml"],
)
def test_is_in_sync_with_the_code(page):
    page = Path(page)
    assert (ROOT / page).read_text() == reference_pages()[page], f"{page} is old; run `make docs`"


def test_every_column_says_what_it_means():
    for schema in ALL_TABLES.values():
        for column in schema.columns:
            assert column.meaning, f"{schema.name}.{column.name} has no meaning"


def test_every_folder_and_module_of_the_package_has_its_sentence():
    assert folders_with_modules() == set(FOLDERS)
    rows = [line for line in modules_section().splitlines() if line.startswith("| `")]
    assert all(line.partition("` | ")[2].removesuffix(" |") for line in rows)
    assert "| `spline_features.py` | From token traces to the seven spline" in "\n".join(rows)


def test_the_picture_shows_rules_that_there_are():
    rules = {
        name
        for file in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
        for name in re.findall(r"^\s*rule (\w+):", file.read_text(), re.MULTILINE)
    }
    shown = set(re.findall(r">(\w+)</text>", (ROOT / "docs/images/rulegraph.svg").read_text()))
    assert {"report", "extract_activations"} <= shown
    assert shown <= rules, f"{sorted(shown - rules)} are gone; run `make docs` with graphviz"


def test_what_selects_the_kind_of_an_entry_is_required():
    page = reference_pages()[Path("config/README.md")]
    for kind in ("relation", "arithmetic", "freeze", "switch"):
        assert f"| `kind` | `{kind}` | **required** |" in page
