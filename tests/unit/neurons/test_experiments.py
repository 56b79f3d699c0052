"""Every experiment as a notebook calls it: a loaded model, frames and settings in, frames out."""

from pathlib import Path

import pandas as pd
import pytest
from llm_anatomy.config.base import Compute
from llm_anatomy.config.neurons import (
    Activation,
    Comparison,
    Edit,
    FineTune,
    Neuron,
    Validation,
    VocabularyMap,
)
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.activation import compare_activations, in_context, sample_texts
from llm_anatomy.neurons.compare import TOP_COLUMNS, compare_models
from llm_anatomy.neurons.concepts import ConceptIndex, control_neurons
from llm_anatomy.neurons.editing import edit_concepts
from llm_anatomy.neurons.favourite import ask_favourites
from llm_anatomy.neurons.mapping import map_neurons, map_provenance
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.sample import neurons_of, sample_neurons, sampled_tokens
from llm_anatomy.neurons.search import find_concepts
from llm_anatomy.neurons.sweep import sweep_clamps
from llm_anatomy.neurons.tuning import fine_tune
from llm_anatomy.neurons.validation import layer_sign_tests, validate_neurons
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.tables import neurons as tables
from llm_anatomy.tables.core import read_arrow

from tests.unit.neurons.conftest import prepare
from tests.unit.neurons.tools import CLAMPING, FAVOURITE, PRECISION, SEARCH, make_map

MAP = VocabularyMap(top_k=4)


@pytest.fixture(scope="module")
def loaded(tiny: Path) -> LoadedModel:
    return load_model(tiny, PRECISION, Compute(threads=1))


@pytest.fixture(scope="module")
def weights(tiny: Path) -> ModelWeights:
    return ModelWeights(tiny.parent)


@pytest.fixture(scope="module")
def vocabulary(weights: ModelWeights) -> Vocabulary:
    return Vocabulary(weights.folder)


@pytest.fixture(scope="module")
def index(weights: ModelWeights, vocabulary: Vocabulary) -> ConceptIndex:
    found = find_concepts(weights, vocabulary, SEARCH, MAP, seed=0)
    # Sixteen words, and the two fragments that the tokenizer has.
    assert found.reference_tokens == 18
    assert_columns(found.spellings, tables.CONCEPT_TOKENS)
    return ConceptIndex(SEARCH.concepts, vocabulary, found.neurons)


def assert_columns(frame: pd.DataFrame, schema: object) -> None:
    assert list(frame.columns) == [column.name for column in schema.columns]
    assert len(frame)


def test_the_parts_of_a_map_are_its_layers(weights: ModelWeights, vocabulary: Vocabulary) -> None:
    whole = [words for words, _ in map_neurons(weights, vocabulary, MAP, "cpu")]
    halves = MAP.model_copy(update={"parts": 2})
    parts = [
        words
        for part in range(2)
        for words, _ in map_neurons(weights, vocabulary, halves, "cpu", part)
    ]
    assert [words["layer"][0] for words in whole] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for words, expected in zip(parts, whole, strict=True):
        pd.testing.assert_frame_equal(pd.DataFrame(words), pd.DataFrame(expected))
    assert map_provenance(weights, MAP)["matrices_absent"] == []


def test_an_index_knows_a_concepts_tokens_and_neuron(index: ConceptIndex) -> None:
    assert_columns(index.neurons, tables.CONCEPTS)
    assert [index.vocabulary.text(token) for token in index.tokens("Rome")] == [" Rome"]
    best = index.neurons.query("concept == 'Rome' and rank == 1").iloc[0]
    assert index.neuron("Rome", None) == (best["layer"], best["neuron"])
    assert index.neuron("Rome", Neuron(layer=2, neuron=5)) == (2, 5)
    controls = control_neurons(1, 3, 48, 47, seed=0)
    assert sorted(controls) == [neuron for neuron in range(48) if neuron != 3]
    with pytest.raises(UserError, match="controls is 48, but layer 1 has only 48"):
        control_neurons(1, 3, 48, 48, seed=0)


def test_clamps_favourites_and_edits_are_tables(loaded: LoadedModel, index: ConceptIndex) -> None:
    runner = PromptRunner(loaded.decoder)
    clamps = sweep_clamps(runner, loaded.tokenizer, index, CLAMPING, seed=0)
    assert_columns(clamps, tables.CLAMPING)
    answers, direction = ask_favourites(runner, loaded.tokenizer, index, FAVOURITE, seed=0)
    assert direction in (1, -1)
    assert_columns(answers, tables.FAVOURITE)
    assert (answers.query("condition != 'clean'")["value"] == direction * 50).all()
    edits = edit_concepts(
        loaded.decoder, loaded.tokenizer, index, Edit(concepts=["Rome"], rows=[2]), "The city."
    )
    assert_columns(edits, tables.EDITS)
    pd.testing.assert_frame_equal(
        sweep_clamps(PromptRunner(loaded.decoder), loaded.tokenizer, index, CLAMPING, 0), clamps
    )


