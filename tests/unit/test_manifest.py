"""The manifest describes every result, and every damaged bit is found."""

import hashlib
import json
import random
from base64 import urlsafe_b64encode
from pathlib import Path

import pyarrow as pa
import pytest
from llm_anatomy.artefacts.documents import sealed
from llm_anatomy.artefacts.manifest import find_problems, make_manifest
from llm_anatomy.artefacts.records import read_records
from llm_anatomy.artefacts.results import PLACES_VARIABLE
from llm_anatomy.cli.app import main
from llm_anatomy.errors import UserError
from llm_anatomy.tables.core import Column, TableSchema, read_provenance, write_table

SCHEMA = TableSchema(
    name="study/numbers",
    path="results/study/numbers.parquet",
    rule="count",
    description="One row per number.",
    columns=(Column("value", pa.int64(), "A number."),),
)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A results folder as Snakemake leaves it, records included."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path.relative_to(tmp_path) / "results"
    write_table(folder / "study/numbers.parquet", SCHEMA, {"value": [1, 2, 3]}, {"seed": 7})
    (folder / "figures/study").mkdir(parents=True)
    (folder / "figures/study/curve.png").write_bytes(bytes(range(256)))
    (folder / "README.md").write_text("stays")
    (folder / "study/.numbers.parquet.x1.partial").write_text("half")
    (tmp_path / "texts.csv").write_text("text\nhello\n")
    records = tmp_path / ".snakemake/metadata"
    record(records, "results/study/numbers.parquet", "count", ["texts.csv"])
    record(records, "results/figures/study", "draw", ["results/study/numbers.parquet"])
    manifest = make_manifest(folder, read_records(records), read_provenance)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
    return folder


def record(folder, output, rule, inputs, code="0a", longest=40):
    """One record, split into folders as Snakemake does for long names."""
    name = urlsafe_b64encode(output.encode()).decode()
    *parts, last = [name[i : i + longest] for i in range(0, len(name), longest)]
    path = folder.joinpath(*(f"@{part}" for part in parts), last)
    path.parent.mkdir(parents=True, exist_ok=True)
    params = [f"'code llm_anatomy/stages/{rule}.py {code}'", "'x'"]
    path.write_text(json.dumps({"rule": rule, "input": inputs, "params": params}))


def test_says_what_every_file_came_from(results):
    manifest = json.loads((results / "manifest.json").read_text())
    assert set(manifest["files"]) == {"study/numbers.parquet", "figures/study/curve.png"}
    table = manifest["files"]["study/numbers.parquet"]
    assert table["rule"] == "count"
    assert table["inputs"] == ["texts.csv"]
    assert table["parameters"] == ["'x'"]
    assert table["provenance"] == {"seed": 7}
    assert len(table["code_sha256"]) == 64
    assert manifest["files"]["figures/study/curve.png"]["rule"] == "draw"
    assert set(manifest["sources"]) == {"texts.csv"}


def test_is_the_same_for_the_same_results_and_changes_with_the_code(results, tmp_path):
    records = tmp_path / ".snakemake/metadata"
    first = make_manifest(results, read_records(records), read_provenance)
    assert make_manifest(results, read_records(records), read_provenance) == first
    record(records, "results/study/numbers.parquet", "count", ["texts.csv"], code="0b")
    second = make_manifest(results, read_records(records), read_provenance)
    name = "study/numbers.parquet"
    assert second["files"][name]["code_sha256"] != first["files"][name]["code_sha256"]


def test_is_the_same_for_copies_of_results_in_object_storage(results, tmp_path, monkeypatch):
    copies, address = Path(".snakemake/storage/s3/bucket/run/results"), "s3://bucket/run/results"
    monkeypatch.setenv(PLACES_VARIABLE, f"{copies}\n{address}")
    records = tmp_path / "records"
    table = f"{address}/study/numbers.parquet"
    record(records, table, "count", ["texts.csv"])
    record(records, f"{address}/figures/study", "draw", [table])
    expected = json.loads((results / "manifest.json").read_text())
    copies.parent.mkdir(parents=True)
    results.rename(copies)
    assert make_manifest(copies, read_records(records), read_provenance) == expected


def test_accepts_intact_results(results, capsys):
    assert list(find_problems(results)) == []
    with pytest.raises(SystemExit) as left:
        main(["verify", str(results)])
    assert left.value.code == 0
    assert "2 files in results are intact" in capsys.readouterr().out


def test_names_missing_changed_and_foreign_files(results, capsys):
    (results / "study/numbers.parquet").unlink()
    (results / "figures/study/curve.png").write_bytes(b"")
    (results / "figures/study/other.png").write_bytes(b"")
    text = "\n".join(find_problems(results))
    assert "results/study/numbers.parquet is missing" in text
    assert "--forcerun count -- results/study/numbers.parquet" in text
    assert "results/figures/study/curve.png is not the file" in text
    assert "results/figures/study/other.png is not in the manifest" in text
    with pytest.raises(SystemExit) as left:
        main(["verify", str(results)])
    assert left.value.code == 1
    assert capsys.readouterr().err.count("Error: ") == 3


def test_finds_any_flipped_bit(results):
    draw = random.Random(0)
    for path in (results / "study/numbers.parquet", results / "figures/study/curve.png"):
        intact = path.read_bytes()
        for _ in range(50):
            bit = draw.randrange(8 * len(intact))
            path.write_bytes(flip(intact, bit))
            assert [p for p in find_problems(results) if str(path) in p], f"bit {bit} of {path}"
        path.write_bytes(intact)


def test_finds_any_flipped_bit_of_the_manifest_that_changes_what_it_says(results):
    path = results / "manifest.json"
    intact = path.read_bytes()
    said = json.loads(intact)
    draw = random.Random(1)
    found = 0
    for _ in range(100):
        path.write_bytes(flip(intact, draw.randrange(8 * len(intact))))
        try:
            harmless = json.loads(path.read_text()) == said
        except ValueError:
            harmless = False
        if not harmless:
            with pytest.raises(UserError, match="damaged"):
                list(find_problems(results))
            found += 1
    assert found > 50


def test_a_manifest_with_a_changed_entry_does_not_pass_as_sealed(results):
    manifest = json.loads((results / "manifest.json").read_text())
    assert sealed(manifest) == manifest
    manifest["files"]["study/numbers.parquet"]["sha256"] = "0" * 64
    assert sealed(manifest) != manifest


def flip(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_hash_is_that_of_the_file_it_stands_beside(results):
    manifest = json.loads((results / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        content = (results / name).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["bytes"] == len(content)
    sources = {"texts.csv": hashlib.sha256(b"text\nhello\n").hexdigest()}
    assert manifest["sources"] == sources


def test_code_is_told_from_parameters_and_hashed(results):
    entry = json.loads((results / "manifest.json").read_text())["files"]["figures/study/curve.png"]
    assert entry["inputs"] == ["results/study/numbers.parquet"]
    code = "'code llm_anatomy/stages/draw.py 0a'"
    assert entry["code_sha256"] == hashlib.sha256(code.encode()).hexdigest()
