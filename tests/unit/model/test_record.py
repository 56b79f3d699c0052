"""A prepared model is exactly the files that its record names."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.record import (
    read_record,
    verified_record,
    weight_hashes,
    write_record,
)

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"[]"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights = tmp_path / "results/models/mine/weights"
    weights.mkdir(parents=True)
    for name, content in FILES.items():
        (weights / name).write_bytes(content)
    hashes, whole = weight_hashes(weights)
    record = {"model": "mine", "files": hashes, "weights_sha256": whole}
    write_record(weights.parent, record, {"norm": "model.norm"})
    return weights.parent


def test_hashes_are_those_of_the_files(folder: Path) -> None:
    record = verified_record(folder / "provenance.json")
    assert record["files"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }
    # The model's identity is its weights alone.
    line = f"model.safetensors:{hashlib.sha256(b'weights').hexdigest()}\n"
    assert record["weights_sha256"] == hashlib.sha256(line.encode()).hexdigest()
    architecture = (folder / "architecture.json").read_bytes()
    assert record["architecture_sha256"] == hashlib.sha256(architecture).hexdigest()


def add(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "weights" / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (add("adapter.safetensors"), "adapter.safetensors is none of the files"),
        (add("zz.py"), "zz.py is none of the files"),
        (add("config.json"), "config.json is damaged"),
        (add("model.safetensors"), "model.safetensors is damaged"),
        (lambda f: (f / "weights/tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda f: (f / "architecture.json").unlink(), "architecture.json is missing"),
        (lambda f: (f / "architecture.json").write_text("{}"), "architecture.json is damaged"),
    ],
)
def test_a_missing_added_or_changed_file_is_named_with_the_rule_that_mends_it(
    folder: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(folder)
    assert read_record(folder / "provenance.json")["model"] == "mine"
    with pytest.raises(UserError, match=words) as raised:
        verified_record(folder / "provenance.json")
    assert "made by the rule prepare_model" in str(raised.value)


def test_hidden_files_and_folders_are_no_part_of_a_model(folder: Path) -> None:
    add(".DS_Store")(folder)
    (folder / "weights/cache").mkdir()
    assert verified_record(folder / "provenance.json")["model"] == "mine"


def test_an_added_file_is_found_beside_an_added_folder(folder: Path) -> None:
    (folder / "weights/cache").mkdir()
    add("zz.py")(folder)
    with pytest.raises(UserError, match=r"zz\.py is none of the files"):
        verified_record(folder / "provenance.json")


def test_a_tuned_model_is_mended_by_tuning(folder: Path) -> None:
    (folder / "training.parquet").write_bytes(b"")
    add("zz.py")(folder)
    with pytest.raises(UserError, match="made by the rule fine_tune"):
        verified_record(folder / "provenance.json")