def test_a_sample_holds_every_layer_and_its_decoded_tokens(
    tiny: Path, loaded: LoadedModel, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    table = read_arrow(make_map(tiny, tmp_path, top_k=4)[0], tables.VOCABULARY)
    # In pieces of 5 rows, so that a neuron's four tokens lie in two of them.
    pieces = [table.slice(start, 5) for start in range(0, len(table), 5)]
    decoded = sampled_tokens(lambda columns: [piece.select(columns) for piece in pieces], 3, seed=7)
    assert len(decoded) == 3 * 3 * 3 * 2
    frame = table.to_pandas()
    for layer in range(3):
        neurons = neurons_of(decoded, layer)
        assert neurons == sample_neurons(48, 3, 7, layer)
        rows = frame.query(f"layer == {layer} and neuron == {neurons[1]} and matrix == 'down'")
        expected = rows[rows["sign"] == -1].sort_values("rank")["token_id"].tolist()
        assert decoded[layer, "down", neurons[1], -1] == expected
    settings = Validation(neurons_per_layer=3, prompts=["The city"])
    runner = PromptRunner(loaded.decoder)
    validation = validate_neurons(runner, loaded.tokenizer, vocabulary, decoded, settings)
    assert_columns(validation, tables.VALIDATION)
    assert_columns(layer_sign_tests(validation), tables.SIGN_TESTS)
    many = settings.model_copy(update={"neurons_per_layer": 49})
    with pytest.raises(UserError, match="neurons_per_layer is 49, but layer 0 has only 48"):
        validate_neurons(runner, loaded.tokenizer, vocabulary, decoded, many)
    texts = ["P", *["The city of Rome is the capital."] * 3]
    sample = Activation(texts=4, max_tokens=6)
    ids, counts = sample_texts(loaded.tokenizer, texts, sample, seed=0)
    positions = sum(map(len, ids)) - 2 * len(ids)
    assert counts == {"texts": 4, "texts_used": 3, "positions": positions}
    overlap = compare_activations(loaded.decoder, vocabulary, decoded, ids, 999, 64)
    assert_columns(overlap, tables.ACTIVATION)
    assert (overlap["positions"] == positions).all()
    with pytest.raises(UserError, match=r"words\.csv: no sampled text has three tokens"):
        sample_texts(loaded.tokenizer, texts[:1], sample, 0, "words.csv")


def test_a_tuned_model_and_two_models_are_tables(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = load_model(tiny, PRECISION, Compute(threads=1))
    texts = ["The city of Rome is the capital.", "Paris", "The capital of France is Paris."]
    settings = FineTune(steps=2, batch=1, max_tokens=8)
    curve, counts = fine_tune(copy.decoder.model, copy.tokenizer, texts, settings, seed=0)
    assert_columns(curve, tables.TRAINING)
    assert counts["texts"] == counts["texts_used"] + counts["texts_too_short"] == 3
    with pytest.raises(UserError, match=r"few\.csv: fewer than two texts"):
        fine_tune(copy.decoder.model, copy.tokenizer, texts[:1], settings, 0, "few.csv")
    other = ModelWeights(prepare(tmp_path / "other").parent)
    table = read_arrow(make_map(tiny, tmp_path, top_k=4)[0], tables.VOCABULARY, TOP_COLUMNS)
    both = Comparison(heads=["own", "first"], changed=3)
    with caplog.at_level("INFO"):
        result = compare_models(ModelWeights(tiny.parent), other, table, MAP, both, "cpu")
    assert result.same_head
    assert "heads are equal" in caplog.messages
    assert_columns(result.agreement, tables.AGREEMENT)
    assert_columns(result.changed, tables.CHANGED)
    assert (result.agreement["same_top"] == 1).all()


def test_a_place_is_shown_with_six_tokens_on_either_side() -> None:
    letters: list[str | None] = [*"abcdefghijklmnopq", None]
    # A token without a text, and one beyond the vocabulary, show nothing.
    assert in_context([*range(17)], 8, letters) == "cdefgh[i]jklmno"
    assert in_context([0, 17, 99, 1], 3, letters) == "a[b]"
    assert in_context([16, 0, 1], 0, letters) == "[q]ab"


def test_signs_of_changes_are_counted_by_case() -> None:
    # Of each neuron and direction: the mean over two prompts, and that of random neurons.
    cases = {1: ((0.3, 0.1), -0.5), 2: ((0.2, -0.1), 0.0), 3: ((-0.4, 0.1), 0.25), 4: ((0, 0), -1)}
    rows = [
        {
            "layer": 0,
            "matrix": "down",
            "neuron": neuron,
            "direction": 1,
            "logprob_change": change,
            "control_logprob_change": control,
        }
        for neuron, (changes, control) in cases.items()
        for change in changes
    ]
    (found,) = layer_sign_tests(pd.DataFrame(rows)).to_dict("records")
    assert (found["neurons"], found["raised"]) == (3, 2)
    assert found["share"] == pytest.approx(2 / 3)
    # Two of three or a third as far from half: nothing is rarer.
    assert found["p_value"] == 1
    assert found["control_share"] == pytest.approx(1 / 3)
    assert found["mean_change"] == pytest.approx((0.2 + 0.05 - 0.15 + 0) / 4)
