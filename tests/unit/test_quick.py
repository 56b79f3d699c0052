"""`make quick` picks the tests of what changed."""

import subprocess

import pytest

from tests.mutants.covering import Covering
from tests.quick import ROOT, changed_files, nearest_tests


@pytest.fixture(scope="module")
def covering():
    return Covering(ROOT)


def test_a_changed_module_has_the_tests_that_import_it(covering):
    picked = nearest_tests(["workflow/llm_anatomy/cli/run_state.py"], covering)
    assert picked[0] == "tests/unit/cli/test_run_state.py"
    assert "tests/unit/facts/test_importance.py" in nearest_tests(
        ["workflow/llm_anatomy/facts/importance.py"], covering
    )


def test_a_changed_test_is_picked_and_pages_pick_none(covering):
    own = "tests/unit/test_runner.py"
    assert nearest_tests([own, "README.md", "tests/tiny.py"], covering) == [own]
    assert nearest_tests(["workflow/llm_anatomy/__init__.py"], covering) == []


def test_what_differs_from_the_base_counts_committed_or_not(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    git("init", "-b", "main")
    for name in ("kept.py", "edited.py", "deleted.py", "committed.py"):
        (tmp_path / name).write_text("1\n")
    git("add", ".")
    git("commit", "-m", "first")
    git("checkout", "-b", "mine")
    (tmp_path / "committed.py").write_text("2\n")
    git("commit", "-am", "second")
    (tmp_path / "edited.py").write_text("2\n")
    (tmp_path / "deleted.py").unlink()
    (tmp_path / "new file.py").write_text("1\n")
    assert changed_files("main", tmp_path) == ["committed.py", "edited.py", "new file.py"]
