"""The files that a stage depends on: all that it imports, and nothing else."""

import ast
import sys
from pathlib import Path

import pytest
from llm_anatomy import modules


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of nothing: an empty package that stands in for the real one."""
    root = tmp_path / "src" / "llm_anatomy"
    files = {
        "__init__.py": "",
        "errors.py": "",
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
    return {Path(file).relative_to("src/llm_anatomy").as_posix() for file in files}


def test_follows_imports_through_modules_and_cycles(package):
    found = names(modules.module_files("llm_anatomy.stages.first"))
    assert found == {
        "__init__.py",
        "stages/__init__.py",
        "stages/first.py",
        "maths/__init__.py",
        "maths/lines.py",
        "maths/points.py",
    }


def test_follows_relative_imports_inside_functions(package):
    found = names(modules.module_files("llm_anatomy.stages.second"))
    assert {"maths/areas.py", "errors.py"} <= found
    assert "maths/lines.py" not in found


def test_leaves_out_what_only_a_type_checker_imports(package):
    assert "errors.py" not in names(modules.module_files("llm_anatomy.stages.third"))


def test_is_sorted_and_relative_to_the_working_directory(package, monkeypatch):
    found = modules.module_files("llm_anatomy.stages.first")
    assert found == sorted(found)
    assert all(not Path(file).is_absolute() for file in found)
    monkeypatch.chdir(package / "stages")
    elsewhere = modules.module_files("llm_anatomy.stages.first")
    assert str(package / "errors.py") not in elsewhere
    assert str(package / "maths" / "lines.py") in elsewhere


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
    tracked = {str(Path(file).resolve()) for file in modules.module_files(module)}
    assert {str(Path(line).resolve()) for line in loaded.stdout.split()} == tracked


def test_packages_import_nothing_of_ours_and_nothing_is_imported_by_a_computed_name():
    """Both would blind or flood the tracking; the reference pages are no stage."""
    root = modules.package_root()
    for file in root.rglob("*.py"):
        text = file.read_text()
        if file.name == "__init__.py":
            package = ".".join((root.name, *file.parent.relative_to(root).parts))
            reached = {Path(name).resolve() for name in modules.module_files(package)}
            around = {folder / "__init__.py" for folder in file.parents}
            assert reached <= around, f"{file} imports a module, which every stage would depend on"
        elif file.name != "reference.py":
            calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
            dynamic = [
                c for c in calls if ast.unparse(c.func) in ("importlib.import_module", "__import__")
            ]
            assert not dynamic, f"{file} imports by a computed name, which code tracking cannot see"


def test_lists_data_files_of_the_package_but_no_modules(package):
    (package / "report").mkdir()
    for name in ("page.html", "style.css", "render.py", "render.pyc"):
        (package / "report" / name).write_text("")
    assert names(modules.package_files("report")) == {"report/page.html", "report/style.css"}
    with pytest.raises(FileNotFoundError):
        modules.package_files("nowhere")
