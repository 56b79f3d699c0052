"""Texts and batches that are exactly as long as they may be."""

from types import SimpleNamespace

import pytest
import torch
from llm_anatomy.model.run.batching import (
    context_length,
    encode,
    equal_length_batches,
    readable_tokens,
    text_batches,
    token_budget_batches,
)

from tests.tiny import tiny_tokenizer


def test_a_text_of_exactly_the_greatest_length_loses_nothing() -> None:
    texts = ["abcd", "abcde", "abcdef", ""]
    tokenizer = tiny_tokenizer()
    whole = [tokenizer(text)["input_ids"] for text in texts]
    assert [len(ids) for ids in whole] == [4, 5, 6, 0]
    encoded = encode(tokenizer, texts, 5)
    assert encoded.truncated == [False, False, True, False]
    assert encoded.ids == [whole[0], whole[1], whole[2][:5], []]
    unlimited = encode(tokenizer, texts, None)
    assert (unlimited.ids, unlimited.truncated) == (whole, [False] * 4)


@pytest.mark.parametrize(
    ("config", "wanted", "readable"),
    [
        ({"max_position_embeddings": 10}, 9, 9),
        ({"max_position_embeddings": 10}, 10, 10),
        ({"max_position_embeddings": 10}, 11, 10),
        ({"n_positions": 10}, 11, 10),
        ({"max_seq_len": 10}, 11, 10),
        ({"seq_length": 10}, 11, 10),
        ({}, 11, 11),
        ({"max_position_embeddings": None, "n_positions": 10}, 11, 10),
    ],
)
def test_no_more_tokens_are_read_than_the_model_was_built_for(
    config: dict[str, int | None], wanted: int, readable: int
) -> None:
    found = SimpleNamespace(**config)
    assert readable_tokens(found, wanted) == readable
    assert context_length(found) == (10 if config else None)


@pytest.mark.parametrize(
    ("budget", "rows"), [(5, [[0], [1], [2]]), (6, [[0, 1], [2]]), (9, [[0, 1, 2]])]
)
def test_a_batch_may_be_exactly_as_large_as_the_budget(budget: int, rows: list[list[int]]) -> None:
    ids = [[1, 2, 3]] * 3
    for batches in (equal_length_batches(ids, budget), token_budget_batches(ids, budget)):
        assert [batch.rows for batch in batches] == rows


def test_a_row_that_pads_the_others_beyond_the_budget_makes_a_batch_of_its_own() -> None:
    ids = [[1], [1, 2], [1, 2, 3, 4]]
    assert [batch.rows for batch in token_budget_batches(ids, 11)] == [[0, 1], [2]]
    assert [batch.rows for batch in token_budget_batches(ids, 12)] == [[0, 1, 2]]


def test_texts_are_padded_on_a_card_alone() -> None:
    ids = [[1], [1, 2], [1, 2, 3]]
    on_cpu = text_batches(ids, 100, torch.device("cpu"))
    assert [batch.rows for batch in on_cpu] == [[0], [1], [2]]
    # Torch's device without memory: a card as far as the choice goes.
    (batch,) = text_batches(ids, 100, torch.device("meta"))
    assert batch.rows == [0, 1, 2]
    assert batch.input_ids.shape == (3, 3)
