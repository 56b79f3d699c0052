"""A model that answers, prepared once for all studies that ask it."""

from pathlib import Path

import pytest
from llm_anatomy.config.base import Compute

from tests.answering import prepare_answering_model


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that wait for each other cost more than these tiny matrices."""
    monkeypatch.setenv("LLM_ANATOMY_COMPUTE", Compute(threads=1).model_dump_json())


@pytest.fixture(scope="session")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_answering_model(tmp_path_factory.mktemp("models") / "tiny")
