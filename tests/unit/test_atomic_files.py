"""A file appears under its name when it is whole and on the disk, and not before."""

import os
import stat
from pathlib import Path

import pytest
from llm_anatomy.artefacts.files import atomic_folder, atomic_path, sha256_file


@pytest.mark.parametrize("writer", [atomic_path, atomic_folder])
def test_the_temporary_name_lies_beside_the_target_and_is_no_result(tmp_path, writer):
    target = tmp_path / "new" / "numbers.parquet"
    with writer(target) as temporary:
        # A rename is atomic within one file system only.
        assert temporary.parent == target.parent
        # A leftover is hidden, and known as unfinished (`artefacts/manifest.py`).
        assert temporary.name.startswith(".numbers.parquet.")
        assert temporary.suffix == ".partial"
        assert not target.exists()
    assert list(target.parent.iterdir()) == [target]


def test_two_writers_of_one_file_do_not_share_a_temporary_name(tmp_path):
    with atomic_path(tmp_path / "a") as first, atomic_path(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"


def test_a_files_bytes_are_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    target, order = tmp_path / "a", []
    fsync, replace = os.fsync, Path.replace

    def recorded_fsync(handle):
        # What is on the disk is the file itself, whole, still under its other name.
        content = os.pread(handle, 100, 0)
        order.append(("fsync", content, target.exists()))
        fsync(handle)

    def recorded_replace(path, to):
        order.append(("replace", path.read_bytes(), to))
        return replace(path, to)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
    assert order == [("fsync", b"whole", False), ("replace", b"whole", target)]
    assert target.read_bytes() == b"whole"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("writer", [atomic_path, atomic_folder])
def test_a_writer_that_fails_leaves_what_was_there(tmp_path, writer, error):
    target = tmp_path / "a"

    def write(text, then=None):
        with writer(target) as temporary:
            (temporary if writer is atomic_path else temporary / "file").write_text(text)
            if then is not None:
                raise then

    write("old")
    with pytest.raises(error):
        write("new", then=error)
    assert (target if writer is atomic_path else target / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_results_follow_the_users_umask_and_leave_it_as_it_was(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("x")
        with atomic_folder(tmp_path / "folder"):
            pass
    finally:
        assert os.umask(before) == umask
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~umask


def test_a_hash_is_that_of_all_bytes(tmp_path, monkeypatch):
    # SHA-256 of a million letters a (FIPS 180-2), read in several pieces.
    monkeypatch.setattr("llm_anatomy.artefacts.files.READ_BYTES", 300_000)
    (tmp_path / "a").write_bytes(b"a" * 1_000_000)
    known = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert sha256_file(tmp_path / "a") == known
