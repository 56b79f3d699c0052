"""Every study on a card: nothing of it may stay on the CPU, and the numbers are the CPU's.

The card is a stand-in (`tests/card.py`) that computes on the CPU and refuses foreign tensors.
"""

from contextlib import nullcontext

import pandas as pd
import pytest
import torch
from llm_anatomy.config.facts import Queries
from llm_anatomy.config.geometry import Extraction, InsertedText, RegionChecks
from llm_anatomy.config.neurons import Activation, Comparison, Edit, Validation, VocabularyMap
from llm_anatomy.config.patching import RelationTask, Shuffle
from llm_anatomy.geometry.experiment import check_regions, trace_inserts
from llm_anatomy.geometry.gathering import extract_activations
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.proof import prove
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.activation import compare_activations, sample_texts
from llm_anatomy.neurons.compare import compare_models
from llm_anatomy.neurons.concepts import ConceptIndex
from llm_anatomy.neurons.editing import edit_concepts
from llm_anatomy.neurons.favourite import ask_favourites
from llm_anatomy.neurons.mapping import map_neurons
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.sample import sampled_tokens
from llm_anatomy.neurons.search import find_concepts
from llm_anatomy.neurons.sweep import sweep_clamps
from llm_anatomy.neurons.validation import validate_neurons
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.patching.examples import build_task
from llm_anatomy.patching.experiment import sweep_task
from llm_anatomy.tables.core import read_arrow
from llm_anatomy.tables.neurons import VOCABULARY

from tests.card import CardTensor, card, on_card
from tests.tiny import tiny_model, tiny_tokenizer
from tests.unit.facts import test_experiments as facts
from tests.unit.geometry import test_experiment as geometry
from tests.unit.neurons.conftest import prepare
from tests.unit.neurons.tools import CLAMPING, FAVOURITE, SEARCH, make_map
from tests.unit.patching import test_experiment as patching


def loaded_on(device, family):
    model = tiny_model(family)
    decoder = resolve(on_card(model) if device == "cuda:0" else model)
    assert decoder.device == torch.device(device)
    return LoadedModel(decoder, tiny_tokenizer(), {"model": "tiny", "control_tokens": "text"})


def on_both(study):
    """What a study gives for a device, on the CPU and on the card."""
    found = []
    for device, machine in (("cpu", nullcontext()), ("cuda:0", card())):
        with machine, torch.no_grad():
            found.append(study(device))
    for one, other in zip(*map(_frames, found), strict=True):
        # Near ties change places by rounding: a rank by one.
        for name in set(one) & {"rank", "rank_change"}:
            assert (one[name] - other[name]).abs().max() <= 1
            one, other = one.drop(columns=name), other.drop(columns=name)
        pd.testing.assert_frame_equal(other, one, rtol=1e-3, atol=1e-4, check_exact=False)


def _frames(tables):
    return [pd.DataFrame(table) for table in tables]


def test_the_stand_in_refuses_what_a_card_refuses():
    with card():
        there, here = torch.tensor([1.0, 2.0], device="cuda:0"), torch.ones(2)
        assert isinstance(there, CardTensor)
        assert (there + 1).tolist() == [2.0, 3.0]
        assert (there * here.to("cuda:0")).cpu().numpy().tolist() == [1.0, 2.0]
        assert there[torch.tensor([1])].tolist() == [2.0]
        for mixed in (
            lambda: there + here,
            lambda: here[torch.tensor([0], device="cuda:0")],
            lambda: torch.cat([there, here]),
            lambda: there.__setitem__(slice(0, 2), here),
        ):
            with pytest.raises(RuntimeError, match="on one device"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "falcon", "phi3"])
def test_the_proof_at_load(family):
    with card():
        prove(loaded_on("cuda:0", family).decoder)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_geometry(family):
    def study(device):
        loaded = loaded_on(device, family)
        checks = RegionChecks(texts=2, max_length=4)
        inserts = [InsertedText(name="x", document=geometry.DOCUMENT, insert="Oh no!")]
        passed = extract_activations(loaded, geometry.TEXTS, Extraction(max_length=6), 64, "texts")
        return [
            # GPT-2's output projection has a bias.
            *check_regions(loaded, geometry.TEXTS, checks, 0.1, "x"),
            *trace_inserts(loaded, inserts, 0, 64),
            *geometry.ask(loaded, conditions=["none", "related"]),
            passed.traces.to_pandas(),
            passed.attention_counts.to_pandas(),
        ]

    on_both(study)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_facts(family, monkeypatch):
    def study(device):
        loaded = loaded_on(device, family)
        monkeypatch.setattr(facts, "loaded_once", lambda *_: loaded)
        # The default subkey needs a gradient, for which torch asks the card's driver.
        monkeypatch.setattr(facts, "QUERIES", Queries(subkey="up+gate", query_neurons=20))
        found = facts.study(None)
        return [found[schema] for schema in sorted(found, key=lambda schema: schema.name)]

    on_both(study)


def test_patching():
    manipulations = [*patching.MANIPULATIONS, Shuffle(name="shuffle", seeds=1)]
    task = RelationTask(name="capitals", relation="capitals", max_new_tokens=3)
    records = [
        {"example_id": subject, "subject": subject, "answers": [answer], "prompt": None}
        for subject, answer in patching.CITIES.items()
    ]
    built = build_task(task, records, tiny_tokenizer(), context=100, manipulations=manipulations)

    def study(device):
        loaded = loaded_on(device, "llama")
        return [
            sweep_task(loaded, task, built.examples, built.pairs, manipulations, batch_tokens=2048)
        ]

    on_both(study)


def test_neurons(tmp_path):
    prepared = prepare(tmp_path / "tiny")
    weights = ModelWeights(prepared.parent)
    vocabulary = Vocabulary(weights.folder)
    decoding = VocabularyMap(top_k=4)
    table = read_arrow(make_map(prepared, tmp_path / "map", top_k=4)[0], VOCABULARY)
    decoded = sampled_tokens(lambda columns: [table.select(columns)], 3, seed=7)
    tokenizer = tiny_tokenizer()
    ids, _ = sample_texts(tokenizer, ["The city of Rome."] * 3, Activation(texts=3), seed=0)

    def study(device):
        found = find_concepts(weights, vocabulary, SEARCH, decoding, 0, device)
        index = ConceptIndex(SEARCH.concepts, vocabulary, found.neurons)
        decoder = loaded_on(device, "llama").decoder
        runner = PromptRunner(decoder)
        validation = Validation(neurons_per_layer=3, prompts=["The city"])
        mapped = [
            pd.DataFrame(columns)
            for pair in map_neurons(weights, vocabulary, decoding, device)
            for columns in pair
        ]
        compared = compare_models(weights, weights, table, decoding, Comparison(), device)
        edit = Edit(concepts=["Rome"], rows=[2])
        return [
            found.neurons,
            found.spellings,
            *mapped,
            compared.agreement,
            compared.changed,
            sweep_clamps(runner, tokenizer, index, CLAMPING, seed=0),
            ask_favourites(runner, tokenizer, index, FAVOURITE, seed=0)[0],
            validate_neurons(runner, tokenizer, vocabulary, decoded, validation),
            compare_activations(decoder, vocabulary, decoded, ids, 999, 64),
            edit_concepts(decoder, tokenizer, index, edit, "The city."),
        ]

    on_both(study)
