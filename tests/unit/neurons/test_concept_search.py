"""A concept's neuron has the concept: the whole search on models whose weights are made by hand."""

from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from llm_anatomy.config.neurons import Concept, ConceptSearch, VocabularyMap
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.search import find_concepts, reference_words
from llm_anatomy.neurons.weights import ModelWeights
from tokenizers import Tokenizer, decoders, models
from torch import Tensor

WIDTH = 512
LETTERS = "abcdefghij"
WORDS = [f" wordy{a}{b}" for a in LETTERS[:4] for b in LETTERS]
FRAGMENTS = [f"fr{a}{b}" for a in LETTERS[:4] for b in LETTERS]
SIGNS = [f"{number}!" for number in range(1000, 1060)]
TEXTS = ["a", " dog", *WORDS, *FRAGMENTS, *SIGNS]
DOG = TEXTS.index(" dog")


class HandMade(ModelWeights):
    """What a search reads of a model: one layer with one matrix, nothing of it in a file."""

    head: Float[Tensor, "vocab d_model"]  # type: ignore[assignment]
    n_layers = 1  # type: ignore[assignment]

    def __init__(self, head: Float[Tensor, "vocab d_model"], neurons: Tensor) -> None:
        self.head, self.neurons, self.architecture = head, neurons, {}
        self.tokens = torch.arange(len(head))

    def present(self, matrices: object) -> list[str]:
        return ["up"]

    def vectors(self, layer: int, matrix: str) -> Float[Tensor, "neurons d_model"]:
        return self.neurons


@pytest.fixture
def vocabulary(tmp_path: Path) -> Vocabulary:
    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(TEXTS)}, unk_token="a"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return Vocabulary(tmp_path)


def directions(*tokens: int) -> Float[Tensor, "tokens d_model"]:
    """Independent directions of unit length, one per token and the same for everyone."""
    generator = torch.Generator().manual_seed(0)
    every = torch.randn(len(TEXTS), WIDTH, generator=generator)
    return torch.nn.functional.normalize(every, dim=1)[list(tokens)]


def search(token_rank: int) -> ConceptSearch:
    return ConceptSearch(
        concepts=[Concept(name="dog", words=["dog"])],
        neurons=3,
        reference_tokens=40,
        neighbours=5,
        token_rank=token_rank,
    )


def hand_made(hub_of: list[int], length: float) -> HandMade:
    """Neuron 0 writes many tokens with long rows and a little dog, neuron 1 dog and little else."""
    head = directions(*range(len(TEXTS)))
    common = torch.nn.functional.normalize(directions(*hub_of).sum(0), dim=0)
    head[hub_of] = length * torch.nn.functional.normalize(head[hub_of] + 2 * common, dim=1)
    dog = head[DOG]
    other = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(1))
    hub = 0.5 * dog + 0.6 * common
    animal = 0.4 * dog + 0.92 * torch.nn.functional.normalize(
        other[0] - (other[0] @ dog) * dog, dim=0
    )
    return HandMade(head, torch.stack([hub, animal, *other[1:]]))


def found(made: HandMade, vocabulary: Vocabulary, token_rank: int) -> list[tuple[int, int]]:
    table = find_concepts(
        made,
        vocabulary,
        search(token_rank),
        VocabularyMap(),
        seed=0,
    ).neurons
    assert table["rank"].tolist() == [1, 2, 3]
    return list(zip(table["neuron"], table["best_rank"], strict=True))


def test_a_hub_of_fragments_is_a_hub(vocabulary: Vocabulary) -> None:
    """No word is near it, so words alone let it win; that it is near all fragments counts."""
    fragments = [TEXTS.index(text) for text in FRAGMENTS]
    made = hand_made(fragments, length=1.0)
    assert found(made, vocabulary, token_rank=1000)[0][0] == 1


def test_a_neuron_that_decodes_to_other_tokens_is_not_the_concepts(vocabulary: Vocabulary) -> None:
    """Signs are in no reference; their long rows put dog at rank 61 of the hub's decoded list."""
    made = hand_made([TEXTS.index(text) for text in SIGNS], length=6.0)
    (_, hub_rank), *_ = found(made, vocabulary, token_rank=1000)
    assert hub_rank > 20
    assert found(made, vocabulary, token_rank=1000)[0][0] == 0
    first, *others = found(made, vocabulary, token_rank=20)
    assert first[0] == 1
    assert first[1] <= 20
    # Others that have it by chance, if there are any, stand before the hub.
    within = [rank <= 20 for _, rank in others]
    assert within == sorted(within, reverse=True)
    assert (0, True) not in zip([neuron for neuron, _ in others], within, strict=True)


def test_the_log_says_where_no_neuron_has_the_concept(
    vocabulary: Vocabulary, caplog: pytest.LogCaptureFixture
) -> None:
    made = hand_made([TEXTS.index(text) for text in SIGNS], length=6.0)
    alone = HandMade(made.head, made.neurons[[0, 2, 3]])
    assert found(alone, vocabulary, token_rank=1)[0][0] == 0
    assert "dog: none of the 6 most specific neurons decodes to it within 1 tokens" in caplog.text


def test_words_and_fragments_are_samples_of_their_own(vocabulary: Vocabulary) -> None:
    for seed in range(4):
        texts = [TEXTS[token] for token in reference_words(vocabulary, [DOG], 12, seed)]
        assert len([text for text in texts if text in WORDS]) == 12
        assert len([text for text in texts if text in FRAGMENTS]) == 12
        assert len(texts) == 24
    assert len(reference_words(vocabulary, [DOG], 99, 0)) == 80
