"""A prepared model is exactly the files that its record names."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from llm_anatomy.errors import UserError
from llm_anatomy.model.source import record
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
    said = {"model": "mine", "files": hashes, "weights_sha256": whole}
    write_record(weights.parent, said, {"norm": "model.norm"})
    return weights.parent


def test_hashes_are_those_of_the_files(folder: Path) -> None:
    said = verified_record(folder / "provenance.json")
    assert said["files"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }
    # The model's identity is its weights alone.
    line = f"model.safetensors:{hashlib.sha256(b'weights').hexdigest()}\n"
    assert said["weights_sha256"] == hashlib.sha256(line.encode()).hexdigest()
    architecture = (folder / "architecture.json").read_bytes()
    assert said["architecture_sha256"] == hashlib.sha256(architecture).hexdigest()


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


def test_a_file_is_read_again_only_when_it_was_touched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path) -> str:
        read.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(record, "sha256_file", counted)
    # Preparing has read the weights; the architecture file is small and read once.
    verified_record(folder / "provenance.json")
    assert read == ["architecture.json"]
    verified_record(folder / "provenance.json")
    assert read == ["architecture.json"]
    # The same bytes, written again: read, found right, and remembered.
    add_same = folder / "weights/model.safetensors"
    add_same.write_bytes(FILES["model.safetensors"])
    verified_record(folder / "provenance.json")
    verified_record(folder / "provenance.json")
    assert read == ["architecture.json", "model.safetensors"]
    # Another file of the same size and time under the same name.
    other = folder / "weights/other"
    other.write_bytes(b"WEIGHTS")
    times = add_same.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(add_same)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        verified_record(folder / "provenance.json")


def test_a_memory_that_cannot_be_read_or_written_costs_time_alone(folder: Path) -> None:
    (folder / ".checked.json").write_text("[1")
    assert verified_record(folder / "provenance.json")["model"] == "mine"
    add("config.json")(folder)
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        verified_record(folder / "provenance.json")
    (folder / ".checked.json").unlink()
    (folder / ".checked.json").mkdir()
    (folder / "weights/config.json").write_bytes(FILES["config.json"])
    assert verified_record(folder / "provenance.json")["model"] == "mine"


def test_a_tuned_model_is_mended_by_tuning(folder: Path) -> None:
    (folder / "training.parquet").write_bytes(b"")
    add("zz.py")(folder)
    with pytest.raises(UserError, match="made by the rule fine_tune"):
        verified_record(folder / "provenance.json")
