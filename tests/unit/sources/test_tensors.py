"""Files that do not fit their architecture, tensor by tensor, and those that only look so."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import ModelSource
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.source.prepare import prepare
from llm_anatomy.neurons.weights import ModelWeights
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel

from tests.tiny import FAMILIES, PARTLY, save_tiny_model, tiny_model, tiny_tokenizer

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def original(family: str) -> Path:
        if family not in made:
            made[family] = save_tiny_model(tmp_path_factory.mktemp("originals") / family, family)
        return made[family]

    return original


@pytest.fixture
def spoilt(originals: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a family's folder with other tensors or another configuration."""

    def spoil(
        family: str = "llama", change: Callable[[Tensors], None] | None = None, **config: Any
    ) -> Path:
        folder = shutil.copytree(originals(family), tmp_path / "mine")
        if change is not None:
            tensors = load_file(folder / "model.safetensors")
            change(tensors)
            save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        stated = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(stated | config))
        return folder

    return spoil


def prepared(folder: Path) -> Path:
    target = folder.parent / "model"
    prepare(ModelSource(name="mine", path=str(folder)), (), target, Precision(), Compute())
    return target / "provenance.json"


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        prepared(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("the model 'mine': ")
    return message


def without(pattern: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        gone = [name for name in tensors if re.search(pattern, name)]
        assert gone
        for name in gone:
            del tensors[name]

    return change


@pytest.mark.parametrize(
    ("family", "pattern"),
    [
        ("llama", r"layers\.1\.self_attn\.q_proj"),
        ("llama", r"layers\.2\.self_attn\.o_proj"),
        ("llama", r"layers\.0\.post_attention_layernorm"),
        ("llama", r"embed_tokens"),
        ("llama", r"model\.norm"),
        ("qwen2", r"layers\.0\.self_attn\.k_proj\.bias"),
        ("qwen3", r"layers\.1\.self_attn\.k_norm"),
        ("gpt2", r"h\.1\.attn\.c_attn\.weight"),
        ("gpt2", r"wpe"),
        ("gpt_neox", r"layers\.0\.attention\.dense\.bias"),
        ("mixtral", r"layers\.1\.block_sparse_moe\.gate"),
        ("mixtral", r"layers\.2\.block_sparse_moe\.experts\.\d\.w2"),
        ("llama_tied", r"embed_tokens"),
    ],
)
def test_a_missing_tensor_is_named(spoilt: Callable[..., Path], family: str, pattern: str) -> None:
    said = refused(spoilt(family, without(pattern)))
    assert "in none of its files" in said or "no LM head" in said
    assert "random numbers" in said


def test_a_missing_head_has_its_own_remedy(spoilt: Callable[..., Path]) -> None:
    said = refused(spoilt("llama", without("lm_head")))
    assert "no LM head ('lm_head.weight')" in said
    assert "tie_word_embeddings" in said


def add(name: str, *shape: int) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: torch.randn(shape)})


@pytest.mark.parametrize(
    ("family", "name", "shape"),
    [
        ("llama", "model.layers.0.self_attn.q_proj.bias", (32,)),
        ("llama", "model.layers.0.self_attn.bias", (32,)),
        ("llama", "model.layers.1.mlp.up_proj.rotation", (1,)),
        ("llama", "model.layers.1.mlp.up_proj.lora_A.weight", (4, 32)),
        ("llama", "lm_head.bias", (320,)),
        ("llama", "v_head.summary.weight", (1, 32)),
        ("gpt2", "transformer.h.0.mlp.c_gate.weight", (32, 48)),
        ("gpt_neox", "gpt_neox.layers.0.attention.query_key_value.scale", (1,)),
    ],
)
def test_a_tensor_without_a_place_is_named(
    spoilt: Callable[..., Path], family: str, name: str, shape: tuple[int, ...]
) -> None:
    said = refused(spoilt(family, add(name, *shape)))
    assert f"1 tensors that config.json has no place for, first '{name}'" in said


