"""LoRA adapters merged at preparation, against W + s B A written out, and those refused by name."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import ModelSource
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.source.folder import check_source, source_files
from llm_anatomy.model.source.prepare import prepare
from llm_anatomy.neurons.compare import weight_cosines
from llm_anatomy.neurons.weights import ModelWeights
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.tiny import save_tiny_model, tiny_model
from tests.unit.sources.fake_hub import FakeHub
from tests.unit.sources.test_hub import hub as hub

RANK, ALPHA = 3, 7.0
PLAIN: dict[str, Any] = {
    "peft_type": "LORA",
    "r": RANK,
    "lora_alpha": ALPHA,
    "base_model_name_or_path": "org/base",
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "lora_dropout": 0.1,
    "target_modules": ["q_proj", "up_proj"],
    "task_type": "CAUSAL_LM",
    "use_dora": False,
    "use_rslora": False,
}


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def adapter(
    folder: Path, updates: dict[str, tuple[int, int]], rank: int = RANK, **config: Any
) -> Path:
    """An adapter as PEFT saves it: `updates` names modules and their (out, in) features."""
    folder.mkdir(parents=True)
    tensors = {}
    for module, (out, into) in updates.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = random(rank, into)
        tensors[f"base_model.model.{module}.lora_B.weight"] = random(out, rank)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(PLAIN | config))
    return folder


def add(folder: Path, tensors: dict[str, Tensor]) -> None:
    file = folder / "adapter_model.safetensors"
    save_file(load_file(file) | tensors, file, {"format": "pt"})


def source(base: Path, own: Path) -> ModelSource:
    return ModelSource(name="adapted", path=str(base), adapter=str(own))


def prepared(base: Path, own: Path | None, target: Path) -> Path:
    entry = ModelSource(name="plain", path=str(base)) if own is None else source(base, own)
    prepare(entry, (), target, Precision(), Compute())
    return target / "provenance.json"


def refused(base: Path, own: Path, target: Path) -> str:
    with pytest.raises(UserError) as caught:
        prepared(base, own, target)
    assert "\n" not in str(caught.value)
    assert not (target / "provenance.json").exists()
    return str(caught.value)


# Of each family one module per way of storing it, with its (out, in) features.
UPDATES = {
    "llama": {"model.layers.1.self_attn.q_proj": (32, 32), "model.layers.2.mlp.up_proj": (48, 32)},
    "llama_tied": {"model.layers.0.mlp.down_proj": (32, 48)},
    "gpt2": {"transformer.h.1.attn.c_attn": (96, 32), "transformer.h.0.mlp.c_proj": (32, 48)},
    "phi3": {"model.layers.1.mlp.gate_up_proj": (96, 32)},
    "gpt_neox": {"gpt_neox.layers.2.attention.query_key_value": (96, 32)},
}


@pytest.mark.parametrize("family", sorted(UPDATES))
@pytest.mark.parametrize("stabilised", [False, True])
def test_merged_weights_are_the_formula(family: str, stabilised: bool, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", family)
    before = (base / "model.safetensors").read_bytes()
    own = adapter(tmp_path / "adapter", UPDATES[family], use_rslora=stabilised)
    loaded = load_model(prepared(base, own, tmp_path / "m"), Precision(), Compute())
    scale = ALPHA / (math.sqrt(RANK) if stabilised else RANK)
    expected = tiny_model(family)
    with torch.no_grad():
        for module, (out, into) in UPDATES[family].items():
            update = scale * random(out, RANK) @ random(RANK, into)
            weight = expected.get_submodule(module).weight
            weight += update.T if family == "gpt2" else update
    found = dict(loaded.decoder.model.named_parameters())
    for name, parameter in expected.named_parameters():
        changed = name.removesuffix(".weight") in UPDATES[family]
        atol = 1e-5 if changed else 0.0
        torch.testing.assert_close(found[name], parameter, rtol=0, atol=atol)
    assert (base / "model.safetensors").read_bytes() == before


def test_a_module_may_have_its_own_rank_and_alpha(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    name = "model.layers.1.mlp.up_proj"
    config = {"rank_pattern": {"up_proj": 2}, "alpha_pattern": {r"layers\.1\.mlp\.up_proj": 5.0}}
    own = adapter(tmp_path / "adapter", {name: (48, 32)}, rank=2, **config)
    weights = ModelWeights(prepared(base, own, tmp_path / "m").parent)
    expected = tiny_model("llama").get_submodule(name).weight + 2.5 * random(48, 2) @ random(2, 32)
    torch.testing.assert_close(weights.vectors(1, "up"), expected, rtol=0, atol=1e-5)


def test_half_precision_weights_are_merged_without_rounding(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", dtype=torch.bfloat16)
    own = adapter(tmp_path / "adapter", {"model.layers.1.mlp.up_proj": (48, 32)}, lora_alpha=1e-3)
    weights = ModelWeights(prepared(base, own, tmp_path / "m").parent)
    stored = tiny_model("llama", dtype=torch.bfloat16).model.layers[1].mlp.up_proj.weight.float()
    update = 1e-3 / RANK * random(48, RANK) @ random(RANK, 32)
    found = weights.vectors(1, "up") - stored
    torch.testing.assert_close(found, update, rtol=0, atol=1e-6)
    assert float(update.abs().max()) > 1e-4


def test_whole_modules_and_biases_take_the_place_of_the_base(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "qwen2")
    own = adapter(tmp_path / "adapter", {"model.layers.0.mlp.up_proj": (48, 32)})
    whole = {
        "lm_head.weight": random(320, 32),
        "model.layers.1.self_attn.q_proj.bias": random(32),
        # As PEFT names the bias of a layer that it also updates.
        "model.layers.1.self_attn.k_proj.base_layer.bias": random(16),
    }
    add(own, {f"base_model.model.{name}": tensor for name, tensor in whole.items()})
    decoder = load_model(prepared(base, own, tmp_path / "m"), Precision(), Compute()).decoder
    assert torch.equal(decoder.head.weight(), whole["lm_head.weight"])
    assert torch.equal(decoder.blocks[1].q.bias(), whole["model.layers.1.self_attn.q_proj.bias"])
    assert torch.equal(decoder.blocks[1].k.bias(), random(16))
    add(own, {"base_model.model.model.layers.0.mlp.up_proj.weight": random(48, 32)})
    assert "whole and as an update" in refused(base, own, tmp_path / "n")


def test_shards_are_rewritten_where_they_change(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    tiny_model("llama").save_pretrained(base, max_shard_size="40KB")
    (base / "model.safetensors").unlink()
    own = adapter(tmp_path / "adapter", {"model.layers.1.mlp.up_proj": (48, 32)})
    provenance = prepared(base, own, tmp_path / "m")
    files = sorted((tmp_path / "m" / "weights").glob("*.safetensors"))
    assert len(files) > 2
    assert sum(not file.is_symlink() for file in files) == 1
    load_model(provenance, Precision(), Compute())


def test_an_adapted_model_is_recorded_and_compared_with_its_base(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    own = adapter(tmp_path / "adapter", {"model.layers.1.mlp.up_proj": (48, 32)})
    plain, adapted = prepared(base, None, tmp_path / "a"), prepared(base, own, tmp_path / "b")
    again = prepared(base, own, tmp_path / "c")
    records = [json.loads(file.read_text()) for file in (plain, adapted, again)]
    assert records[1] == records[2]
    assert "adapter" not in records[0]
    said = records[1]["adapter"]
    assert (said["kind"], said["id"], said["made_for"]) == ("path", str(own), "org/base")
    assert said["tensors"] == 1
    assert records[1]["revision"].endswith(f"+adapter:{said['sha256'][:16]}")
    assert records[0]["weights_sha256"] != records[1]["weights_sha256"]
    a, b = ModelWeights(tmp_path / "a"), ModelWeights(tmp_path / "b")
    for layer in range(3):
        cosines = weight_cosines(a.vectors(layer, "up"), b.vectors(layer, "up"))
        assert bool((cosines < 0.999).any()) == (layer == 1)
    assert set(source_files(source(base, own))) >= {
        str(own / "adapter_config.json"),
        str(own / "adapter_model.safetensors"),
    }


def test_an_adapter_of_the_model_without_its_head(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "gpt2")
    own = adapter(tmp_path / "adapter", {"h.1.mlp.c_proj": (32, 48)})
    weights = ModelWeights(prepared(base, own, tmp_path / "m").parent)
    before = tiny_model("gpt2").transformer.h[1].mlp.c_proj.weight
    update = ALPHA / RANK * random(32, RANK) @ random(RANK, 48)
    torch.testing.assert_close(weights.vectors(1, "down"), before + update.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"peft_type": "IA3"}, "of the kind IA3"),
        ({"peft_type": "PROMPT_TUNING"}, "of the kind PROMPT_TUNING"),
        ({"use_dora": True}, "is a DoRA adapter"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights 'pissa_niter_16'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights 'olora'"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights 'loftq'"),
        ({"lora_bias": True}, "the option lora_bias"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "the option layer_replication"),
        ({"trainable_token_indices": [1]}, "the option trainable_token_indices"),
        ({"target_parameters": ["mlp.experts.down_proj"]}, "the option target_parameters"),
        ({"a_new_option": 3}, "the option a_new_option"),
        ({"r": None}, "lacks a rank"),
        ({"r": 0}, "rank below 1"),
        ({"rank_pattern": {"up_proj": 4}}, "has rank 3 for 'model.layers.1.mlp.up_proj' but"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_name(
    config: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    base = save_tiny_model(tmp_path / "base")
    own = adapter(tmp_path / "adapter", {"model.layers.1.mlp.up_proj": (48, 32)}, **config)
    assert expected in refused(base, own, tmp_path / "m")
    if "rank_pattern" not in config:
        with pytest.raises(UserError, match="'adapted': the adapter"):
            check_source(source(base, own))


@pytest.mark.parametrize(
    ("updates", "tensors", "expected"),
    [
        ({"model.layers.9.mlp.up_proj": (48, 32)}, {}, "which the model does not have"),
        ({"model.layers.1.mlp.up_proj": (64, 32)}, {}, "but the model's is (48, 32)"),
        ({}, {"model.layers.1.mlp.up_proj.lora_A.weight": (3, 32)}, "lacks one of lora_A"),
        ({}, {"model.embed_tokens.lora_embedding_A": (3, 320)}, "no update of a linear map"),
        ({}, {"model.layers.1.mlp.up_proj.lora_magnitude_vector": (48,)}, "no update of a linear"),
        ({}, {"model.layers.1.mlp.up_proj.lora_B.bias": (48,)}, "no update of a linear map"),
        ({}, {"score.weight": (2, 32)}, "which the model does not have"),
        ({}, {"model.embed_tokens.weight": (322, 32)}, "but the model's is (320, 32)"),
        ({}, {}, "holds no update"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    updates: dict[str, tuple[int, int]],
    tensors: dict[str, tuple[int, ...]],
    expected: str,
    tmp_path: Path,
) -> None:
    base = save_tiny_model(tmp_path / "base")
    good = {"model.layers.0.mlp.up_proj": (48, 32)} if tensors else {}
    own = adapter(tmp_path / "adapter", updates or good)
    add(own, {f"base_model.model.{name}": random(*shape) for name, shape in tensors.items()})
    assert expected in refused(base, own, tmp_path / "m")


def test_the_head_of_a_tied_model_is_not_changed_with_its_embedding(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "llama_tied")
    own = adapter(tmp_path / "adapter", {"lm_head": (320, 32)})
    said = refused(base, own, tmp_path / "m")
    assert "the same weight as 'model.embed_tokens.weight'" in said


def test_mixtures_are_refused(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", "mixtral")
    own = adapter(tmp_path / "adapter", {"model.layers.1.self_attn.q_proj": (32, 32)})
    assert "layer 0 is a mixture of experts" in refused(base, own, tmp_path / "m")


def test_an_adapter_folder_that_is_none(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    own = adapter(tmp_path / "adapter", {"model.layers.1.mlp.up_proj": (48, 32)})

    def said(where: Path) -> str:
        with pytest.raises(UserError) as caught:
            check_source(source(base, where))
        return str(caught.value)

    assert "there is no folder" in said(tmp_path / "none")
    assert "has no adapter_config.json" in said(base)
    whole = (own / "adapter_model.safetensors").read_bytes()
    (own / "adapter_model.safetensors").write_bytes(whole[:-9])
    assert "is cut short" in said(own)
    (own / "adapter_model.safetensors").rename(own / "adapter_model.bin")
    assert "has no adapter_model.safetensors" in said(own)


def test_a_model_with_an_adapter_in_its_own_folder_is_refused(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    (base / "adapter_config.json").write_text(json.dumps(PLAIN))
    with pytest.raises(UserError, match="holds a model and an adapter"):
        check_source(ModelSource(name="mine", path=str(base)))


def test_a_revision_is_for_hub_ids_alone() -> None:
    with pytest.raises(ValidationError, match="'adapter_revision', which belongs to"):
        ModelSource(name="a", path="x", adapter="/tmp/a/b", adapter_revision="main")
    with pytest.raises(ValidationError, match="'adapter_revision', which belongs to"):
        ModelSource(name="a", path="x", adapter_revision="main")


def test_base_and_adapter_from_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    own = adapter(tmp_path / "adapter", {"model.layers.1.mlp.up_proj": (48, 32)})
    commit = hub.add("org/lora", own, **{"optimizer.safetensors": b"x"})
    entry = ModelSource(
        name="m", hub="org/tiny", revision="main", adapter="org/lora", adapter_revision="main"
    )
    prepare(entry, (), tmp_path / "m", Precision(), Compute())
    record = json.loads((tmp_path / "m" / "provenance.json").read_text())
    said = record["adapter"]
    assert (said["kind"], said["id"], said["revision"]) == ("hub", "org/lora", commit)
    assert record["revision"].startswith(record["revision"].split("+")[0])
    assert not any("optimizer" in path for _, path in hub.requests if "/resolve/" in path)
    weights = ModelWeights(tmp_path / "m")
    expected = tiny_model("llama").model.layers[1].mlp.up_proj.weight
    expected = expected + ALPHA / RANK * random(48, RANK) @ random(RANK, 32)
    torch.testing.assert_close(weights.vectors(1, "up"), expected, rtol=0, atol=1e-5)
