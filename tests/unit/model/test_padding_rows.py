"""Rows of the head behind the last token never win a place, and no sum counts them."""

import json
from pathlib import Path

import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import ModelSource
from llm_anatomy.config.neurons import VocabularyMap
from llm_anatomy.model.run.generation import most_likely
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.model.source.prepare import prepare
from llm_anatomy.neurons.mapping import map_neurons
from llm_anatomy.neurons.weights import ModelWeights
from safetensors.torch import load_file, save_file

from tests.tiny import VOCAB, save_tiny_model, tiny_tokenizer

TOKENS = max(tiny_tokenizer().get_vocab().values()) + 1


@pytest.fixture(scope="module", params=["llama", "llama_tied", "phi", "gemma2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared model whose padding rows are the largest of its head."""
    assert TOKENS < VOCAB
    folder = tmp_path_factory.mktemp("padded")
    save_tiny_model(folder / "mine", request.param)
    tensors = load_file(folder / "mine" / "model.safetensors")
    head = tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"])
    head[TOKENS:] = 50 * head[: VOCAB - TOKENS]
    save_file(tensors, folder / "mine" / "model.safetensors", {"format": "pt"})
    source = ModelSource(name="mine", path=str(folder / "mine"))
    prepare(source, (), folder / "model", Precision(), Compute())
    return folder / "model"


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedModel:
    return load_model(folder / "provenance.json", Precision(), Compute())


@torch.no_grad()
def test_the_model_itself_would_choose_a_row_without_a_token(loaded: LoadedModel) -> None:
    ids = torch.arange(1, 60)[None]
    decoder = loaded.decoder
    own = decoder.model(input_ids=ids, use_cache=False).logits[0]
    assert own.shape[-1] == VOCAB
    assert bool((own.argmax(-1) >= TOKENS).any())
    states = decoder.body(input_ids=ids, use_cache=False).last_hidden_state[0]
    found = unembedding_of(decoder).unembed(states)
    torch.testing.assert_close(found, own[:, :TOKENS], rtol=1e-4, atol=1e-4)
    assert bool((most_likely(found) < TOKENS).all())
    expected = own[:, :TOKENS].softmax(-1)
    torch.testing.assert_close(found.softmax(-1), expected, rtol=1e-3, atol=1e-5)
    assert decoder.vocab_size == TOKENS


def test_the_map_has_tokens_alone_and_sums_over_them(folder: Path) -> None:
    weights, vocabulary = ModelWeights(folder), Vocabulary(folder / "weights")
    stored = load_file(folder / "weights" / "model.safetensors")
    head = stored.get("lm_head.weight", stored["model.embed_tokens.weight"])
    settings = VocabularyMap(matrices=["down"], top_k=3)
    mapped = [words for words, _ in map_neurons(weights, vocabulary, settings, "cpu")]
    for layer, words in enumerate(mapped):
        assert max(words["token_id"]) < TOKENS
        assert words["token"].null_count == 0
        vectors = weights.vectors(layer, "down")
        expected = (vectors @ head[:TOKENS].T).double().softmax(-1).amax(-1)
        first = (words["sign"] == 1) & (words["rank"] == 1)
        found = torch.from_numpy(words["probability"][first]).double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_both_counts_are_described(folder: Path) -> None:
    described = json.loads((folder / "architecture.json").read_text())
    assert (described["vocab_size"], described["token_rows"]) == (VOCAB, TOKENS)
