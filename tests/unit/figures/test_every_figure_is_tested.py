"""No exhibit is without a test of what it shows and of what its caption says."""

import ast
import importlib
from pathlib import Path

import llm_anatomy.figures
import pytest

FIGURES = Path(llm_anatomy.figures.__path__[0])
STUDIES = (
    "anatomy",
    "attribution",
    "contexts",
    "fact_lists",
    "facts",
    "geometry",
    "neurons",
    "patching",
    "steering",
    "toxicity",
    "toxicity_scores",
)
# How a module of figures makes an exhibit.
MAKERS = {"Exhibit", "_exhibit", "_drawn", "exhibit"}


def makers() -> set[str]:
    """Every function that makes an exhibit of its own, but for helpers."""
    found = set()
    for path in FIGURES.glob("*.py"):
        if path.stem == "exhibit":
            continue
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef) or node.name in MAKERS:
                continue
            called = {
                call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
                for call in ast.walk(node)
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute | ast.Name)
            }
            if called & MAKERS:
                found.add(f"llm_anatomy.figures.{path.stem}.{node.name}")
    return found


@pytest.mark.parametrize("kind", ["draws", "says"])
def test_every_figure_has_a_test_of_its(kind: str) -> None:
    covered: set[str] = set()
    for study in STUDIES:
        module = importlib.import_module(f"tests.unit.figures.test_figures_of_{study}")
        for name, value in vars(module).items():
            if name.startswith("test_"):
                covered |= getattr(value, kind, set())
    assert len(makers()) > 30
    assert makers() == covered
