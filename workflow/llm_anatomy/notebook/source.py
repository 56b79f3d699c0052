"""From what a user calls a model to a prepared one, as the rule `prepare_model` makes it."""

import os
import re
import tempfile
from pathlib import Path

from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import DEFAULT_MODELS, HUB_PATTERN, ModelSource
from llm_anatomy.data.wheels import download_wheels, known_wheel
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.prepare import prepare

RECORD = "provenance.json"


def prepared(
    source: str | Path | None, revision: str | None, precision: Precision, compute: Compute
) -> tuple[Path, tempfile.TemporaryDirectory[str] | None]:
    """A folder with the model's record, and what must outlive it.

    Args:
        source: A model that a run prepared (`results/models/NAME`), a folder, a GGUF file, a hub
            id, or None for the default model.
        revision: Commit, tag or branch of a hub model.
        precision: The precision it will run in.
        compute: The device it will run on.

    Raises:
        UserError: It is none of them, or cannot be prepared.
    """
    path = None if source is None else Path(source)
    if path is not None and (path / RECORD).is_file():
        if revision is not None:
            raise UserError(f"{path} was prepared already; leave the revision out")
        return path, None
    entry = _entry(source, revision)
    if entry.wheel is not None:
        return _default(entry, precision, compute), None
    # Links to the user's files or to those of the hub's own cache, gone with the model.
    folder = tempfile.TemporaryDirectory(prefix="llm-anatomy-")
    target = Path(folder.name) / entry.name
    target.mkdir()
    prepare(entry, (), target, precision, compute)
    return target, folder


def _entry(source: str | Path | None, revision: str | None) -> ModelSource:
    if source is None:
        return DEFAULT_MODELS[0]
    path, text = Path(source), str(source)
    name = re.sub(r"-vs-|[^A-Za-z0-9._-]+", "-", path.resolve().name).strip("._-") or "model"
    if path.is_dir():
        return ModelSource(name=name, path=text)
    if path.is_file() and path.suffix.lower() == ".gguf":
        return ModelSource(name=name, gguf=text)
    if re.fullmatch(HUB_PATTERN, text) and "/" in text:
        if revision is None:
            raise UserError(f"{text} needs a revision; pin a commit, or say revision='main'")
        return ModelSource(name=name, hub=text, revision=revision)
    raise UserError(f"{text!r} is no folder, no GGUF file and no hub id such as Qwen/Qwen2.5-0.5B")


def _default(entry: ModelSource, precision: Precision, compute: Compute) -> Path:
    """The default model, unpacked once into the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "llm-anatomy" / entry.name
    if not (folder / RECORD).is_file():
        assert entry.wheel is not None
        wheel = folder / known_wheel(entry.wheel).filename
        folder.mkdir(parents=True, exist_ok=True)
        download_wheels([wheel])
        prepare(entry, (wheel,), folder, precision, compute)
        wheel.unlink()
    return folder
