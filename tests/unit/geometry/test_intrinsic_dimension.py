"""Counting and clipping on attention rows written by hand."""

import numpy as np
import torch
from llm_anatomy.geometry.intrinsic_dimension import (
    absolute_count,
    relative_count,
    summed_dimension,
)

# One head that spreads its attention, one that does not.
ROWS = torch.tensor([[0.30, 0.30, 0.25, 0.12, 0.03, 0.0], [0.95, 0.03, 0.02, 0.0, 0.0, 0.0]])


def test_relative_threshold_is_a_share_of_each_heads_maximum() -> None:
    # 0.03 is not above 0.1 * 0.30 in binary32 or in the paper's strict sense.
    assert relative_count(ROWS, 0.5).tolist() == [3, 1]
    assert relative_count(ROWS, 0.0).tolist() == [5, 3]


def test_the_comparison_is_strict() -> None:
    assert relative_count(torch.tensor([[0.5, 0.25, 0.25]]), 0.5).tolist() == [1]
    assert absolute_count(torch.tensor([[0.5, 0.25, 0.25]]), 0.25).tolist() == [1]


def test_absolute_threshold_is_the_same_for_all_heads() -> None:
    assert absolute_count(ROWS, 0.1).tolist() == [4, 1]
    # At most 1 / threshold tokens can exceed it: the reason why the paper's numbers are relative.
    assert absolute_count(torch.full((1, 8), 0.125), 0.1).tolist() == [8]


def test_sum_and_clips() -> None:
    counts = np.array([[5, 3], [9, 1]])
    assert summed_dimension(counts, "none", head_dim=4, d_model=6).tolist() == [8, 10]
    assert summed_dimension(counts, "heads", head_dim=4, d_model=6).tolist() == [7, 5]
    assert summed_dimension(counts, "model", head_dim=4, d_model=6).tolist() == [6, 6]
