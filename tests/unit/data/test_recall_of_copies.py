"""Near-duplicates at every similarity that the key accepts, against a brute-force comparison."""

import random

import numpy as np
import pytest
from llm_anatomy.config.toxicity import Folds
from llm_anatomy.data.duplicates import banding, find_copies, kept_together, normalised
from pydantic import ValidationError

WORDS = [a + b for a in ("riv", "sto", "mus", "gard", "pla", "bro") for b in ("er", "ne", "ic")]
SIMILARITIES = [0.3, 0.31, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0]


def grams(text: str) -> set[str]:
    clean = normalised(text)
    return {clean[i : i + 5] for i in range(max(1, len(clean) - 4))}


def chained_texts(chains: int, length: int) -> list[str]:
    """Chains in which each text replaces some words of the one before: pairs at all similarities.

    A chain has words of its own, so that its texts are not like those of another.
    """
    rng = random.Random(7)
    texts = []
    for _ in range(chains):
        own = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(4, 8))) for _ in range(200)]
        words = rng.choices(own, k=25)
        for _ in range(length):
            texts.append(" ".join(words))
            words[rng.randrange(25)] = rng.choice(own)
    return texts


@pytest.fixture(scope="module")
def brute() -> tuple[list[str], dict[tuple[int, int], float]]:
    texts = chained_texts(16, 16)
    sets = [grams(text) for text in texts]
    indices = {
        (i, j): len(sets[i] & sets[j]) / len(sets[i] | sets[j])
        for i in range(len(texts))
        for j in range(i + 1, len(texts))
    }
    return texts, indices


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_at_least_99_of_100_pairs_near_the_threshold_are_found(brute, similarity):
    texts, indices = brute
    expected = {pair for pair, index in indices.items() if index >= similarity}
    found = {(p.first, p.second): p.similarity for p in find_copies(texts, similarity)}
    assert found.keys() <= expected
    assert all(found[pair] == pytest.approx(indices[pair]) for pair in found)
    near = {pair for pair in expected if indices[pair] < similarity + 0.05}
    assert similarity > 0.9 or len(near) > 30
    assert len(found.keys() & near) >= 0.99 * len(near)


@pytest.mark.parametrize("similarity", np.linspace(0.3, 1, 71))
def test_bands_find_what_the_theory_says(similarity):
    bands, rows = banding(float(similarity))
    assert 1 - (1 - similarity**rows) ** bands >= 0.999 - 1e-12
    assert bands * rows <= 512


def test_a_template_of_unlike_texts_does_not_hide_a_pair():
    """More than 32 texts share a bucket at a low threshold; pairs among the later ones count."""
    rng = random.Random(1)
    head = "it is known to everybody in this town that " * 2
    texts = [head + " ".join(rng.choices(WORDS, k=60)) for _ in range(60)]
    texts += [texts[-1] + " indeed", texts[-2] + " indeed"]
    sets = [grams(text) for text in texts]
    expected = {
        (i, j)
        for i in range(len(texts))
        for j in range(i + 1, len(texts))
        if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= 0.8
    }
    found = find_copies(texts, 0.8)
    assert {(58, 61), (59, 60)} <= expected
    assert {(p.first, p.second) for p in found} == expected


def test_thousands_of_equal_texts_are_one_set_in_no_time():
    texts = [f"the same template of a text with a number {n % 7}" for n in range(600)]
    assert len(np.unique(kept_together(600, find_copies(texts, 0.5)))) == 1


def test_a_similarity_that_is_not_found_is_not_accepted():
    for value in (0.0, 0.1, 0.29, 1.01):
        with pytest.raises(ValidationError):
            Folds(similarity=value)
