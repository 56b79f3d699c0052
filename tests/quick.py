"""The unit tests of what changed: `python -m tests.quick [BASE]` prints their files."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.covering import Covering

ROOT = Path(__file__).parents[1]
# Of each changed module; what only further files notice is found by `make test`.
MOST = 3


def changed_files(base: str, root: Path = ROOT) -> list[str]:
    """Files that differ from where this branch left another one, the uncommitted included."""

    def git(*arguments: str) -> list[str]:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
        )
        return done.stdout.split("\n")[:-1]

    (left,) = git("merge-base", base, "HEAD")
    new = git("ls-files", "--others", "--exclude-standard")
    return sorted({*git("diff", "--name-only", "--diff-filter=d", left), *new})


def nearest_tests(files: Sequence[str], covering: Covering) -> list[str]:
    """Changed test files, and those nearest to every changed module; each once, in order."""
    known = set(covering.files.values())
    found = [file for file in files if file in known]
    for file in files:
        path = Path(file)
        if path.parts[:2] == ("workflow", "llm_anatomy") and path.suffix == ".py":
            module = ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")
            if "." in module:
                name = module.rpartition(".")[2]
                # Tests that are called like the module, then the nearest.
                near = sorted(covering.of(module), key=lambda test: name not in test)
                found += near[:MOST]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    chosen = nearest_tests(changed_files(*(sys.argv[1:] or ["main"])), Covering(ROOT))
    sys.stdout.write("\n".join(chosen) + "\n" if chosen else "")
