"""Folds: every text once, classes in equal shares, copies together; unusable labels explained."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.statistics.folds import assign_folds, inner_splits
from llm_anatomy.statistics.random import Purpose
from llm_anatomy.toxicity.folds import count_label, label_names, label_values


@settings(max_examples=25, deadline=None)
@given(st.integers(30, 90), st.floats(0.2, 0.8), st.integers(0, 5))
def test_folds_hold_classes_in_equal_shares_and_copies_together(n, share, seed):
    truth = np.arange(n) < round(n * share)
    copies = np.arange(n)
    copies[1::9] = copies[0::9][: len(copies[1::9])]
    folds = assign_folds(truth, copies, 5, seed, Purpose.FOLDS)
    assert sorted(np.unique(folds)) == [0, 1, 2, 3, 4]
    for number in np.unique(copies):
        assert len(np.unique(folds[copies == number])) == 1
    positives = np.bincount(folds[truth], minlength=5)
    assert positives.min() >= 1
    assert positives.max() - positives.min() <= 4
    assert (folds == assign_folds(truth, copies, 5, seed, Purpose.FOLDS)).all()


def table(values):
    return pd.DataFrame(
        {"text_id": [str(i) for i in range(len(values))], "text": "x", "label_bad": values}
    ).astype({"label_bad": "boolean"})


def test_missing_values_are_left_out_and_counted():
    frame = table([True, None, False, True, False, None])
    assert label_names(frame) == ["bad"]
    rows, truth = label_values(frame, "bad")
    assert rows.tolist() == [0, 2, 3, 4]
    assert truth.tolist() == [True, False, True, False]
    counts = count_label(frame, "bad", np.arange(6), 2)
    assert (counts.n_texts, counts.n_missing, counts.n_positive, counts.n_negative) == (6, 2, 2, 2)
    assert counts.why == ""


@pytest.mark.parametrize(
    ("values", "copies", "words"),
    [
        ([False] * 10, range(10), "no text is positive"),
        ([True] * 10, range(10), "no text is negative"),
        ([True] * 3 + [False] * 9, range(12), "3 positive texts are fewer than the 5 folds"),
        ([True] * 6 + [False] * 9, [0] * 6 + list(range(1, 10)), "1 sets of near-duplicates"),
    ],
)
def test_a_label_that_cannot_be_learned_says_why(values, copies, words):
    assert words in count_label(table(values), "bad", np.array(list(copies)), 5).why


def test_inner_folds_shrink_with_a_small_class_and_vanish_with_a_tiny_one():
    truth = np.array([True] * 2 + [False] * 20)
    assert len(inner_splits(truth, np.arange(22), 3, 0)) == 2
    truth[1] = False
    assert inner_splits(truth, np.arange(22), 3, 0) == []
