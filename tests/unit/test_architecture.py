"""The shape of the package, read from its imports: layers without circles, and short stages."""

import ast
import itertools
import re
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import llm_anatomy
import pytest

ROOT = Path(llm_anatomy.__file__).parent
PACKAGE = ROOT.name
LOOSE = {"errors", "progress", "runner"}
LONGEST_MODULE = 400
LONGEST_RUN = 25
# Beside the package and the standard library: the type of the frames that a stage hands on, and
# what its class of settings is declared with.
STAGES_MAY_IMPORT = {"pandas", "pydantic"}
# Two seconds of processor at the start of a process each; where only tables are read, for nothing.
HEAVY = {"torch", "transformers"}
# They are given no prepared model and yet need torch: the first makes one, two run a classifier
# from the hub, and the last shares its arithmetic with the stage whose parts it joins.
START_TORCH = {"prepare_model", "fetch_classifier", "score_hub_classifier", "join_contexts"}
# What a family of models is called, in any spelling of a class, key or weight.
FAMILY = re.compile(r"\b(llama|mistral|qwen|gemma|gpt2|gptj|gpt_neox|falcon|phi|opt|bloom|olmo)\w*")
# Modules that may know a family: its parts, and what files of other programs call them.
FAMILIES_LIVE_IN = ("model.parts.", "model.source.gguf")


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name without the package's, `__init__` as its folder."""
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(file.read_text(encoding="utf-8"), str(file))
    return found


