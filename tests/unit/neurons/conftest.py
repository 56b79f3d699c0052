"""A prepared tiny model and texts, as the rules before the neuron study leave them."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from llm_anatomy.artefacts.files import sha256_file
from llm_anatomy.config.base import Compute
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.source.checkpoint import architecture_json
from llm_anatomy.model.source.record import write_record
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.data import TEXTS

from tests.tiny import save_tiny_model, tiny_model, tiny_tokenizer

# Rows of the tiny models' heads up to the last that has a token.
TOKENS = max(tiny_tokenizer().get_vocab().values()) + 1


def prepare(folder: Path, family: str = "llama", **changes: object) -> Path:
    """Write a tiny model like prepare_model does; returns its provenance.json."""
    weights = save_tiny_model(folder / "weights", family, **changes)
    decoder = replace(resolve(tiny_model(family, **changes)), token_rows=TOKENS)
    architecture = architecture_json(decoder, weights)
    record = {
        "model": folder.name,
        "source": {"kind": "path"},
        "revision": "0",
        "licence": "none",
        "weights_sha256": sha256_file(weights / "model.safetensors"),
        "files": {file.name: sha256_file(file) for file in sorted(weights.iterdir())},
        "trust_remote_code": False,
    }
    write_record(folder, record, architecture)
    return folder / "provenance.json"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that wait for each other cost more than these tiny matrices."""
    monkeypatch.setenv("LLM_ANATOMY_COMPUTE", Compute(threads=1).model_dump_json())


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "texts.parquet"
    lines = [f"The capital of France is Paris and number {i} of the city." for i in range(12)]
    frame = pd.DataFrame({"text_id": [f"t{i}" for i in range(12)], "text": lines})
    write_table(path, TEXTS, frame, {})
    return path
