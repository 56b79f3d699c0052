"""Plant small faults in a copy of the package and see whether its tests notice.

`make mutants` calls it. A run that was stopped goes on where it was: results are kept for as long
as neither the package nor the tests change.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome

from tests.mutants.covering import Covering
from tests.mutants.page import rewrite, table
from tests.mutants.sample import in_order, modules

HOME = Path(".mutants")
PAGE = Path("docs/testing.md")
JUDGED = Path("tests/mutants/judged.toml")
# Far above what the tests of any module take: a mutant that never ends is stopped.
TIMEOUT = 1800.0
COPIED = ("workflow", "tests", "config", "rules", "envs", "profiles", "docs")


def main() -> None:
    """Run the sample's mutants that have no result yet, then rewrite the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=300, help="mutants in all")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the mutants")
    parser.add_argument("--python", type=Path, required=True, help="runs the tests")
    options = parser.parse_args()
    python, page, judged = options.python.absolute(), PAGE.absolute(), JUDGED.absolute()
    tree = copied_tree(HOME / "tree")
    results_file = (HOME / f"results-{identity(tree)}-{options.seed}.jsonl").absolute()
    os.chdir(tree)
    os.environ |= {"PYTHONPATH": str(Path("workflow").absolute()), "OMP_NUM_THREADS": "1"}
    runner = Runner(python, Covering(Path()), results_file)
    every = in_order(modules(), options.seed)
    wanted = every[: options.sample]
    for number, mutation in enumerate(wanted, 1):
        result = runner.result(mutation)
        print(f"{number}/{len(wanted)} {result['outcome']}: {result['name']}", flush=True)
    told = (
        f"{len(wanted)} of {len(every)} mutants, drawn with seed {options.seed}, on the code "
        f"{identity(Path())} (a hash of package and tests)."
    )
    known = tomllib.loads(judged.read_text()) if judged.exists() else {}
    chosen = [runner.result(mutation) for mutation in wanted]
    rewrite(page, table(chosen, known, told))


class Runner:
    """Runs mutants and keeps what became of them.

    Args:
        python: Runs the tests.
        covering: Which tests cover a module.
        file: One JSON line per mutant that has run.
    """

    def __init__(self, python: Path, covering: Covering, file: Path) -> None:
        self.python, self.covering, self.file = python, covering, file
        lines = file.read_text().splitlines() if file.exists() else []
        self.known = {record["key"]: record for record in map(json.loads, lines)}
        self.sound: set[str] = set()

    def result(self, mutation: MutationSpec) -> dict[str, str]:
        """What became of a mutant; it is run unless that is known."""
        key = f"{mutation.module_path}:{mutation.operator_name}:{mutation.occurrence}"
        if key not in self.known:
            record = {"key": key} | self._run(mutation)
            with self.file.open("a") as file:
                file.write(json.dumps(record) + "\n")
            self.known[key] = record
        return self.known[key]

    def _run(self, mutation: MutationSpec) -> dict[str, str]:
        path = Path(mutation.module_path)
        module = ".".join(path.relative_to("workflow").with_suffix("").parts)
        tests = self.covering.of(module)
        outcome, change = "survived", "no test imports it"
        if tests:
            done = mutate_and_test([mutation], shlex.join(self._command(tests)), TIMEOUT)
            if done.worker_outcome is not WorkerOutcome.NORMAL:
                raise SystemExit(f"Error: {mutation} could not be planted:\n{done.output}")
            change = changed(done.diff or "")
            if done.test_outcome is TestOutcome.KILLED:
                outcome = "timeout" if done.output == "timeout" else "killed"
            if outcome == "killed":
                self._check_sound(str(done.output), tests)
        line = mutation.start_pos[0]
        name = f"{path.relative_to('workflow/llm_anatomy')}:{line} {mutation.definition_name or ''}"
        package = "claims" if path.name == "claims.py" else path.parts[2]
        return {"name": name.strip(), "package": package, "outcome": outcome, "change": change}

    def _command(self, tests: list[str]) -> list[str]:
        marked = "not slow and not default_model"
        options = ["-x", "-q", "-p", "no:cacheprovider", "-m", marked]
        return [str(self.python), "-m", "pytest", *options, *tests]

    def _check_sound(self, output: str, tests: list[str]) -> None:
        """A test that fails without a fault too would kill everything."""
        failed = set(re.findall(r"^(?:FAILED|ERROR) (tests/[\w/.]+\.py)", output, re.MULTILINE))
        for file in sorted((failed or set(tests)) - self.sound):
            done = subprocess.run(
                self._command([file]), capture_output=True, text=True, check=False
            )
            if done.returncode not in (0, 5):
                raise SystemExit(f"Error: {file} fails without any fault:\n{done.stdout[-2000:]}")
            self.sound.add(file)


def changed(diff: str) -> str:
    """The lines that a mutant takes out and puts in, as code in a table's cell."""
    lines = [line for line in diff.splitlines() if re.match(r"[-+](?![-+])", line)]
    old = [line[1:].strip() for line in lines if line[0] == "-"]
    new = [line[1:].strip() for line in lines if line[0] == "+"]
    return f"`{' '.join(old)}` → `{' '.join(new)}`"


def copied_tree(tree: Path) -> Path:
    """A fresh copy of the project: mutants are never planted in the working tree."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in COPIED:
        shutil.copytree(name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in Path().iterdir():
        if file.is_file():
            shutil.copy2(file, tree / file.name)
    return tree


def identity(tree: Path) -> str:
    """A hash of the package and the tests, without this folder's pages."""
    digest: Any = hashlib.sha256()
    for folder in ("workflow", "tests"):
        for path in sorted((tree / folder).rglob("*")):
            if path.is_file() and path.name != JUDGED.name:
                digest.update(f"{path.relative_to(tree)}\0".encode() + path.read_bytes())
    return str(digest.hexdigest()[:12])


if __name__ == "__main__":
    main()
