"""Counting and clipping on attention rows written by hand."""

import numpy as np
import pandas as pd
import torch
from llm_anatomy.geometry.extraction import absolute_count, relative_count
from llm_anatomy.geometry.intrinsic_dimension import dimension_frame, summed_dimension
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION

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


def test_a_frame_has_a_row_per_layer_of_every_token() -> None:
    rows = pd.DataFrame({"text_id": ["a", "b"], "position": [4, 1]})
    counts = np.array([[[5, 1], [2, 2], [3, 0]], [[2, 2], [1, 1], [1, 2]]], dtype=np.int32)
    frame = dimension_frame(rows, counts, "relative", "heads", 3, 100)
    assert list(frame) == [column.name for column in INTRINSIC_DIMENSION.columns]
    assert frame["text_id"].tolist() == ["a"] * 3 + ["b"] * 3
    assert frame["n_tokens"].tolist() == [5] * 3 + [2] * 3
    assert frame["layer"].tolist() == [0, 1, 2] * 2
    assert frame["threshold"].unique().tolist() == ["relative"]
    assert frame["count"].tolist() == [6, 4, 3, 4, 2, 3]
    assert frame["dimension"].tolist() == [4, 4, 3, 4, 2, 3]
