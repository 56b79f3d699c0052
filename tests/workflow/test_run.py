"""The whole workflow on a user's own model and data: everything is made, intact and checked."""

import json
import random
import re
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from llm_anatomy.errors import UserError
from llm_anatomy.reference import all_tables
from llm_anatomy.tables.core import TABLE_KEY, read_arrow

STUDIES = ("geometry", "toxicity", "neurons", "patching", "facts")
TABLES = {schema.name: schema for schema in all_tables()}


def tables_of(project):
    return sorted((project.folder / "results").rglob("*.parquet"))


def schema_of(path):
    return TABLES[pq.read_schema(path).metadata[TABLE_KEY].decode()]


def test_every_study_has_claims_figures_and_a_place_in_the_report(finished):
    results = finished.folder / "results"
    report = (results / "report.html").read_text()
    for study in STUDIES:
        assert (results / study / "claims.parquet").exists()
        assert list((results / "figures" / study).glob("*.png"))
        assert study in report.lower()
    assert "http://" not in report.replace("http://www.w3.org", ""), "the report opens offline"


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
    verify = [sys.executable, "-m", "llm_anatomy.verify"]
    run = {"cwd": finished.folder, "env": finished.environment(), "capture_output": True}
    done = subprocess.run(verify, text=True, **run)
    assert done.returncode == 0, done.stderr
    files = json.loads((finished.folder / "results/manifest.json").read_text())["files"]
    without = [name for name, entry in files.items() if not entry.get("code_sha256")]
    assert without == [], "every file has a rule and the code that made it"


def test_a_flipped_bit_in_any_table_never_reads_as_another_number(finished, tmp_path):
    """Detected on read, or provably harmless: the same content comes back."""
    draw = random.Random(0)
    tables = tables_of(finished)
    detected = 0
    for number in range(200):
        source = tables[number % len(tables)]
        schema, intact = schema_of(source), source.read_bytes()
        damaged = tmp_path / "damaged.parquet"
        bit = draw.randrange(8 * len(intact))
        changed = bytearray(intact)
        changed[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(bytes(changed))
        try:
            content = read_arrow(damaged, schema)
        except UserError:
            detected += 1
        else:
            same = content.equals(read_arrow(source, schema), check_metadata=True)
            assert same, f"bit {bit} of {source}"
    assert detected > 100


def test_a_truncated_emptied_or_swapped_table_is_named_with_its_remedy(finished, tmp_path):
    source = finished.folder / "results/data/remarks.parquet"
    other = finished.folder / "results/claims.parquet"
    schema = schema_of(source)
    for content in (source.read_bytes()[:-20], b"", other.read_bytes()):
        damaged = tmp_path / "texts.parquet"
        damaged.write_bytes(content)
        with pytest.raises(UserError, match=rf"{damaged}.*{schema.rule}.*--forcerun"):
            read_arrow(damaged, schema)


def test_a_stage_that_meets_a_damaged_table_stops_with_one_sentence(finished, tmp_path):
    copy = shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    moved = type(finished)(copy)
    table = copy / "results/data/remarks.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(bytes(content))
    done = moved.snakemake("--forcerun", "split_texts", "--until", "split_texts")
    assert done.returncode == 1
    log = (copy / "logs/split_texts/remarks.log").read_text()
    assert "results/data/remarks.parquet is damaged" in log
    assert "Traceback" not in log
