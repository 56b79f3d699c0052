"""Which test files cover a module: those whose imports lead to it in fewest steps."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = "llm_anatomy"
# A file that imports the module, or something that imports it; further ones rarely notice, and are
# taken where none is nearer.
STEPS, FURTHEST = 2, 4
# Nearest first: more files find few more mutants and cost minutes for each survivor.
MOST = 12
# What reads the source of every module, and what compares pages with those of tables.
STRUCTURE, PAGES = "tests/unit/test_architecture.py", "tests/unit/test_reference.py"


class Covering:
    """The imports of a tree's package and tests, read once.

    Args:
        tree: The root of a copy of the project.
    """

    def __init__(self, tree: Path) -> None:
        workflow, tests = tree / "workflow", tree / "tests"
        paths = {_dotted(path, workflow): path for path in workflow.rglob("*.py")}
        paths |= {_dotted(path, tree): path for path in tests.rglob("*.py")}
        self.imports = {
            name: {found for found in _imports(path) if found in paths}
            for name, path in paths.items()
        }
        self.files = {
            name: path.relative_to(tree).as_posix()
            for name, path in paths.items()
            if name.startswith("tests.unit.") and path.name.startswith("test_")
        }

    def of(self, module: str) -> list[str]:
        """Test files that cover a module, nearest first.

        Of equals, those come first that are called like the module or like what it holds, then
        those of its study.

        Args:
            module: Its dotted name.
        """
        _, study, *_, name = module.split(".")
        words = {study, name, *name.split("_")}
        if words & {"claims", "statements"}:
            words |= {"claims", "verdicts"}

        def order(test: str) -> tuple[int, int, int, str]:
            called = sum(word in test for word in words)
            return steps[test], -called, len(self.imports[test]), test

        steps = {
            test: count for test in self.files if (count := self._steps(test, module)) is not None
        }
        near = [test for test, count in steps.items() if count <= STEPS] or list(steps)
        files = [self.files[test] for test in sorted(near, key=order)[:MOST]]
        further = [STRUCTURE, PAGES] if study == "tables" else [STRUCTURE]
        present = set(self.files.values()) - set(files)
        return files + [file for file in further if files and file in present]

    def _steps(self, test: str, module: str) -> int | None:
        """Imports between a test and a module; those among the tests' own helpers are free."""
        reached, count = self._helped(test), 0
        while reached and count < FURTHEST:
            count += 1
            if module in reached:
                return count
            reached = {found for name in reached for found in self.imports.get(name, ())}
        return None

    @cache  # noqa: B019 - one object lives as long as a run
    def _helped(self, test: str) -> frozenset[str]:
        """What of the package a test file and its helpers import."""
        seen, todo = set(), [test]
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo += [each for each in self.imports.get(name, ()) if each.startswith("tests.")]
        return frozenset(
            each for name in seen for each in self.imports.get(name, ()) if _ours(each)
        )


def _ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def _dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        yield from _named(node)


def _named(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        # What is imported from a package may be a module of it.
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []
