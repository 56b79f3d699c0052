"""The whole workflow on a user's own model and data: everything is made, intact and checked."""

import json
import re
import subprocess
import sys

import pyarrow.parquet as pq
from llm_anatomy.atlas.chunks import read_script
from llm_anatomy.tables.core import TABLE_KEY, read_arrow
from llm_anatomy.tables.registry import ALL_TABLES

STUDIES = ("geometry", "toxicity", "neurons", "patching", "facts")


def tables_of(project):
    return sorted((project.folder / "results").rglob("*.parquet"))


def schema_of(path):
    return ALL_TABLES[pq.read_schema(path).metadata[TABLE_KEY].decode()]


def test_every_study_has_claims_figures_and_a_place_in_the_report(finished):
    results = finished.folder / "results"
    report = (results / "report.html").read_text()
    for study in STUDIES:
        assert (results / study / "claims.parquet").exists()
        assert list((results / "figures" / study).glob("*.png"))
        assert study in report.lower()
    # The licence of the script that sorts tables names a page; nothing is fetched from it.
    fetched = re.findall(r"(?:src|href|url|@import)\s*[=(]?\s*[\"']?(https?:[^\"')\s]+)", report)
    assert all(f'<a href="{url}"' in report for url in fetched), "the report opens offline"


def test_the_atlas_has_a_part_for_every_study_and_its_page_names_them(finished):
    atlas = finished.folder / "results/atlas"
    assert (atlas / "index.html").read_text().count("<script defer") > 10
    name, run = read_script((atlas / "assets/run.js").read_text())
    assert name == "assets/run"
    assert run["models"] == ["tiny"]
    assert set(run["parts"]) == {"neurons", "contexts", "facts", "patching", "texts"}
    for part in run["parts"]:
        name, index = read_script((atlas / part / "tiny/index.js").read_text())
        assert name == f"{part}/tiny/index"
        assert index["model"] == "tiny"
    _, (anatomy) = read_script((atlas / "overview/anatomy.js").read_text())
    assert set(anatomy["tiny"]["study"]) == {"geometry", "neurons", "patching", "facts"}


def test_every_table_is_declared_and_lies_where_its_declaration_says(finished):
    for path in tables_of(finished):
        schema = schema_of(path)
        table = read_arrow(path, schema)
        assert table.schema.metadata, path
        pattern = schema.path.split("/")
        assert len(pattern) == len(path.relative_to(finished.folder).parts), (path, schema.path)


def test_every_table_says_which_rule_makes_it(finished):
    made_by = json.loads((finished.folder / "results/manifest.json").read_text())["files"]
    for path in tables_of(finished):
        name = path.relative_to(finished.folder / "results").as_posix()
        pattern = re.sub(r"{\w+}", r"\\w+", schema_of(path).rule)
        assert re.fullmatch(pattern, made_by[name]["rule"]), name


def test_a_finished_run_has_nothing_to_do(finished):
    assert finished.planned() == {}


def test_the_manifest_describes_all_of_it(finished):
    verify = [sys.executable, "-m", "llm_anatomy.cli.app", "verify"]
    run = {"cwd": finished.folder, "env": finished.environment(), "capture_output": True}
    done = subprocess.run(verify, text=True, **run)
    assert done.returncode == 0, done.stderr
    files = json.loads((finished.folder / "results/manifest.json").read_text())["files"]
    without = [name for name, entry in files.items() if not entry.get("code_sha256")]
    assert without == [], "every file has a rule and the code that made it"
