import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.source.record import write_record
from llm_anatomy.stages import attribute_facts, knock_out, read_case, trace_queries

from tests.tiny import save_tiny_model


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    weights = save_tiny_model(folder / "weights")
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in weights.iterdir()}
    record = {"model": "tiny", "revision": "", "weights_sha256": "", "files": files}
    write_record(folder, record, {})
    return folder / "provenance.json"


@functools.cache
def loaded_once(path: Path, precision: Precision, compute: Compute) -> LoadedModel:
    return load_model(path, precision, compute)


@pytest.fixture(autouse=True)
def _load_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in (attribute_facts, trace_queries, knock_out, read_case):
        monkeypatch.setattr(stage, "load_model", loaded_once)