@pytest.mark.parametrize(
    ("family", "config", "expected"),
    [
        ("llama", {"num_hidden_layers": 2}, "no place for, first 'model.layers.2"),
        ("llama", {"num_hidden_layers": 4}, "none of its files, first 'model.layers.3"),
        ("llama", {"hidden_size": 64, "head_dim": 8}, "but config.json asks for"),
        (
            "llama",
            {"intermediate_size": 40},
            "in its files, but config.json asks for (32, 40)",
        ),
        ("llama", {"num_key_value_heads": 4}, "but config.json asks for (32, 32)"),
        ("llama", {"num_attention_heads": 8, "head_dim": None}, "but config.json asks for"),
        ("llama", {"vocab_size": 319}, "(320, 32) in its files, but config.json asks for (319"),
        ("llama", {"attention_bias": True}, "12 of its tensors are in none of its files"),
        ("llama", {"num_attention_heads": 0, "head_dim": None}, "no decoder that transformers can"),
        ("llama", {"hidden_size": -32}, "no decoder that transformers can build"),
        ("llama", {"hidden_size": "wide"}, "no decoder that transformers can build"),
        ("llama", {"hidden_act": "none"}, "no decoder that transformers can build"),
        ("gpt2", {"n_positions": 64}, "(128, 32) in its files, but config.json asks for (64"),
        ("gpt2", {"n_layer": 2, "num_hidden_layers": 2}, "no place for, first 'transformer.h.2"),
        ("mixtral", {"num_local_experts": 3}, "but config.json asks for"),
        ("gemma2", {"model_type": "gemma"}, "no place for"),
    ],
)
def test_sizes_that_do_not_fit_are_one_sentence(
    spoilt: Callable[..., Path], family: str, config: dict[str, Any], expected: str
) -> None:
    folder = spoilt(family, **config)
    with pytest.raises(UserError) as caught:
        prepared(folder)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_integers_are_refused(spoilt: Callable[..., Path]) -> None:
    name = "model.layers.0.mlp.up_proj.weight"

    def change(tensors: Tensors) -> None:
        tensors[name] = (tensors[name] * 100).to(torch.int8)

    assert f"hold '{name}' as I8, a type of quantised weights" in refused(spoilt("llama", change))


def test_tied_weights_that_differ_are_refused(spoilt: Callable[..., Path]) -> None:
    said = refused(spoilt("llama", tie_word_embeddings=True))
    assert "'lm_head.weight' and 'model.embed_tokens.weight' are the same weights" in said
    assert "tie_word_embeddings to false" in said


def loads(folder: Path) -> None:
    """The folder is prepared; the model and the neuron map read the same weights from it."""
    provenance = prepared(folder)
    decoder = load_model(provenance, Precision(), Compute()).decoder
    weights = ModelWeights(provenance.parent)
    tokens = decoder.vocab_size
    assert torch.equal(weights.head, decoder.head.weight()[:tokens])
    for block in decoder.blocks:
        assert torch.equal(weights.vectors(block.index, "up"), block.up.weight())
        assert torch.equal(weights.vectors(block.index, "down"), block.down.weight().T)


def twice(tensors: Tensors) -> None:
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()


def only_as_head(tensors: Tensors) -> None:
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")


@pytest.mark.parametrize("change", [twice, only_as_head])
def test_tied_weights_are_stored_once_or_twice(spoilt: Callable[..., Path], change: Any) -> None:
    loads(spoilt("llama_tied", change))


