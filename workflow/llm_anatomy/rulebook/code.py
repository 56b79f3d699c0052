"""Which source files of the package a stage depends on.

Snakemake does not notice edits of an installed package. Every rule therefore has the files that its
stage imports, directly or through other modules, with a hash of each, among its parameters: an edit
reruns exactly the stages that import the edited module, and `touch` or `git clone` rerun nothing.
(As inputs they would do the same, but Snakemake's time grows with the inputs of its jobs.)
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from llm_anatomy.artefacts.records import CODE

PACKAGE = "llm_anatomy"


def code_parameters(module: str) -> list[str]:
    """`module_files` as parameters of a rule: `code FILE HASH`, wherever the package lies.

    Snakemake's reason to run a job again then names the files that changed.
    """
    root = package_root().parent
    return [
        f"{CODE}{path.relative_to(root).as_posix()} {_content_hash(path)}"
        for path in module_files(module)
    ]


def module_files(module: str) -> list[Path]:
    """The first-party source files that a module imports, itself included; sorted.

    Imports inside functions count; imports under `if TYPE_CHECKING:` do not, since they never run.
    Empty files, as most `__init__.py` are, hold nothing to depend on.

    Args:
        module: Dotted name, such as `llm_anatomy.stages.spline_features`.

    Raises:
        ModuleNotFoundError: The module, or a first-party module that it names, does not exist.
    """
    root = package_root()
    if _source(root, module) is None:
        raise ModuleNotFoundError(f"there is no module {module} in {root}", name=module)
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_imports(root, name))
    paths = {path for name in found if (path := _source(root, name)) and path.stat().st_size}
    return sorted(paths)


def package_files(folder: str) -> list[str]:
    """Every file of a folder inside the package that is not a module, such as report templates.

    Raises:
        FileNotFoundError: The folder does not exist or holds no such file.
    """
    root = package_root() / folder
    found = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix[:3] != ".py")
    if not found:
        raise FileNotFoundError(f"{root} holds no files")
    return [_display(path) for path in found]


def package_root() -> Path:
    """The folder of the package that `python -m llm_anatomy…` runs."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {PACKAGE} is not installed", name=PACKAGE)
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def _content_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _display(path: Path) -> str:
    working_directory = Path.cwd()
    if path.is_relative_to(working_directory):
        return path.relative_to(working_directory).as_posix()
    return path.as_posix()


@cache
def _source(root: Path, module: str) -> Path | None:
    """The file of a module or package, or nothing when the name is not a module."""
    parts = module.split(".")[1:]
    folder = root.joinpath(*parts)
    if (folder / "__init__.py").is_file():
        return folder / "__init__.py"
    file = root.joinpath(*parts[:-1], f"{parts[-1]}.py") if parts else None
    return file if file is not None and file.is_file() else None


@cache
def _imports(root: Path, module: str) -> tuple[str, ...]:
    """First-party modules that a module imports, and the packages around it."""
    path = _source(root, module)
    if path is None:
        return ()
    parents = module.split(".")
    names = {".".join(parents[:depth]) for depth in range(1, len(parents))}
    package = module if path.name == "__init__.py" else ".".join(parents[:-1])
    for node in running_statements(path.read_text(encoding="utf-8"), str(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names.add(base)
            # `from package import module` names a module; `from module import thing` does not.
            names.update(
                name
                for a in node.names
                if _is_ours(name := f"{base}.{a.name}") and _source(root, name)
            )
    ours = sorted(name for name in names if _is_ours(name))
    for name in ours:
        if _source(root, name) is None:
            raise ModuleNotFoundError(f"{path} imports {name}, which does not exist", name=name)
    return tuple(ours)


def _is_ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


# Where statements hold statements; imports are statements, so expressions are never looked into.
_BODIES = ("body", "orelse", "handlers", "finalbody", "cases")


def running_statements(text: str, file: str) -> Iterator[ast.AST]:
    """Statements of a module that can run, so without bodies of `if TYPE_CHECKING:`.

    Args:
        text: The module's source.
        file: Its name, for error messages.
    """
    waiting: list[ast.AST] = [ast.parse(text, file)]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
        else:
            for body in _BODIES:
                waiting.extend(getattr(node, body, ()))
