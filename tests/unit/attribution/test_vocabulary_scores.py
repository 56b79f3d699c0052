"""The fourth paper's methods over all units, against their formulas written out."""

import pytest
import torch
from llm_anatomy.attribution.pairs import FactPair
from llm_anatomy.attribution.sites import Site, all_units, read_sites
from llm_anatomy.attribution.vocabulary import OF_NEURONS, defined, vocabulary_scores
from llm_anatomy.config.attribution import VocabularyMethod
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.resolve import resolve
from torch import Tensor

from tests.tiny import tiny_model

PAIRS = [
    FactPair("a", "b", (5, 17, 40, 99, 8), (5, 18, 41, 99, 9), 12, 90),
    FactPair("b", "a", (7, 30, 2, 61), (300, 30, 3, 60), 200, 31),
]
METHODS: list[VocabularyMethod] = [
    "log_prob_increase",
    "log_prob",
    "prob_increase",
    "norm",
    "coefficient",
    "inverse_rank",
    "coefficient_norm",
    "coefficient_rank",
]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return resolve(tiny_model(request.param))


def written(decoder: Decoder, pair: FactPair, kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """m, v and the state before the sublayer of every unit, by hooks of the model alone."""
    tokens = torch.tensor([pair.tokens])
    site = "ffn" if kind == "ffn_neuron" else "attention"
    sites = [Site(site, layer) for layer in range(decoder.n_layers)]
    outputs = [Site("attention_output", layer) for layer in range(decoder.n_layers)]
    entries = read_sites(decoder, tokens, sites)
    attended = read_sites(decoder, tokens, outputs)
    with torch.no_grad():
        states = decoder.model(tokens, output_hidden_states=True).hidden_states
    m, v, x = [], [], []
    for block, one, output in zip(decoder.blocks, sites, outputs, strict=True):
        before = states[block.index][0, -1]
        if kind == "ffn_neuron":
            before = before + attended[output][0, -1]
        columns = (block.down if kind == "ffn_neuron" else block.o).weight().T
        own = entries[one][0, -1]
        if kind == "head":
            parts = (own[:, None] * columns).unflatten(0, (block.n_heads, block.head_dim)).sum(1)
            own, columns = torch.ones(block.n_heads), parts
        m.append(own)
        v.append(columns)
        x.append(before.expand(len(own), -1))
    return torch.cat(m), torch.cat(v), torch.cat(x)


def by_formula(decoder: Decoder, pair: FactPair, kind: str, method: str) -> Tensor:
    m, v, x = written(decoder, pair, kind)
    tokens = torch.tensor([pair.tokens])
    norm = decoder.final_norm
    # The state behind the last block, before the final norm, sets the scale of every vector.
    last = {}
    handle = norm.module.register_forward_pre_hook(lambda _, args: last.update(h=args[0]))
    with torch.no_grad():
        decoder.model(tokens)
    handle.remove()

    def logits(vectors: Tensor) -> Tensor:
        centred = vectors - vectors.mean(-1, keepdim=True) if norm.centred else vectors
        state = last["h"][0, -1]
        state = state - state.mean() if norm.centred else state
        scale = (state.pow(2).mean() + norm.eps).sqrt()
        normed = centred / scale * norm.gain
        normed = normed if norm.bias is None else normed + norm.bias
        return normed @ decoder.model.get_output_embeddings().weight.T

    vectors = m[:, None] * v
    w = pair.answer
    match method:
        case "log_prob_increase":
            return logits(x + vectors).log_softmax(-1)[:, w] - logits(x).log_softmax(-1)[:, w]
        case "prob_increase":
            return logits(x + vectors).softmax(-1)[:, w] - logits(x).softmax(-1)[:, w]
        case "log_prob":
            return logits(vectors).log_softmax(-1)[:, w]
        case "norm":
            return v.norm(dim=-1)
        case "coefficient":
            return m.abs()
        case "coefficient_norm":
            return vectors.norm(dim=-1)
    # Of what a vector says the final norm's bias is no part.
    own = logits(v) - logits(torch.zeros_like(v[:1]))
    rank = (own > own[:, w : w + 1]).sum(-1) + 1
    return (m.abs() if method == "coefficient_rank" else torch.ones_like(m)) / rank


@pytest.mark.parametrize("kind", ["ffn_neuron", "attention_neuron", "head"])
def test_every_method_is_its_formula_for_every_unit(decoder: Decoder, kind: str) -> None:
    methods = [method for method in METHODS if defined(method, kind)]
    found = vocabulary_scores(decoder, PAIRS, kind, methods, None, 512)
    assert set(found) == set(methods)
    assert (set(METHODS) - set(methods)) == (set(OF_NEURONS) if kind == "head" else set())
    for method in methods:
        assert found[method].shape == (2, len(all_units(decoder, kind)))
        for row, pair in enumerate(PAIRS):
            expected = by_formula(decoder, pair, kind, method).double()
            torch.testing.assert_close(found[method][row], expected, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("method", ["log_prob_increase", "prob_increase", "log_prob"])
@pytest.mark.parametrize("kind", ["ffn_neuron", "attention_neuron"])
def test_the_best_are_exact_and_no_other_is_ranked_above_them(
    decoder: Decoder, kind: str, method: VocabularyMethod
) -> None:
    (full,) = vocabulary_scores(decoder, PAIRS, kind, [method], None, 512).values()
    (found,) = vocabulary_scores(decoder, PAIRS, kind, [method], 10, 512).values()
    for exact, cheap in zip(full, found, strict=True):
        best = exact.argsort(descending=True, stable=True)[:10]
        torch.testing.assert_close(cheap[best], exact[best])
        assert set(cheap.argsort(descending=True, stable=True)[:10].tolist()) == set(best.tolist())
        # A bound is never below what it bounds, but for the cut at the least of the best.
        assert bool((cheap >= exact - 1e-5).all())
