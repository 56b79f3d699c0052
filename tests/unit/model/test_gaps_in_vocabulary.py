"""Rows of the head between tokens, without a token of their own: in no place and in no sum."""

import json
from pathlib import Path

import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import ModelSource
from llm_anatomy.config.neurons import Concept, ConceptSearch, VocabularyMap
from llm_anatomy.facts.methods import TokenRanks
from llm_anatomy.facts.readout import Readout, TargetToken, extreme_tokens, interpolated_scores
from llm_anatomy.facts.subvalues import Subvalues
from llm_anatomy.model.run.generation import most_likely
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.run.readout import Unembedding
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.model.source.prepare import prepare
from llm_anatomy.neurons.mapping import Mapper
from llm_anatomy.neurons.search import find_concepts
from llm_anatomy.neurons.weights import ModelWeights
from safetensors.torch import load_file, save_file

from tests.tiny import save_tiny_model, tiny_tokenizer

# Tokens from here on have ids three higher than a tokenizer without a gap gives them.
GAP = range(262, 265)
LAST = max(tiny_tokenizer().get_vocab().values()) + len(GAP)
KNOWN = [row for row in range(LAST + 1) if row not in GAP]


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared model whose vocabulary has a gap, and whose rows there are the head's largest."""
    folder = tmp_path_factory.mktemp("gap")
    mine = save_tiny_model(folder / "mine", request.param)
    file = mine / "tokenizer.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = described["model"]["vocab"]
    described["model"]["vocab"] = {
        token: row + (len(GAP) if row >= GAP.start else 0) for token, row in vocabulary.items()
    }
    file.write_text(json.dumps(described), encoding="utf-8")
    tensors = load_file(mine / "model.safetensors")
    names = ("lm_head.weight", "model.embed_tokens.weight", "transformer.wte.weight")
    head = next(tensors[name] for name in names if name in tensors)
    head[GAP] = 50 * head[: len(GAP)]
    save_file(tensors, mine / "model.safetensors", {"format": "pt"})
    source = ModelSource(name="mine", path=str(mine))
    prepare(source, (), folder / "model", Precision(), Compute())
    return folder / "model"


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedModel:
    return load_model(folder / "provenance.json", Precision(), Compute())


