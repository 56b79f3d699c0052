"""A folder that is replaced is whole at every moment, whenever its writer is killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from llm_anatomy.artefacts.files import atomic_folder

NAMES = {"first", "second"}
# Replaces a folder, and dies at the Nth change of a name or removal below the folder around it.
WRITER = """
import os, shutil, sys
from pathlib import Path
from llm_anatomy.artefacts.files import atomic_folder

left = int(sys.argv[2])
rename, remove = Path.rename, os.unlink

def dying(change):
    def changed(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return change(*arguments, **options)
    return changed

with atomic_folder(Path(sys.argv[1])) as folder:
    for name in ("first", "second"):
        (folder / name).write_text("new")
    Path.rename, os.unlink = dying(rename), dying(remove)
"""


def whole(folder: Path) -> str | None:
    """Which of the two folders this is; fails where it is a part or a mixture."""
    if not folder.exists():
        return None
    texts = {file.name: file.read_text() for file in folder.iterdir()}
    assert set(texts) == NAMES, f"{folder} holds {texts}"
    (age,) = set(texts.values())
    return age


@pytest.mark.parametrize("steps", range(6))
def test_a_killed_writer_leaves_no_part_of_a_folder(tmp_path, steps):
    target = tmp_path / "folder"
    target.mkdir()
    for name in NAMES:
        (target / name).write_text("old")
    command = [sys.executable, "-c", WRITER, str(target), str(steps)]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ))
    # Two names change, two files of the old folder are removed.
    assert done.returncode == (9 if steps < 4 else 0)
    found = whole(target)
    assert found == (["old", None, "new", "new", "new", "new"][steps])
    if found is None:
        beside = [folder for folder in tmp_path.iterdir() if folder.name.endswith(".partial")]
        assert {whole(folder) for folder in beside} == {"old", "new"}
    if done.returncode == 0:
        assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_the_next_writer_succeeds_where_one_was_killed(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    command = [sys.executable, "-c", WRITER, str(target), "1"]
    assert subprocess.run(command, cwd=tmp_path).returncode == 9
    with atomic_folder(target) as folder:
        for name in NAMES:
            (folder / name).write_text("newer")
    assert whole(target) == "newer"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_or_link_in_the_way_is_replaced(tmp_path, kind):
    target, other = tmp_path / "folder", tmp_path / "other"
    other.mkdir()
    (other / "kept").write_text("kept")
    target.write_text("x") if kind == "file" else target.symlink_to(other)
    with atomic_folder(target) as folder:
        (folder / "first").write_text("new")
    assert [file.name for file in target.iterdir()] == ["first"]
    assert not target.is_symlink()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "other"]
    assert (other / "kept").read_text() == "kept"


def test_the_old_folder_is_put_back_where_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "first").write_text("old")
    rename = Path.rename

    def refuse(path, to):
        if to == target and not str(path).endswith(".old.partial"):
            raise OSError("no")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="no"), atomic_folder(target) as folder:
        (folder / "first").write_text("new")
    assert (target / "first").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