@pytest.mark.parametrize(
    ("family", "buffers"),
    [
        ("llama", {"model.layers.0.self_attn.rotary_emb.inv_freq": (4,)}),
        ("gpt2", {"transformer.h.0.attn.bias": (1, 1, 128, 128)}),
        ("gpt2", {"transformer.h.1.attn.masked_bias": ()}),
        (
            "gpt_neox",
            {
                "gpt_neox.layers.0.attention.bias": (1, 1, 128, 128),
                "gpt_neox.layers.0.attention.masked_bias": (),
                "gpt_neox.layers.0.attention.rotary_emb.inv_freq": (4,),
            },
        ),
        ("phi3", {"model.layers.0.self_attn.rotary_emb.inv_freq": (4,)}),
        (
            "gpt_neo",
            {
                "transformer.h.1.attn.attention.bias": (1, 1, 128, 128),
                "transformer.h.1.attn.attention.masked_bias": (),
            },
        ),
        (
            "gptj",
            {
                "transformer.h.0.attn.bias": (1, 1, 128, 128),
                "transformer.h.0.attn.masked_bias": (),
            },
        ),
        ("codegen", {"transformer.h.0.attn.causal_mask": (1, 1, 128, 128)}),
    ],
)
def test_buffers_of_older_versions_are_no_weights(
    spoilt: Callable[..., Path], family: str, buffers: dict[str, tuple[int, ...]]
) -> None:
    def change(tensors: Tensors) -> None:
        tensors.update({name: torch.ones(shape) for name, shape in buffers.items()})
        masks = [name for name in buffers if name.endswith(".bias")]
        tensors.update({name: tensors[name].bool() for name in masks})

    loads(spoilt(family, change))


@pytest.mark.parametrize("family", sorted(FAMILIES | PARTLY))
def test_what_a_family_saves_fits_it(family: str, tmp_path: Path) -> None:
    provenance = prepared(save_tiny_model(tmp_path / "mine", family))
    decoder = load_model(provenance, Precision(), Compute()).decoder
    weights = ModelWeights(provenance.parent)
    if any(block.mlp is None for block in decoder.blocks):
        with pytest.raises(UserError, match="is a mixture of experts, whose neurons"):
            weights.has("up")
        return
    for block in decoder.blocks:
        assert block.mlp is not None
        assert torch.equal(weights.vectors(block.index, "up"), block.mlp.up.weight())


@pytest.mark.parametrize("family", ["gpt2", "llama_tied", "gemma2", "opt"])
def test_a_base_models_names_are_known(family: str, tmp_path: Path) -> None:
    """GPT-2's own files have no 'transformer.', because the model was saved without its head."""
    folder = save_tiny_model(tmp_path / "mine", family)
    config = (folder / "config.json").read_text()
    tiny_model(family).base_model.save_pretrained(folder)
    (folder / "config.json").write_text(config)
    names = load_file(folder / "model.safetensors")
    assert not any(name.startswith(("transformer.", "model.")) for name in names)
    loads(folder)


def test_the_old_name_of_a_head_is_known(spoilt: Callable[..., Path]) -> None:
    def change(tensors: Tensors) -> None:
        head = next(name for name in tensors if name in {"embed_out.weight", "lm_head.weight"})
        tensors["embed_out.weight"] = tensors.pop(head)

    loads(spoilt("gpt_neox", change))


def shards(folder: Path, parts: dict[str, list[str]], claimed: dict[str, str]) -> None:
    """Split a folder's weights; `claimed` is the index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for file, names in parts.items():
        save_file({name: tensors[name] for name in names}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": claimed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def test_shards_that_fit_their_index_load(spoilt: Callable[..., Path]) -> None:
    folder = spoilt()
    names = sorted(load_file(folder / "model.safetensors"))
    parts = {FIRST: names[:9], SECOND: names[9:]}
    shards(folder, parts, {name: file for file, part in parts.items() for name in part})
    loads(folder)


@pytest.mark.parametrize("fault", ["twice", "moved", "left out", "not named"])
def test_shards_that_do_not_fit_their_index_are_refused(
    spoilt: Callable[..., Path], fault: str
) -> None:
    folder = spoilt()
    names = sorted(load_file(folder / "model.safetensors"))
    parts = {FIRST: names[:9], SECOND: names[9:]}
    claimed = {name: file for file, part in parts.items() for name in part}
    if fault == "twice":
        parts[SECOND] = names[8:]
    elif fault == "moved":
        claimed[names[0]] = SECOND
    elif fault == "left out":
        parts[FIRST] = names[1:9]
    else:
        del claimed[names[0]]
    shards(folder, parts, claimed)
    with pytest.raises(UserError) as caught:
        prepared(folder)
    assert ("both hold the tensor" if fault == "twice" else names[0]) in str(caught.value)


def test_a_model_without_its_head_class_is_refused(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "mine", "llama")
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    assert "hold no LM head" in refused(folder)