def states_and_logits(loaded: LoadedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Normed final states of some tokens, and what the model itself says."""
    ids, decoder = torch.arange(1, 60)[None], loaded.decoder
    with torch.no_grad():
        own = decoder.model(input_ids=ids, use_cache=False).logits[0]
        return decoder.body(input_ids=ids, use_cache=False).last_hidden_state[0], own


@pytest.mark.parametrize("form", ["unembed", "differentiable"])
def test_logits_are_over_tokens(loaded: LoadedModel, form: str) -> None:
    states, own = states_and_logits(loaded)
    assert bool(torch.isin(own.argmax(-1), torch.tensor(GAP)).any())
    found = getattr(Unembedding(loaded.decoder), form)(states)
    assert found.shape[-1] == LAST + 1
    torch.testing.assert_close(found[:, KNOWN], own[:, KNOWN], rtol=1e-4, atol=1e-4)
    assert not torch.isin(most_likely(found), torch.tensor(GAP)).any()
    probabilities = found.softmax(-1)
    expected = own[:, KNOWN].softmax(-1)
    torch.testing.assert_close(probabilities[:, KNOWN], expected, rtol=1e-3, atol=1e-5)
    assert float(probabilities[:, GAP].sum()) == 0


def test_the_map_has_tokens_alone_and_sums_over_them(folder: Path) -> None:
    weights = ModelWeights(folder)
    described = weights.architecture
    assert (described["token_rows"], described["tokenless"]) == (LAST + 1, list(GAP))
    decoded = Mapper(weights, VocabularyMap(top_k=4), "cpu").decode(0, "down")
    vectors, rows = weights.vectors(0, "down").double(), torch.tensor(KNOWN)
    logits = vectors @ weights.head.double().T
    for sign, pole in ((1, decoded.positive), (-1, decoded.negative)):
        best = (sign * logits).topk(4)
        assert pole.ids[:, :4].tolist() == rows[best.indices].tolist()
        expected = (sign * logits).softmax(-1).gather(1, best.indices)
        torch.testing.assert_close(pole.probabilities[:, :4], expected, rtol=1e-4, atol=0)


def test_a_concept_is_looked_up_by_its_token(folder: Path) -> None:
    weights, vocabulary = ModelWeights(folder), Vocabulary(folder / "weights")
    search = ConceptSearch(
        concepts=[Concept(name="Italy", words=["Italy"])], neurons=3, reference_tokens=16
    )
    made = find_concepts(weights, vocabulary, search, VocabularyMap(matrices=["down"]), seed=0)
    token = vocabulary.token(" Italy")
    assert token is not None
    assert token > GAP.stop
    assert set(made.neurons["token_id"]) == {token}
    assert set(made.neurons["token"]) == {" Italy"}
    row = made.neurons.iloc[0]
    vector = row["sign"] * weights.vectors(int(row["layer"]), "down")[row["neuron"]].double()
    logits = weights.head.double() @ vector
    own = logits[KNOWN.index(token)]
    assert row["token_rank"] == int((logits > own).sum()) + 1
    assert row["probability"] == pytest.approx(float((own - logits.logsumexp(0)).exp()), rel=1e-4)


def test_facts_rank_and_normalise_over_tokens(loaded: LoadedModel) -> None:
    decoder, generator = loaded.decoder, torch.Generator().manual_seed(0)
    final, start = 3 * torch.randn(2, decoder.d_model, generator=generator)
    vectors = torch.randn(40, decoder.d_model, generator=generator)
    readout = Readout(Unembedding(decoder), final)
    products = readout.bs_values(vectors)[:, KNOWN]
    tops, bottoms = extreme_tokens(readout, vectors, 5)
    rows = torch.tensor(KNOWN)
    assert tops.tolist() == rows[products.topk(5).indices].tolist()
    assert bottoms.tolist() == rows[products.topk(5, largest=False).indices].tolist()
    target = TargetToken(KNOWN[-2])
    logs = readout.logits(torch.stack([start, final, start + vectors[0]]))[:, KNOWN].double()
    expected = logs.log_softmax(-1)[:, -2]
    first, last, moved = expected.tolist()
    states = torch.stack([start, final])
    assert readout.scores(states, target).tolist() == pytest.approx([first, last], rel=1e-4)
    logits = readout.logits(start[None])[0]
    changes = readout.changes(vectors[:1], start[None])
    gained = readout.score_changes(changes, logits, logits.softmax(-1), target)
    assert gained.tolist() == pytest.approx([moved - first], rel=1e-2, abs=1e-3)
    between, _ = interpolated_scores(readout, start, final, target, 5)
    assert between[0] == pytest.approx(first, rel=1e-4)
    assert between[-1] == pytest.approx(last, rel=1e-4)
    assert bool(between.isfinite().all())


def test_ranks_of_methods_count_tokens_alone(loaded: LoadedModel) -> None:
    subvalues = Subvalues(loaded.decoder)
    token = KNOWN[-1]
    ranks = TokenRanks(subvalues, [token])
    logits = Unembedding(loaded.decoder).products(
        Readout(Unembedding(loaded.decoder), subvalues.ffn[0].T[0]).normed(subvalues.ffn[0].T)
    )[:, KNOWN]
    above = (logits > logits[:, -1:]).sum(-1) + 1
    below = (logits < logits[:, -1:]).sum(-1) + 1
    found, inverted = ranks.of(token), ranks.of(token, -torch.ones(len(ranks.of(token))))
    assert found[: len(above)].tolist() == above.tolist()
    assert inverted[: len(below)].tolist() == below.tolist()
