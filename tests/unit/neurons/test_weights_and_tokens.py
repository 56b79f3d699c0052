"""Weights read without a model, for every way in which families store them; words as tokens."""

import json
from pathlib import Path

import pytest
import torch
from llm_anatomy.config.neurons import Concept
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.concepts import concept_tokens
from llm_anatomy.neurons.weights import ModelWeights, normalise_head, normalise_vectors
from safetensors.torch import load_file, save_file

from tests.tiny import tiny_model
from tests.unit.neurons.conftest import TOKENS, prepare


@pytest.mark.parametrize("family", ["llama", "llama_tied", "gpt2", "phi3", "gemma2", "opt"])
def test_stored_vectors_are_the_models_own(family: str, tmp_path: Path) -> None:
    weights = ModelWeights(prepare(tmp_path / family, family).parent)
    decoder = resolve(tiny_model(family))
    torch.testing.assert_close(weights.head, decoder.head.weight()[:TOKENS])
    for block in decoder.blocks:
        torch.testing.assert_close(weights.vectors(block.index, "up"), block.up.weight())
        torch.testing.assert_close(weights.vectors(block.index, "down"), block.down.weight().T)
        assert weights.has("gate") == (block.gate is not None)
        if block.gate is not None:
            torch.testing.assert_close(weights.vectors(block.index, "gate"), block.gate.weight())
    assert weights.architecture["head"]["tied"] == (
        family in {"llama_tied", "gpt2", "gemma2", "opt"}
    )


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_normalisations_are_the_models_own_norms(family: str, tmp_path: Path) -> None:
    weights = ModelWeights(prepare(tmp_path / family, family).parent)
    decoder = resolve(tiny_model(family))
    vectors = weights.vectors(1, "up")
    final, before = decoder.final_norm, decoder.blocks[1].mlp_norm
    assert before is not None
    expected = {
        "raw": vectors,
        "final_gain": vectors * final.gain,
        "rms": final.frozen(vectors, vectors),
        "input_gain": vectors * before.gain,
        "cosine": vectors / vectors.norm(dim=1, keepdim=True),
    }
    for mode, wanted in expected.items():
        found = normalise_vectors(vectors, weights, 1, "up", mode)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        normalise_vectors(vectors, weights, 1, "down", "input_gain"), vectors
    )
    torch.testing.assert_close(
        normalise_head(weights.head, "cosine").norm(dim=1), torch.ones(TOKENS)
    )


@pytest.mark.parametrize("beside", ["weight_scale_inv", "weight_scale", "lora_A.weight", "g_idx"])
def test_what_lies_beside_a_weight_is_not_ignored(beside: str, tmp_path: Path) -> None:
    folder = prepare(tmp_path / "tiny").parent
    file = folder / "weights" / "model.safetensors"
    name = f"model.layers.1.mlp.up_proj.{beside}"
    save_file(load_file(file) | {name: torch.ones(1)}, file, {"format": "pt"})
    weights = ModelWeights(folder)
    assert weights.vectors(0, "up").shape == (48, 32)
    with pytest.raises(UserError, match=f"'{name}' lies beside the tensor"):
        weights.vectors(1, "up")


def test_a_head_of_another_width_and_a_missing_shard_are_named(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "tiny").parent
    description = json.loads((folder / "architecture.json").read_text())
    (folder / "architecture.json").write_text(json.dumps(description | {"d_model": 31}))
    with pytest.raises(UserError, match=r"lm_head\.weight.*\(320, 32\).*width 31"):
        _ = ModelWeights(folder).head
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "weights" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"lacks the shard model-00002-of-00002"):
        ModelWeights(folder)


def test_spellings_are_merged_and_texts_keep_their_space(tiny: Path) -> None:
    vocabulary = Vocabulary(tiny.parent / "weights")
    the = concept_tokens(vocabulary, Concept(name="the", words=["the", "THE "]))
    assert [vocabulary.text(token) for token in the] == [" the", "The"]
    assert vocabulary.text(10**6) is None
    assert all(vocabulary.text(token)[0] == " " for token in vocabulary.word_tokens())


def test_a_model_of_experts_is_refused(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "tiny").parent
    description = json.loads((folder / "architecture.json").read_text())
    description["layers"][1] |= {"up": None, "refusal": "layer 1 is a mixture of experts"}
    (folder / "architecture.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="layer 1 is a mixture of experts"):
        ModelWeights(folder).has("up")
