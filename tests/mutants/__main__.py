"""Plant small faults in copies of the package and see whether its tests notice.

`make mutants` calls it. A run that was stopped goes on where it was: results are kept for as long
as neither the package nor the tests change.
"""

import argparse
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

from cosmic_ray.work_item import MutationSpec

from tests.mutants.covering import Covering
from tests.mutants.page import judgement, rewrite, table
from tests.mutants.records import JUDGED, Records, told
from tests.mutants.runner import Runner, Sound, WarmTests
from tests.mutants.sample import in_order, key

HOME = Path(".mutants").absolute()
PAGE = Path("docs/testing.md")
COPIED = (
    "workflow", "tests", "config", "rules", "envs", "profiles", "docs", "benchmarks", ".github",
)  # fmt: skip


def main() -> None:
    """Run the sample's mutants that have no result yet, then rewrite the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=300, help="mutants in all")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the mutants")
    parser.add_argument("--python", type=Path, required=True, help="runs the tests")
    parser.add_argument("--workers", type=int, default=2, help="mutants at once")
    parser.add_argument(
        "--again",
        action="store_true",
        help="after tests were added: only mutants that survived, or whose module changed",
    )
    parser.add_argument(
        "--report", action="store_true", help="run nothing: the table of what has run so far"
    )
    options = parser.parse_args()
    trees = [copied_tree(HOME / f"tree-{number}") for number in range(options.workers)]
    records = Records(HOME, trees[0], options.again)
    every = in_order(trees[0], options.seed)
    wanted = every[: options.sample]
    judged = tomllib.loads(Path(__file__).with_name(JUDGED).read_text())
    # What survived and was judged is not asked again.
    done = records.known | {
        name: record for name, record in records.survived.items() if judgement(judged, record)
    }
    if not options.report:
        left = [mutation for mutation in wanted if key(mutation) not in done]
        # What never ran comes first, then what survived earlier tests.
        left.sort(key=lambda mutation: key(mutation) in records.survived)
        run_all(left, records, trees, options.python.absolute())
    known = records.survived | records.known
    chosen = [known[key(mutation)] for mutation in wanted if key(mutation) in known]
    text = told(chosen, len(every), options.seed, records.code)
    rewrite(PAGE, table(chosen, judged, text))


def run_all(wanted: list[MutationSpec], records: Records, trees: list[Path], python: Path) -> None:
    """Run mutants, one at a time in each copy, and keep what became of them."""
    runners: SimpleQueue[Runner] = SimpleQueue()
    sound, lock = Sound(), Lock()
    for tree in trees:
        runners.put(Runner(tree, WarmTests(python, tree), Covering(tree), sound, records.code))

    def run(mutation: MutationSpec) -> None:
        runner = runners.get()
        try:
            record = runner.record(mutation)
        finally:
            runners.put(runner)
        with lock:
            records.keep(record)
            print(f"{record['outcome']}: {record['place']} {record['change']}", flush=True)

    with ThreadPoolExecutor(len(trees)) as pool:
        for done in [pool.submit(run, mutation) for mutation in wanted]:
            done.result()


def copied_tree(tree: Path) -> Path:
    """A fresh copy of the project: mutants are never planted in the working tree."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in COPIED:
        shutil.copytree(name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for file in Path().iterdir():
        if file.is_file():
            shutil.copy2(file, tree / file.name)
    return tree


if __name__ == "__main__":
    main()
