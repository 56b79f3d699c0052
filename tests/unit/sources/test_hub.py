"""Models from the hub, through the real client library on a stubbed network."""

import json
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import ModelSource
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.source import hub as hub_module
from llm_anatomy.model.source import memory
from llm_anatomy.model.source.prepare import prepare
from safetensors.torch import load_file, save_file

from tests.tiny import save_tiny_model
from tests.unit.sources.fake_hub import FakeHub

REPOSITORY = "org/tiny"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    fake = FakeHub()
    fake.install(monkeypatch, tmp_path / "cache")
    fake.add(REPOSITORY, save_tiny_model(tmp_path / "tiny"), **{"onnx.bin": b"x"})
    yield fake
    huggingface_hub.set_client_factory(huggingface_hub.utils._http.default_client_factory)


def source(**changes) -> ModelSource:
    return ModelSource(**({"name": "tiny", "hub": REPOSITORY, "revision": "main"} | changes))


def prepare_in(folder, **changes) -> dict:
    prepare(source(**changes), (), folder, Precision(), Compute())
    return json.loads((folder / "provenance.json").read_text())


def failure(folder, **changes) -> str:
    with pytest.raises(UserError) as caught:
        prepare_in(folder, **changes)
    assert "\n" not in str(caught.value)
    assert not (folder / "provenance.json").exists()
    assert not (folder / "weights").exists()
    return str(caught.value)


def test_a_hub_model_is_pinned_linked_and_loadable(hub, tmp_path):
    record = prepare_in(tmp_path / "model")
    commit = hub.repositories[REPOSITORY][0]
    assert record["revision"] == commit
    assert record["source"] == {"kind": "hub", "id": REPOSITORY, "asked": "main"}
    assert record["licence"] == "apache-2.0"
    weights = tmp_path / "model" / "weights"
    assert (weights / "model.safetensors").is_symlink()
    fetched = {path.rsplit("/", 1)[-1] for method, path in hub.requests if "/resolve/" in path}
    assert "model.safetensors" in fetched
    assert "onnx.bin" not in fetched
    loaded = load_model(tmp_path / "model" / "provenance.json", Precision(), Compute())
    assert loaded.provenance["revision"] == commit


def test_offline_mode_uses_the_cache_alone(hub, tmp_path, monkeypatch):
    first = prepare_in(tmp_path / "one")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.down = True
    hub.requests.clear()
    second = prepare_in(tmp_path / "two")
    assert second["revision"] == first["revision"]
    assert second["files"] == first["files"]
    assert not hub.requests
    assert "not in the hub cache" in failure(tmp_path / "three", hub="org/other")


def test_no_network(hub, tmp_path):
    hub.down = True
    assert "the hub cannot be reached" in failure(tmp_path / "model")


def test_a_revision_that_does_not_exist(hub, tmp_path):
    said = failure(tmp_path / "model", revision="v9")
    assert f"{REPOSITORY} has no revision 'v9'" in said


def test_a_model_that_does_not_exist(hub, tmp_path):
    assert "the hub has no model 'org/none'" in failure(tmp_path / "model", hub="org/none")


def test_a_gated_model_needs_a_token_from_the_environment(hub, tmp_path, monkeypatch, caplog):
    hub.gated.add(REPOSITORY)
    # A token that some login left on disk is not used.
    stored = tmp_path / "token"
    stored.write_text("hf_stored")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(stored))
    assert "is gated; accept its terms" in failure(tmp_path / "model")
    assert not hub.tokens
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with caplog.at_level("DEBUG"):
        prepare_in(tmp_path / "model")
    assert hub.tokens == {"Bearer hf_secret"}
    written = "".join(p.read_text() for p in (tmp_path / "model").glob("*.json"))
    assert "hf_secret" not in written + caplog.text


def test_pickled_weights_are_refused_before_anything_is_fetched(hub, tmp_path):
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    hub.add("org/pickled", folder)
    said = failure(tmp_path / "model", hub="org/pickled")
    assert "pickled weights only (pytorch_model.bin)" in said
    assert not any("/resolve/" in path for _, path in hub.requests)


def test_a_model_that_is_too_large_is_refused_before_its_weights_are_fetched(
    hub, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "machine_memory", lambda: 1000.0)
    said = failure(tmp_path / "model")
    assert "this machine has 0 GB" in said
    assert not any("safetensors" in path for _, path in hub.requests if "/resolve/" in path)


def test_a_disk_that_is_too_small(hub, tmp_path, monkeypatch):
    full = SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=10))
    monkeypatch.setattr(hub_module, "shutil", full)
    assert "GB free; set HF_HOME" in failure(tmp_path / "model")


@pytest.mark.parametrize("name", ["model.layers.1.self_attn.v_proj.weight", "lm_head.weight"])
def test_a_tensor_that_the_files_lack(hub, tmp_path, name):
    folder = save_tiny_model(tmp_path / "lacking")
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    hub.add("org/lacking", folder)
    assert name in failure(tmp_path / "model", hub="org/lacking")


def test_a_quantised_model_is_refused_before_its_weights_are_fetched(hub, tmp_path):
    folder = save_tiny_model(tmp_path / "quantised")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    hub.add("org/quantised", folder)
    assert "(quantization_config: awq, 4 bits)" in failure(tmp_path / "m", hub="org/quantised")
    assert not any("safetensors" in path for _, path in hub.requests if "/resolve/" in path)


def test_the_server_fails(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "answer", lambda request: hub.error(500, "Oops"))
    huggingface_hub.set_client_factory(hub.client)
    assert "status 500" in failure(tmp_path / "model")
