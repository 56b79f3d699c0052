"""Models from a local folder: what is linked, and one sentence for everything that is wrong."""

import json
import os
import shutil
from pathlib import Path

import pytest
from llm_anatomy.artefacts.files import sha256_file
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import ModelSource
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.source import memory
from llm_anatomy.model.source.folder import check_source
from llm_anatomy.model.source.prepare import prepare
from llm_anatomy.model.source.record import verified_record
from safetensors.torch import load_file, save_file

from tests.tiny import VOCAB, save_tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("original") / "tiny")


@pytest.fixture
def folder(original, tmp_path):
    """A user's model folder, to be spoilt."""
    return shutil.copytree(original, tmp_path / "mine")


def of(folder, **settings) -> ModelSource:
    return ModelSource(name="mine", path=str(folder), **settings)


def checked(source: ModelSource) -> str:
    """The sentence with which the parse-time check refuses a source."""
    with pytest.raises(UserError) as caught:
        check_source(source)
    assert "\n" not in str(caught.value)
    assert "'mine'" in str(caught.value)
    return str(caught.value)


def prepared(source: ModelSource, target, **precision) -> dict:
    prepare(source, (), target, Precision(**precision), Compute())
    return json.loads((target / "provenance.json").read_text())


def refused(source: ModelSource, target, **precision) -> str:
    with pytest.raises(UserError) as caught:
        prepared(source, target, **precision)
    assert not (target / "provenance.json").exists()
    assert not (target / "weights").exists()
    return str(caught.value)


@pytest.mark.parametrize("damage", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(folder, tmp_path, damage) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("layers.1.mlp.up_proj.weight"))
    weights[name][3, 2] = damage
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    message = refused(of(folder), tmp_path / "model")
    assert f"the tensor '{name}' of model.safetensors holds NaN or infinity" in message


@pytest.mark.parametrize("family", ["llama_tied", "gpt2", "gpt_neox"])
def test_a_folder_is_linked_described_and_loadable(tmp_path, family):
    folder = save_tiny_model(tmp_path / "mine", family)
    (folder / "README.md").write_text("---\nlicense: mit\n---\nA model.")
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    check_source(of(folder))
    record = prepared(of(folder), tmp_path / "model")
    weights = tmp_path / "model" / "weights"
    assert (weights / "model.safetensors").resolve() == folder / "model.safetensors"
    assert not (weights / "pytorch_model.bin").exists()
    assert record["files"] == {p.name: sha256_file(p) for p in sorted(weights.iterdir())}
    assert record["licence"] == "mit"
    assert record["source"] == {"kind": "path", "id": str(folder)}
    assert record["revision"].startswith("sha256:")
    loaded = load_model(tmp_path / "model" / "provenance.json", Precision(), Compute())
    architecture = json.loads((tmp_path / "model" / "architecture.json").read_text())
    assert architecture["n_layers"] == loaded.decoder.n_layers
    tensors = load_file(weights / "model.safetensors")
    up = architecture["layers"][0]["up"]
    stored = tensors[up["tensor"]].T if up["transposed"] else tensors[up["tensor"]]
    assert stored.equal(loaded.decoder.blocks[0].up.weight(stored.dtype))


def test_the_record_is_the_same_every_time(folder, tmp_path):
    assert prepared(of(folder), tmp_path / "a") == prepared(of(folder), tmp_path / "b")


def test_preparing_again_replaces_what_was_there(folder, tmp_path):
    prepared(of(folder), tmp_path / "model")
    (tmp_path / "model" / "weights" / "stale.json").write_text("{}")
    prepared(of(folder), tmp_path / "model")
    assert not (tmp_path / "model" / "weights" / "stale.json").exists()
    assert not list((tmp_path / "model").glob(".*partial"))


def test_no_folder(tmp_path):
    assert "there is no folder" in checked(of(tmp_path / "none"))


def test_no_config(folder):
    (folder / "config.json").unlink()
    assert "has no config.json" in checked(of(folder))
    (folder / "adapter_config.json").write_text("{}")
    assert "adapter without its base model" in checked(of(folder))


def test_a_config_that_is_no_json(folder):
    (folder / "config.json").write_text("{")
    assert "not readable JSON" in checked(of(folder))


def test_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    assert "has no tokenizer" in checked(of(folder))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickled_weights(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    assert f"pickled weights ({name})" in checked(of(folder))


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "holds no safetensors weights" in checked(of(folder))


def test_a_missing_shard(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "model-00001-of-00002.safetensors", {"format": "pt"})
    shards = dict.fromkeys(tensors, "model-00001-of-00002.safetensors")
    shards["lm_head.weight"] = "model-00002-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": shards})
    )
    said = checked(of(folder))
    assert "lacks 1 of 2 weight shards, first model-00002-of-00002.safetensors" in said


def test_two_models_in_one_folder(folder):
    tensors = load_file(folder / "model.safetensors")
    shard = "model-00001-of-00001.safetensors"
    save_file(tensors, folder / shard, {"format": "pt"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "holds model.safetensors and the shards of" in checked(of(folder))


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": {}}', '{"metadata": {}'])
def test_an_index_that_is_none(folder, index):
    (folder / "model.safetensors.index.json").write_text(index)
    assert "is not a readable index" in checked(of(folder))


def test_a_file_cut_short(folder):
    path = folder / "model.safetensors"
    os.truncate(path, path.stat().st_size - 100)
    assert "is cut short" in checked(of(folder))
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "not a readable safetensors file" in checked(of(folder))


def test_a_missing_tensor(folder, tmp_path):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert "layers.1.mlp.up_proj.weight" in refused(of(folder), tmp_path / "model")


def test_a_vocabulary_larger_than_the_head(folder, tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<new {i}>" for i in range(len(tokenizer), VOCAB + 1)])
    tokenizer.save_pretrained(folder)
    said = refused(of(folder), tmp_path / "model")
    assert f"knows the id {VOCAB}" in said
    assert f"{VOCAB} rows" in said


def test_a_model_of_70_billion_parameters(folder, tmp_path, monkeypatch):
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
    }
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(memory, "machine_memory", lambda: 64e9)
    said = refused(of(folder), tmp_path / "model")
    assert "70.6 billion parameters and needs 282 GB in float32, but this machine has 64 GB" in said
    assert "quantisation: 4bit (35 GB)" in said
    assert "bfloat16" not in said.split("64 GB;")[1]


def test_what_is_no_decoder(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "vit"}
    (folder / "config.json").write_text(json.dumps(config))
    assert "is no decoder that transformers can build" in refused(of(folder), tmp_path / "model")


def test_a_models_own_code_is_not_run(folder, tmp_path):
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert "set trust_remote_code: true" in refused(of(folder), tmp_path / "model")
    assert not marker.exists()


def test_a_project_that_holds_its_model_can_be_moved(tmp_path, monkeypatch):
    project = tmp_path / "project"
    save_tiny_model(project / "mine")
    monkeypatch.chdir(project)
    prepare(of("mine"), (), Path("results/models/mine"), Precision(), Compute())
    moved = shutil.move(project, tmp_path / "moved")
    verified_record(Path(moved) / "results/models/mine/provenance.json")
