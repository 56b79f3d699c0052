"""The reference words and the controls of the neuron study are drawn with the given seed."""

from pathlib import Path

import numpy as np
import pytest
from llm_anatomy.config.neurons import Concept, ConceptSearch, VocabularyMap
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.concepts import control_neurons
from llm_anatomy.neurons.sample import sample_neurons
from llm_anatomy.neurons.search import find_concepts, reference_words
from llm_anatomy.neurons.weights import ModelWeights
from tokenizers import Tokenizer, decoders, models

from tests.unit.neurons.conftest import prepare

# 40 words, and tokens that begin none: too short, no space (a fragment), no letters.
WORDS = [f" word{chr(97 + n // 20)}{chr(97 + n % 20)}" for n in range(40)]
OTHERS = ["a", " an", "word", " 1234", " x-ray"]
FRAGMENT = OTHERS.index("word")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    folder: Path = tmp_path_factory.mktemp("words")
    texts = {text: number for number, text in enumerate([*OTHERS, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(texts, unk_token="a"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    return Vocabulary(folder)


def test_reference_words_are_another_sample_with_another_seed(vocabulary: Vocabulary) -> None:
    samples = [reference_words(vocabulary, [], 12, seed) for seed in range(6)]
    assert samples[3] == reference_words(vocabulary, [], 12, 3)
    assert len({tuple(sample) for sample in samples}) == 6
    for sample in samples:
        assert sample == sorted(set(sample))
        # The one fragment is among as many fragments as words are drawn.
        assert FRAGMENT in sample
        words = set(sample) - {FRAGMENT}
        assert len(words) == 12
        assert words <= set(range(len(OTHERS), len(OTHERS) + 40))
    # Any word can be drawn.
    assert len(set().union(*(reference_words(vocabulary, [], 12, s) for s in range(40)))) == 41


def test_reference_words_are_never_a_concepts(vocabulary: Vocabulary) -> None:
    excluded = [FRAGMENT, *range(len(OTHERS), len(OTHERS) + 30)]
    left = set(range(len(OTHERS) + 30, len(OTHERS) + 40))
    for seed in range(5):
        assert set(reference_words(vocabulary, excluded, 9, seed)) < left
    assert set(reference_words(vocabulary, excluded, 99, 0)) == left


def test_a_search_is_made_with_the_seed_that_it_is_given(
    vocabulary: Vocabulary, tmp_path: Path
) -> None:
    weights = ModelWeights(prepare(tmp_path / "tiny").parent)
    search = ConceptSearch(
        concepts=[Concept(name="aa", words=["wordaa"])], reference_tokens=16, neighbours=2
    )

    def hubness(seed: int) -> list[float]:
        found = find_concepts(weights, vocabulary, search, VocabularyMap(), seed).neurons
        rows = found.sort_values(["layer", "neuron", "matrix", "sign"])
        return [round(float(value), 6) for value in rows["hubness"]]

    assert hubness(1) == hubness(1)
    assert len({tuple(hubness(seed)) for seed in (1, 2, 3)}) == 3


def test_controls_and_samples_are_drawn_with_the_seed_and_differ_between_places() -> None:
    for draw in (
        lambda seed, place: control_neurons(place, 5, 1000, 20, seed),
        lambda seed, place: sample_neurons(1000, 20, seed, place),
    ):
        assert draw(0, 2) == draw(0, 2)
        drawn = [draw(seed, place) for seed in range(3) for place in range(3)]
        assert len({tuple(each) for each in drawn}) == 9
        assert all(len(set(each)) == 20 for each in drawn)
    neurons = control_neurons(2, 5, 10, 9, 0)
    assert sorted(neurons) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert control_neurons(2, 5, 1000, 20, 0) != control_neurons(2, 6, 1000, 20, 0)
    assert np.isin(sample_neurons(30, 99, 0, 1), range(30)).sum() == 30
