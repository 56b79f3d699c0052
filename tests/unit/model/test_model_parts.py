"""Hooks, norms, batches, checkpoints and loading."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.norm import read_norm
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run import loading
from llm_anatomy.model.run.batching import encode, equal_length_batches, token_budget_batches
from llm_anatomy.model.run.devices import choose_device
from llm_anatomy.model.run.hooks import hooked
from llm_anatomy.model.run.loading import load_model, sha256_file
from llm_anatomy.model.source.checkpoint import architecture_json
from llm_anatomy.model.source.record import write_record
from llm_anatomy.model.source.shards import tensor_files
from safetensors import safe_open
from torch import nn

from tests.tiny import FAMILIES, save_tiny_model, tiny_model, tiny_tokenizer


def prepared(folder, family="llama"):
    """A model folder as `prepare_model` leaves it."""
    weights = save_tiny_model(folder / "weights", family)
    files = {p.name: sha256_file(p) for p in sorted(weights.iterdir())}
    record = {
        "model": "tiny", "revision": None, "files": files,
        "weights_sha256": files["model.safetensors"],
    }  # fmt: skip
    write_record(folder, record, {})
    return folder / "provenance.json"


def test_hooks_are_removed_when_the_forward_pass_fails():
    module = nn.Linear(2, 2)

    def fail(module, args, output):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), hooked(forward={module: fail}):
        module(torch.ones(1, 2))
    assert not module._forward_hooks


def test_a_layer_that_is_no_norm_is_named():
    with pytest.raises(ValueError, match=r"'ln' .* neither an RMSNorm nor a LayerNorm"):
        read_norm("ln", nn.Sequential(nn.Linear(8, 8), nn.ReLU()), 8)


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30), budget=st.integers(1, 120))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget):
    ids = [[row + 1] * length for row, length in enumerate(lengths)]
    seen = []
    for batch in token_budget_batches(ids, budget):
        assert batch.input_ids.numel() <= max(budget, batch.input_ids.shape[1])
        for index, row in enumerate(batch.rows):
            kept = batch.input_ids[index][batch.mask[index]].tolist()
            assert kept == ids[row]
            assert batch.last[index] == len(ids[row]) - 1
        seen += batch.rows
    assert sorted(seen) == list(range(len(ids)))


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40), budget=st.integers(1, 40))
def test_equal_length_batches_hold_every_row_once_without_padding(lengths, budget):
    ids = [[row + 1] * length for row, length in enumerate(lengths)]
    seen = []
    for batch in equal_length_batches(ids, budget):
        assert batch.input_ids.tolist() == [ids[row] for row in batch.rows]
        assert batch.input_ids.numel() <= max(budget, batch.input_ids.shape[1])
        seen += batch.rows
    assert sorted(seen) == list(range(len(ids)))


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bloom", "gemma3", "mistral"])
def test_right_padding_leaves_real_tokens_states_untouched(family):
    decoder = resolve(tiny_model(family))
    ids = [[5, 9, 2], [7] * 11, [4]]
    (batch,) = token_budget_batches(ids, 1000)
    padded = decoder.body(input_ids=batch.input_ids, use_cache=False).last_hidden_state
    for index, row in enumerate(batch.rows):
        single = decoder.body(input_ids=torch.tensor([ids[row]]), use_cache=False)
        real = padded[index, : len(ids[row])]
        torch.testing.assert_close(real, single.last_hidden_state[0], rtol=1e-4, atol=1e-5)


def test_encoding_reports_which_texts_lost_their_end():
    encoded = encode(tiny_tokenizer(), ["short", "a much longer text"], max_length=6)
    assert [len(row) for row in encoded.ids] == [5, 6]
    assert encoded.truncated == [False, True]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_stored_tensors_equal_the_models_projections(family, tmp_path):
    weights = save_tiny_model(tmp_path / family, family)
    decoder = resolve(tiny_model(family))
    layout = architecture_json(decoder, weights)
    files = tensor_files(weights)

    def stored(entry):
        with safe_open(weights / files[entry["tensor"]], framework="pt") as file:
            tensor = file.get_tensor(entry["tensor"])
        tensor = tensor.T if entry["transposed"] else tensor
        return tensor if entry["rows"] is None else tensor[slice(*entry["rows"])]

    torch.testing.assert_close(stored(layout["head"]), decoder.head.weight(), rtol=0, atol=0)
    for entry, block in zip(layout["layers"], decoder.blocks, strict=True):
        for role in ("gate", "up", "down"):
            projection = getattr(block, role)
            assert (entry[role] is None) == (projection is None)
            if projection is not None:
                torch.testing.assert_close(stored(entry[role]), projection.weight(), rtol=0, atol=0)


def test_a_missing_shard_is_named(tmp_path):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="lacks the shard model-00001-of-00002"):
        tensor_files(tmp_path)


def test_loading_verifies_bytes_and_names_the_remedy(tmp_path):
    path = prepared(tmp_path)
    loaded = load_model(path, Precision(), Compute(threads=1))
    assert loaded.provenance["dtype"] == "float32"
    file = tmp_path / "weights" / "model.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    file.write_bytes(damaged)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged .*forcerun prepare_model"):
        load_model(path, Precision(), Compute(threads=1))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_models_pass_their_proof(tmp_path, dtype):
    loaded = load_model(prepared(tmp_path), Precision(dtype=dtype), Compute(threads=1))
    assert loaded.decoder.dtype == getattr(torch, dtype)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_a_card_is_one_sentence():
    with pytest.raises(UserError, match="sees no CUDA card"):
        choose_device(Compute(device="cuda"))


def test_a_model_that_goes_straight_to_its_device_is_the_same_model(tmp_path, monkeypatch):
    """What is done for a card, done on a processor under another name."""
    path = prepared(tmp_path)
    plain = load_model(path, Precision(), Compute(threads=1))
    monkeypatch.setattr(loading, "choose_device", lambda compute: "cpu:0")
    monkeypatch.setattr(loading, "batch_budget", lambda compute, device, token_bytes: 77)
    moved = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda *args, **kwargs: moved.append(args))
    direct = load_model(path, Precision(), Compute(device="cuda", threads=1))
    assert not moved
    assert direct.batch_tokens == 77
    assert direct.decoder.device == torch.device("cpu")
    assert not any(parameter.requires_grad for parameter in direct.decoder.model.parameters())
    ids = torch.tensor([[5, 9, 20, 31, 7]])
    with torch.no_grad():
        assert torch.equal(
            direct.decoder.model(input_ids=ids).logits, plain.decoder.model(input_ids=ids).logits
        )
