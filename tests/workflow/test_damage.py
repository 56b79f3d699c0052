"""Damaged results are never read as other numbers, and every message names the remedy."""

import random
import re
import shutil
import subprocess

import pytest
from llm_anatomy.artefacts.manifest import find_problems
from llm_anatomy.errors import UserError
from llm_anatomy.figures.exhibit import read_exhibits
from llm_anatomy.model.source.record import verified_record
from llm_anatomy.tables.core import read_arrow
from llm_anatomy.toxicity.detector import load_detector

from tests.workflow.test_run import schema_of, tables_of

# One worker makes the whole run that these tests share.
pytestmark = pytest.mark.xdist_group("run")

FLIPS = 200


@pytest.fixture
def copied(finished, tmp_path):
    """A finished run that may be damaged."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return type(finished)(tmp_path / "copy")


def read(path):
    """What a stage, or `make verify`, reads of a result; raises what they print."""
    folder = path.parent
    if path.suffix == ".parquet":
        return read_arrow(path, schema_of(path))
    if "models" in path.parts:
        return verified_record(
            next(up for up in path.parents if up.parent.name == "models") / "provenance.json"
        )
    if path.suffix == ".safetensors":
        return load_detector(path)
    if folder.parent.name == "figures":
        return read_exhibits(folder)
    results = next(up for up in path.parents if up.name == "results")
    if problems := list(find_problems(results)):
        raise UserError("; ".join(problems))
    return path.read_bytes()


def same(one, other):
    return one.equals(other, check_metadata=True) if hasattr(one, "equals") else one == other


def test_no_flipped_bit_is_read_as_another_number(copied):
    """Detected, or provably harmless: what is read is what was read before."""
    schemas = {path: schema_of(path) for path in tables_of(copied)}
    files = [
        path
        for path in sorted((copied.folder / "results").rglob("*"))
        if path.is_file() and path.name != "README.md" and path.stat().st_size
    ]
    kinds = {path.suffix for path in files}
    assert kinds >= {".parquet", ".safetensors", ".json", ".png", ".html"}
    draw = random.Random(0)
    sentences = []
    for path in draw.sample(files * 20, FLIPS):
        intact = path.read_bytes()
        bit = draw.randrange(8 * len(intact))
        changed = bytearray(intact)
        changed[bit // 8] ^= 1 << bit % 8
        reading = (lambda p: read_arrow(p, schemas[p])) if path in schemas else read
        before = reading(path)
        path.write_bytes(bytes(changed))
        try:
            after = reading(path)
        except UserError as error:
            sentences.append(str(error))
        else:
            assert same(before, after), f"bit {bit} of {path}"
        finally:
            path.write_bytes(intact)
    assert len(sentences) > FLIPS / 2
    assert [sentence for sentence in sentences if "--forcerun" not in sentence] == []


def test_a_truncated_emptied_foreign_or_swapped_table_is_named_with_its_remedy(finished, tmp_path):
    source = finished.folder / "results/data/remarks.parquet"
    schema = schema_of(source)
    folder = finished.folder / "results"
    swapped = (folder / "claims.parquet", folder / "data/remarks.intake.parquet")
    contents = [source.read_bytes()[:-20], b"", *(other.read_bytes() for other in swapped)]
    for content in contents:
        damaged = tmp_path / "texts.parquet"
        damaged.write_bytes(content)
        with pytest.raises(UserError, match=rf"{damaged}.*{schema.rule}.*--forcerun"):
            read_arrow(damaged, schema)


@pytest.mark.parametrize("file", ["provenance.json", "architecture.json", "weights/tokenizer.json"])
def test_a_truncated_emptied_or_swapped_model_file_is_named_with_its_remedy(copied, file):
    folder = copied.folder / "results/models/tiny-tuned"
    path = folder / file
    other = copied.folder / "results/models/tiny" / file
    for content in (path.read_bytes()[:-20], b"", b"{}", other.read_bytes() + b" "):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"damaged .*the rule fine_tune.*--forcerun"):
            verified_record(folder / "provenance.json")
    path.unlink()
    with pytest.raises(UserError, match=rf"{path} is missing.*--forcerun fine_tune"):
        verified_record(folder / "provenance.json")


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ("results/data/remarks.parquet", "build_dataset"),
        ("results/patching/claims.parquet", "conclude_patching"),
    ],
)
def test_the_printed_command_remakes_the_damaged_table(copied, table, rule):
    path = copied.folder / table
    intact = path.read_bytes()
    content = bytearray(intact)
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    done = copied.snakemake()
    assert done.returncode == 1
    said = done.stdout + done.stderr
    logs = "".join(log.read_text() for log in (copied.folder / "logs").rglob("*.log"))
    sentence = next(line for line in logs.splitlines() if f"{table} is damaged" in line)
    assert "Traceback" not in said + logs
    command = re.search(r"remake it with: (snakemake .*)$", sentence)[1]
    assert f"--configfile tiny.yaml --forcerun {rule} -- {table}" in command
    arguments = command.split()[1:]
    subprocess.run(
        [*copied.command()[:3], *arguments],
        cwd=copied.folder,
        env=copied.environment(),
        check=True,
        capture_output=True,
    )
    assert path.read_bytes() == intact
