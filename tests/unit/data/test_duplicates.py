"""Copies: every pair of a brute-force comparison is found, and nothing else."""

import random

import numpy as np
from llm_anatomy.data.duplicates import find_copies, kept_together, normalised

WORDS = [f"{a}{b}" for a in ("riv", "sto", "mus", "gard") for b in ("er", "ne", "ic", "en")]


def grams(text: str) -> set[str]:
    clean = normalised(text)
    return {clean[i : i + 5] for i in range(max(1, len(clean) - 4))}


def brute_force(texts: list[str], similarity: float) -> dict[tuple[int, int], float]:
    sets = [grams(text) for text in texts]
    return {
        (i, j): index
        for i in range(len(texts))
        for j in range(i + 1, len(texts))
        if (index := len(sets[i] & sets[j]) / len(sets[i] | sets[j])) >= similarity
    }


def sample_texts() -> list[str]:
    rng = random.Random(3)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(4, 30))) for _ in range(60)]
    for source in texts[:30]:
        words = source.split()
        words[rng.randrange(len(words))] = rng.choice(WORDS)
        texts.append(" ".join(words))
    return [*texts, "ok", "OK ", "no", ""]


def test_every_pair_of_the_brute_force_comparison_is_found():
    texts = sample_texts()
    expected = brute_force(texts, 0.8)
    found = {(p.first, p.second): p.similarity for p in find_copies(texts, 0.8)}
    assert len(expected) > 10
    assert found.keys() == expected.keys()
    assert np.allclose([found[p] for p in expected], list(expected.values()))


def test_case_width_and_spaces_do_not_hide_a_copy():
    pairs = find_copies(
        ["You  are\nLATE today", "you are late today", "ｙｏｕ are late today"], 1.0
    )
    assert [(p.first, p.second) for p in pairs] == [(0, 1), (0, 2), (1, 2)]


def test_chains_of_copies_are_one_set():
    texts = sample_texts()
    sets = kept_together(len(texts), find_copies(texts, 0.8))
    for i, j in brute_force(texts, 0.8):
        assert sets[i] == sets[j]
    assert len(np.unique(sets)) > 40


def test_many_equal_texts_are_one_set():
    texts = ["the same template text"] * 100 + ["another text altogether"]
    sets = kept_together(101, find_copies(texts, 0.8))
    assert len(np.unique(sets[:100])) == 1
    assert sets[100] != sets[0]
