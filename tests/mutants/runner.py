"""Runs mutants in one copy of the project, against the tests that cover them."""

import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from cosmic_ray.work_item import MutationSpec

from tests.mutants.covering import Covering
from tests.mutants.page import package_of, place_of
from tests.mutants.planting import planted
from tests.mutants.records import Record, source_of
from tests.mutants.sample import key

# Far above the slowest test and the slowest import of a file, on a machine with other work.
STILL = 90.0
# Far above what any twelve files of tests take.
TOTAL = 1200.0
# Also that there is nothing to run: every test is marked.
PASSED = (0, 5)
FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/[\w/.]+\.py)(\S*)", re.MULTILINE)
MARKED = "not slow and not default_model"


class WarmTests:
    """Runs tests in a copy of the project, in children of one process that has imported much.

    Args:
        python: Of the environment of the tests.
        tree: The copy.
    """

    def __init__(self, python: Path, tree: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mutants-"))
        environment = {"PYTHONPATH": str(tree / "workflow"), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [python, "-P", tree / "tests/mutants/warm.py"],
            cwd=tree,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, tests: list[str]) -> tuple[int | None, str]:
        """Exit status of pytest, none where it had to be ended, and what it said."""
        assert self.process.stdin
        assert self.process.stdout
        output = self.folder / "output"
        options = ["-x", "-p", "no:cacheprovider", "-m", MARKED]
        arguments = [*options, f"--basetemp={self.folder / 'files'}", *tests]
        limits = {"output": str(output), "still": STILL, "total": TOTAL}
        self.process.stdin.write(json.dumps({"arguments": arguments} | limits) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["status"], output.read_text(errors="replace")


@dataclass
class Sound:
    """Which test files pass without any fault; shared by all copies.

    Attributes:
        passing: Of files that were run together, whether they pass.
        aside: Files that fail without any fault: they would notice everything.
    """

    passing: dict[tuple[str, ...], bool] = field(default_factory=dict)
    aside: set[str] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)

    def hold(self, tests: WarmTests, files: tuple[str, ...]) -> bool:
        """Whether some files pass; if not, they are set aside."""
        if files not in self.passing:
            status, _ = tests.run(list(files))
            with self.lock:
                self.passing[files] = status in PASSED
                if not self.passing[files]:
                    self.aside |= set(files)
        return self.passing[files]


@dataclass
class Runner:
    """Runs mutants, one at a time.

    Attributes:
        tree: A copy of the project.
        tests: Runs its tests.
        covering: Which tests cover a module.
        sound: Which test files pass without any fault.
        code: A hash of package and tests.
    """

    tree: Path
    tests: WarmTests
    covering: Covering
    sound: Sound
    code: str

    def record(self, mutation: MutationSpec) -> Record:
        """What became of a mutant."""
        path = mutation.module_path
        change, outcome, by = self._run(mutation)
        return {
            "key": key(mutation),
            "code": self.code,
            "source": source_of(self.tree / path),
            "line": mutation.start_pos[0],
            "place": place_of(path, mutation.definition_name),
            "package": package_of(path),
            "outcome": outcome,
            "change": change,
            "by": by,
            "aside": sorted(self.sound.aside),
        }

    def _run(self, mutation: MutationSpec) -> tuple[str, str, str]:
        """A mutant's change, its outcome, and which test noticed it."""
        while wanted := self._wanted(mutation.module_path):
            with planted(self.tree, mutation) as change:
                status, said = self.tests.run(wanted)
            if status in PASSED:
                return change, "survived", ""
            failed = FAILED.findall(said)
            groups = [(file,) for file in sorted({file for file, _ in failed})] or [tuple(wanted)]
            if all(self.sound.hold(self.tests, group) for group in groups):
                by = "".join(failed[0]) if failed else f"exit status {status}"
                return change, "timeout" if status is None else "killed", by
        return "no test imports it", "survived", ""

    def _wanted(self, path: Path) -> list[str]:
        module = ".".join(path.relative_to("workflow").with_suffix("").parts)
        return [file for file in self.covering.of(module) if file not in self.sound.aside]
