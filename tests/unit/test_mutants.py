"""What counts as a noticed fault, and what the table of `make mutants` says of it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.page import package_of, place_of, table
from tests.mutants.records import Records, source_of, told

ROOT = Path(__file__).parents[2]
# Runs tests as `make mutants` does, without the libraries that these need not.
WARM = "from tests.mutants import warm; warm.IMPORTED = ('pytest',); warm.main()"
MODULE = "workflow/llm_anatomy/facts/sums.py"


def record(key: str, outcome: str, **changes: Any) -> dict[str, Any]:
    """What became of a mutant of the fact study."""
    plain = {"place": f"facts/{key}.py", "line": 1, "package": "facts", "change": "`a` → `b`"}
    return plain | {"key": key, "code": "now", "aside": [], "outcome": outcome} | changes


def test_rates_are_of_all_mutants_and_of_those_that_could_be_noticed() -> None:
    records = [record(f"k{n}", "killed") for n in range(6)]
    records += [record("late", "timeout"), *(record(f"s{n}", "survived") for n in range(3))]
    records += [record("c", "survived", package="claims")]
    judged = {
        "facts/s0.py": {"`a` → `b`": "equivalent: never zero."},
        "facts/s1.py": {"`a` → `b`": "looks: a line's width."},
        "facts/s2.py": {"`b` → `a`": "equivalent: of another change."},
    }
    lines = table(records, judged, "A sample.").splitlines()
    assert lines[0] == "A sample."
    assert "| `facts` | 10 | 7 | 3 | 70 % | 2 | 88 % |" in lines
    assert "| `claims` | 1 | 0 | 1 | 0 % | 0 | 0 % |" in lines
    assert "| all | 11 | 7 | 4 | 64 % | 2 | 78 % |" in lines
    assert "| facts/s1.py | `a` → `b` | looks: a line's width. |" in lines
    assert "| facts/s2.py | `a` → `b` | not judged yet |" in lines
    assert not any("facts/k" in line or "facts/late" in line for line in lines)


def test_what_decides_verdicts_is_counted_apart() -> None:
    counted = {
        "toxicity/detection_claims.py": "claims",
        "statistics/evidence.py": "claims",
        "tables/claims.py": "claims",
        "toxicity/detector.py": "toxicity",
        "figures/facts.py": "figures",
    }
    for name, package in counted.items():
        path = Path("workflow/llm_anatomy", name)
        assert (package_of(path), place_of(path, "f")) == (package, f"{name} f")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of one module and one test."""
    for name in (MODULE, "tests/unit/test_sums.py", "tests/mutants/judged.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    return tmp_path


def test_after_tests_were_added_only_survivors_are_run_again(tree: Path, tmp_path: Path) -> None:
    before = Records(tmp_path, tree, again=False)
    source = source_of(tree / MODULE)
    for name, outcome, of in (
        ("dead", "killed", source),
        ("late", "timeout", source),
        ("alive", "survived", source),
        ("other", "killed", "an older source"),
    ):
        key = f"{MODULE}:{name}:0"
        before.keep(record(key, outcome, source=of, code=before.code))
    assert len(Records(tmp_path, tree, again=False).known) == 4
    # What is judged of survivors is no change of the tests.
    (tree / "tests/mutants/judged.toml").write_text("y = 2\n")
    assert len(Records(tmp_path, tree, again=False).known) == 4
    (tree / "tests/unit/test_sums.py").write_text("x = 2\n")
    assert Records(tmp_path, tree, again=False).known == {}
    after = Records(tmp_path, tree, again=True)
    assert set(after.known) == {f"{MODULE}:dead:0", f"{MODULE}:late:0"}
    assert set(after.survived) == {f"{MODULE}:alive:0"}
    said = told([*after.known.values(), *after.survived.values()], 1000, 0, after.code)
    assert "but for 1 that were judged or not reached, which count as survivors." in said
    after.keep(record(f"{MODULE}:alive:0", "killed", source=source, code=after.code))
    said = told(list(after.known.values()), 1000, 0, after.code)
    assert f"3 of 1,000 mutants, drawn with seed 0, on the code {after.code} " in said
    assert f"2 of them were noticed by earlier tests (of {before.code})" in said
    assert "planted again after tests were added." in said
    assert "earlier" not in told([record("k", "killed")], 10, 0, "now")
    assert "fault: t.py." in told([record("k", "killed", aside=["t.py"])], 10, 0, "now")


def test_tests_end_by_themselves_or_by_a_limit(tmp_path: Path) -> None:
    bodies = {
        "passes": "assert True",
        "fails": "assert False",
        "stands": f"p = subprocess.Popen(['sleep', '60']); "
        f"open({str(tmp_path / 'started')!r}, 'w').write(str(p.pid)); time.sleep(60)",
        "dies": "os.kill(os.getpid(), 9)",
    }
    for name, body in bodies.items():
        text = f"import os, subprocess, time\n\ndef test_it():\n    {body}\n"
        (tmp_path / f"test_{name}.py").write_text(text)
    limits = {"output": str(tmp_path / "output"), "still": 3.0, "total": 30.0}
    asked = [
        {"arguments": ["-p", "no:cacheprovider", str(tmp_path / f"test_{name}.py")]} | limits
        for name in bodies
    ]
    done = subprocess.run(
        [sys.executable, "-c", WARM],
        cwd=ROOT,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        input="".join(json.dumps(request) + "\n" for request in asked),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line)["status"] for line in done.stdout.splitlines()]
    assert dict(zip(bodies, answers, strict=True)) == {
        "passes": 0,
        "fails": 1,
        "stands": None,
        "dies": -9,
    }
    # What the test that stood still had started is gone as well, as soon as it is waited for.
    started = int((tmp_path / "started").read_text())
    deadline = time.monotonic() + 10
    while _runs(started):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _runs(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False
