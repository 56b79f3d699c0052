"""Take a decoder language model apart: `open` for a run's results, `load` for a model, and
`save_figure` for what a paper shows.

Stages import this package, and depend on all that it imports: the doors to a notebook are opened
when they are asked for.
"""

from importlib import import_module
from typing import Any

_DOORS = {
    "open": ("llm_anatomy.notebook.results", "open_results"),
    "load": ("llm_anatomy.notebook.model", "load"),
    "Results": ("llm_anatomy.notebook.results", "Results"),
    "Model": ("llm_anatomy.notebook.model", "Model"),
    "save_figure": ("llm_anatomy.figures.exhibit", "save_figure"),
    "UserError": ("llm_anatomy.errors", "UserError"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("llm-anatomy")
    if name not in _DOORS:
        raise AttributeError(f"module 'llm_anatomy' has no attribute {name!r}")
    module, thing = _DOORS[name]
    return getattr(import_module(module), thing)


def __dir__() -> list[str]:
    return sorted([*globals(), *_DOORS, "__version__"])