@cache
def imports(name: str) -> set[str]:
    """Full names that a module imports anywhere: modules, and of the package what they hold."""
    found = set()
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def imported_on_start(name: str) -> set[str]:
    """Full names that a module imports when it is itself imported, outside functions and types."""
    found, nodes = set(), list(modules()[name].body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
            nodes += [*node.body, *node.orelse]
        elif isinstance(node, ast.Try):
            nodes += [*node.body, *node.orelse, *node.finalbody]
    return found


def way_to_heavy(name: str) -> list[str]:
    """The modules through which a module imports torch or transformers as it starts, if it does."""
    ways = [[name]]
    seen = {name}
    for way in ways:
        for full in sorted(imported_on_start(way[-1])):
            if full.partition(".")[0] in HEAVY:
                return [*way, full]
            inside = full.removeprefix(f"{PACKAGE}.")
            if full != inside and inside in modules() and inside not in seen:
                seen.add(inside)
                ways.append([*way, inside])
    return []


def run_arguments(name: str) -> set[str]:
    """The paths that a stage's `run` is given."""
    runs = [node for node in modules()[name].body if getattr(node, "name", "") == "run"]
    return {argument.arg for run in runs for argument in run.args.kwonlyargs}


def own_imports(name: str) -> set[str]:
    """Modules of the package that a module imports."""
    inside = {full.removeprefix(f"{PACKAGE}.") for full in imports(name) if PACKAGE in full}
    return {full for full in inside if full in modules()} - {name, ""}


@cache
def packages() -> set[str]:
    """Every package around a module."""
    return {name.rpartition(".")[0] for name in modules()} | {"model"}


@cache
def folder(name: str) -> str:
    """The outermost package with modules that a module lies in: `facts`, `data`, `model.parts`."""
    parts = name.split(".")
    around = [".".join(parts[:depth]) for depth in range(1, len(parts))]
    holders = {other.rpartition(".")[0] for other in modules() if other not in packages()}
    return next((package for package in around if package in holders), name)


def circle(edges: dict[str, set[str]]) -> list[str]:
    """One circle of a graph, or nothing."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for following in sorted(edges.get(node, ())):
            if found := walk(following, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(edges) if (found := walk(node, []))), [])


def stage_names() -> list[str]:
    return [name for name in modules() if name.startswith("stages.")]


def test_modules_import_each_other_without_a_circle():
    # A package imports none of its modules (test_modules.py), so that it is no part of a circle.
    edges = {name: own_imports(name) - packages() for name in modules()}
    assert not circle(edges), " → ".join(circle(edges))


def test_folders_import_each_other_without_a_circle():
    edges: dict[str, set[str]] = defaultdict(set)
    why = {}
    for name in modules():
        for other in own_imports(name):
            if folder(name) != folder(other) and other not in packages():
                edges[folder(name)].add(folder(other))
                why.setdefault((folder(name), folder(other)), f"{name} imports {other}")
    found = circle(edges)
    assert not found, "; ".join(why[pair] for pair in itertools.pairwise(found))


@pytest.mark.parametrize("name", stage_names())
def test_a_stage_imports_the_package_and_the_standard_library_alone(name):
    tops = {full.partition(".")[0] for full in imports(name)}
    foreign = tops - set(sys.stdlib_module_names) - {PACKAGE} - STAGES_MAY_IMPORT
    assert not foreign, (
        f"{name} imports {', '.join(sorted(foreign))}: its science belongs in a study"
    )


@pytest.mark.parametrize("name", stage_names())
def test_a_stage_reads_calls_and_writes_in_few_lines(name):
    (run,) = [
        node
        for node in modules()[name].body
        if isinstance(node, ast.FunctionDef) and node.name == "run"
    ]
    lines = run.end_lineno - run.lineno + 1
    assert lines <= LONGEST_RUN, f"run of {name} has {lines} lines"


@pytest.mark.parametrize("name", stage_names())
def test_a_stage_that_reads_tables_alone_starts_without_torch(name):
    reads_a_model = any(argument.startswith("model") for argument in run_arguments(name))
    if not reads_a_model and name.removeprefix("stages.") not in START_TORCH:
        assert not way_to_heavy(name), " imports ".join(way_to_heavy(name))


def test_no_stage_imports_another():
    found = [f"{n} imports {o}" for n in stage_names() for o in own_imports(n) & {*stage_names()}]
    assert not found


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_is_short(name):
    file = ROOT.joinpath(*name.split("."))
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_MODULE, f"{name} has {lines} lines; it holds more than one concept"


def test_three_modules_stand_at_the_top():
    assert {file.stem for file in ROOT.glob("*.py")} - {"__init__"} == LOOSE


def test_rules_alone_import_the_rulebook():
    found = [
        f"{name} imports {other}"
        for name in modules()
        for other in own_imports(name)
        if other.startswith("rulebook") and not name.startswith("rulebook")
    ]
    assert not found


def test_families_of_models_are_known_where_parts_are_told_apart():
    found = []
    for name, tree in modules().items():
        if name.startswith(FAMILIES_LIVE_IN):
            continue
        prose = {id(text) for node in ast.walk(tree) for text in docstring(node)}
        found += [
            f"{name}: line {node.lineno}: {node.value!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            # Names, keys and classes are one word; sentences may speak of models.
            if id(node) not in prose and " " not in node.value and FAMILY.search(node.value.lower())
        ]
    assert not found


def docstring(node: ast.AST) -> list[ast.expr]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    body = node.body[:1] if isinstance(node, kinds) else []
    return [statement.value for statement in body if isinstance(statement, ast.Expr)]


def test_a_class_name_stands_for_one_thing():
    places = defaultdict(list)
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice


@pytest.mark.parametrize("name", sorted(modules()))
def test_what_is_handed_on_does_not_change(name):
    """A dataclass is frozen; what collects while it runs says so by no argument at all."""
    for node in ast.walk(modules()[name]):
        for made in getattr(node, "decorator_list", ()):
            if isinstance(made, ast.Call) and ast.unparse(made.func) == "dataclass":
                assert "frozen=True" in ast.unparse(made), f"{name}.{node.name}"


def test_the_checks_see_what_they_look_for():
    """A circle is found, and the graph that they walk is not empty."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []
    assert "config.root" in own_imports("config.load")
    assert folder("model.parts.resolve") == "model.parts"
    assert folder("data.builtin.texts") == "data"
    assert folder("runner") == "runner"
    assert len(stage_names()) > 20
    assert max(Counter(folder(name) for name in modules()).values()) > 20
