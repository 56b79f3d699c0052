"""The files that a stage depends on: all that it imports, and nothing else."""

import ast
import shutil
import sys
from pathlib import Path

import pytest
from llm_anatomy.rulebook import code as modules


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of nothing: an empty package that stands in for the real one."""
    root = tmp_path / "src" / "llm_anatomy"
    files = {
        "__init__.py": "",
        "errors.py": "class Oops(Exception): ...\n",
        "stages/__init__.py": "",
        "stages/first.py": "import numpy\nfrom llm_anatomy.maths import lines\n",
        "stages/second.py": "def run():\n    from ..maths.areas import area\n",
        "stages/third.py": (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from llm_anatomy.errors import Oops\n"
        ),
        "maths/__init__.py": "",
        "maths/lines.py": "from . import points\n",
        "maths/points.py": "import llm_anatomy.maths.lines\n",
        "maths/areas.py": "from llm_anatomy.errors import Oops\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(modules, "package_root", lambda: root)
    monkeypatch.chdir(tmp_path)
    return root


def names(files):
    return {file.relative_to(modules.package_root()).as_posix() for file in files}


def test_follows_imports_through_modules_and_cycles(package):
    found = names(modules.module_files("llm_anatomy.stages.first"))
    assert found == {"stages/first.py", "maths/lines.py", "maths/points.py"}


def test_a_package_with_code_of_its_own_counts_and_an_empty_one_does_not(package):
    before = names(modules.module_files("llm_anatomy.stages.first"))
    (package / "maths/__init__.py").write_text("import gc\n")
    found = names(modules.module_files("llm_anatomy.stages.first"))
    assert found - before == {"maths/__init__.py"}


def test_follows_relative_imports_inside_functions(package):
    found = names(modules.module_files("llm_anatomy.stages.second"))
    assert {"maths/areas.py", "errors.py"} <= found
    assert "maths/lines.py" not in found


def test_leaves_out_what_only_a_type_checker_imports(package):
    assert "errors.py" not in names(modules.module_files("llm_anatomy.stages.third"))


def test_parameters_name_every_file_with_its_content_wherever_the_package_lies(
    package, monkeypatch, tmp_path
):
    first = modules.code_parameters("llm_anatomy.stages.first")
    assert first == sorted(first)
    assert [parameter.rpartition(" ")[0] for parameter in first] == [
        "code llm_anatomy/maths/lines.py",
        "code llm_anatomy/maths/points.py",
        "code llm_anatomy/stages/first.py",
    ]
    copy = shutil.copytree(package, tmp_path / "elsewhere" / "llm_anatomy")
    monkeypatch.setattr(modules, "package_root", lambda: copy)
    assert modules.code_parameters("llm_anatomy.stages.first") == first
    edited = shutil.copytree(package, tmp_path / "edited" / "llm_anatomy")
    (edited / "maths/lines.py").write_text("from . import points  # edited\n")
    monkeypatch.setattr(modules, "package_root", lambda: edited)
    (change,) = set(modules.code_parameters("llm_anatomy.stages.first")) - set(first)
    assert change.startswith("code llm_anatomy/maths/lines.py ")


def test_names_the_missing_module(package):
    with pytest.raises(ModuleNotFoundError, match=r"no module llm_anatomy\.stages\.fourth"):
        modules.module_files("llm_anatomy.stages.fourth")
    (package / "stages" / "fifth.py").write_text("import llm_anatomy.maths.cubes\n")
    with pytest.raises(ModuleNotFoundError, match=r"fifth.py imports llm_anatomy.maths.cubes"):
        modules.module_files("llm_anatomy.stages.fifth")


def test_covers_every_first_party_module_that_a_stage_really_loads():
    """The walk against Python itself: import a cheap module, look at what was loaded."""
    import subprocess

    module = "llm_anatomy.config.load"
    code = (
        f"import sys, {module}; print('\\n'.join(m.__file__ for n, m in sys.modules.items()"
        " if n.split('.')[0] == 'llm_anatomy'))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    tracked = {file.resolve() for file in modules.module_files(module)}
    files = {Path(line).resolve() for line in loaded.stdout.split()}
    assert {file for file in files if file.stat().st_size} == tracked


def test_packages_import_nothing_of_ours_and_nothing_is_imported_by_a_computed_name():
    """Both would blind or flood the tracking; the reference pages are no stage."""
    root = modules.package_root()
    for file in root.rglob("*.py"):
        text = file.read_text()
        if file.name == "__init__.py":
            package = ".".join((root.name, *file.parent.relative_to(root).parts))
            reached = {file.resolve() for file in modules.module_files(package)}
            around = {folder / "__init__.py" for folder in file.parents}
            assert reached <= around, f"{file} imports a module, which every stage would depend on"
        elif file.name != "reference.py":
            calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
            dynamic = [
                c for c in calls if ast.unparse(c.func) in ("importlib.import_module", "__import__")
            ]
            assert not dynamic, f"{file} imports by a computed name, which code tracking cannot see"


def imports(statements):
    """Import statements as text, wherever they stand."""
    return {ast.unparse(s) for s in statements if isinstance(s, ast.Import | ast.ImportFrom)}


def whole(text):
    """The imports that can run, from the syntax of the whole module."""
    hidden = {
        inner
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in imports(ast.walk(statement))
    }
    return imports(ast.walk(ast.parse(text))) - hidden


def test_every_import_of_the_package_that_can_run_is_found():
    for file in sorted(modules.package_root().rglob("*.py")):
        text = file.read_text()
        assert imports(modules.running_statements(text, str(file))) == whole(text), file


@pytest.mark.parametrize(
    "text",
    [
        "import a; import b\nx = 1; import c\n",
        "if x: import a\ntry: from b import c\nexcept ImportError: import d as e\n",
        "from a import (  # of (all) things\n    b,\n    c,\n)\nimport d\n",
        "from a import b  # (see\nimport c\nd = e(f)\nimport g\n",
        "from a \\\n    import b\nfrom c import d, \\\n    e\nimport f\n",
        "def f():\n    with g() as h:\n        from .a import b\n    class C:\n        import d\n",
        "match x:\n    case 1:\n        from . import a\nwhile y:\n    import b\nelse: import c\n",
        "try:\n    import a\nexcept* ValueError:\n    import b\nfinally:\n\timport c\n",
        '"""\nfrom here on, everything\n"""\nimport a\n',
        '"""Why: see the notes on import order."""\nimport a\n',
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b\n",
        "import typing as t\nif t.TYPE_CHECKING:\n    from a import b\nelif x:\n    import c\n",
    ],
)
def test_imports_are_found_however_they_are_written(text):
    found = imports(modules.running_statements(text, "module.py"))
    assert found
    assert found == whole(text)


def test_lists_data_files_of_the_package_but_no_modules(package):
    (package / "report").mkdir()
    for name in ("page.html", "style.css", "render.py", "render.pyc"):
        (package / "report" / name).write_text("")
    found = modules.package_files("report")
    assert found == [f"src/llm_anatomy/report/{name}" for name in ("page.html", "style.css")]
    with pytest.raises(FileNotFoundError):
        modules.package_files("nowhere")
