"""The index of words: every token of every neuron is found by its word, and by no other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.atlas import words
from llm_anatomy.atlas.words import WordIndex, word_key


@pytest.mark.parametrize(
    "variants",
    [
        [" dog", "dog", "Dog", " DOG"],
        ["東京", " 東京"],
        ["ΟΔΟΣ", "οδος", "οδοσ"],
        ["ﬁne", "fine"],  # a ligature
        ["Москва", " москва"],
        ["naïve", "nai\u0308ve"],
    ],
)
def test_space_and_case_variants_share_a_word_in_any_script(variants):
    assert len({word_key(text) for text in variants}) == 1


def test_other_words_stay_apart_and_whitespace_is_found_by_its_marks():
    assert len({word_key(text) for text in ("dog", "dogs", "do", "dög")}) == 4
    assert word_key("\n") == "↵"
    assert word_key("  ") == "␣␣"


def read(chunks):
    """Every entry by word, as the page reads them."""
    found = dict(chunks)
    index = found["words"]
    entries = {}
    starts = np.concatenate([[0], np.cumsum(index["counts"])])
    for number, first in enumerate(index["first"]):
        last = [*index["first"], len(index["words"])][number + 1]
        piece = found[f"words-{number:04d}"]
        for word in range(first, last):
            rows = range(starts[word] - starts[first], starts[word + 1] - starts[first])
            entries[index["words"][word]] = sorted(
                (
                    piece["variants"][word - first][piece["variant"][row]],
                    piece["neuron"][row],
                    piece["end"][row],
                    piece["rank"][row],
                    piece["z"][row],
                )
                for row in rows
            )
    return entries


tokens = st.sampled_from(["a", " a", "A", "b", "東", " ", "\n", "c" * 9, "ß", "<b>"])
rows = st.lists(
    st.tuples(tokens, st.integers(0, 5_000_000), st.integers(0, 5), st.integers(1, 9)), max_size=60
)


@settings(max_examples=60)
@given(st.lists(rows, min_size=1, max_size=3), st.integers(1, 9))
def test_every_entry_is_found_by_its_word_whatever_the_pieces(layers, size):
    index, expected = WordIndex(), {}
    for layer in layers:
        index.add(
            np.array([index.code(row[0]) for row in layer], dtype=int),
            *(np.array([row[place] for row in layer], dtype=int) for place in (1, 2, 3)),
            np.arange(len(layer)),
        )
        for z, row in enumerate(layer):
            expected.setdefault(word_key(row[0]), []).append((*row, z))
    patch = pytest.MonkeyPatch()
    patch.setattr(words, "CHUNK_ENTRIES", size)
    with patch.context():
        found = read(index.chunks())
    patch.undo()
    assert found == {word: sorted(entries) for word, entries in expected.items()}
    assert list(found) == sorted(found)


def test_an_id_without_a_token_is_left_out():
    index = WordIndex()
    code = index.code("a")
    index.add(*(np.array(values) for values in ([code, -1], [3, 4], [0, 0], [1, 2], [5, 5])))
    assert read(index.chunks()) == {"a": [("a", 3, 0, 1, 5)]}
