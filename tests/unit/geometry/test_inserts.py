"""An inserted passage is found again by its tokens and by the jump of the features."""

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.geometry import Inserts
from llm_anatomy.geometry.inserts import (
    FIRST_PREFIX,
    WINDOW,
    insert_passage,
    inserted_span,
    inserts_of,
    jump_at,
    weighted_changes,
)
from llm_anatomy.geometry.spline import prefix_features


def test_inserts_come_from_the_users_table() -> None:
    row = {"name": "lake", "document": "One. Two.", "insert": "Bah!"}
    (found,) = inserts_of(Inserts(), pd.DataFrame([row]))
    assert found.model_dump() == row
    settings = Inserts()
    assert inserts_of(settings) == settings.texts


def test_a_passage_goes_between_two_sentences() -> None:
    document = "One is here. Two is there! Three?"
    places = {insert_passage(document, "NEW.", np.random.default_rng(seed)) for seed in range(20)}
    assert places == {
        "One is here. NEW. Two is there! Three?",
        "One is here. Two is there! NEW. Three?",
    }


def test_a_document_of_one_sentence_has_no_place() -> None:
    with pytest.raises(ValueError, match="one sentence"):
        insert_passage("Only this", "NEW.", np.random.default_rng(0))


def test_span_is_found_from_both_ends() -> None:
    assert inserted_span([1, 2, 3, 4], [1, 2, 9, 9, 3, 4]) == (2, 4)
    # The passage may begin like what follows it: the end is still right.
    assert inserted_span([1, 3, 4], [1, 3, 9, 3, 4]) == (2, 4)


def test_a_change_of_the_tokens_is_the_largest_jump() -> None:
    rng = np.random.default_rng(0)
    active = rng.normal(0.4, 0.01, (3, 60))
    active[:, 40:] += 0.2
    prefixes = prefix_features(active, np.abs(rng.normal(1, 0.1, (3, 60))))
    jumps = jump_at(prefixes, 40)
    assert jumps[0].rank == 1
    assert jumps[0].score > 1
    assert jumps[0].windows == 60 - FIRST_PREFIX - WINDOW + 1
    assert jump_at(prefixes, 20)[0].rank > 10


def test_changes_are_weighted_with_the_prefix_length() -> None:
    prefixes = np.array([0.0, 1.0, 1.5])[:, None, None]
    assert weighted_changes(prefixes)[:, 0, 0].tolist() == [0.0, 2.0, 1.5]


def test_a_position_too_close_to_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="position 2"):
        jump_at(np.zeros((20, 1, 7)), 2)
