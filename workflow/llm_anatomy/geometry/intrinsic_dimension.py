"""Intrinsic dimension of attention: how many tokens the heads of a layer attend to.

ID^l(i) = sum_h #{ j <= i : Attn_h[i, j] > threshold }        (papers/geometry, section 1.3)

The threshold is a share of the head's largest attention (`relative`, the paper's released numbers)
or a value (`absolute`, the paper's text). With threshold 0 the sum is the bound of Theorem 3.2 on
the dimension of the attention output. Tokens are counted while the model runs, in `extraction`;
here the counts are summed, which needs no torch.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int
from numpy import ndarray

Clip = Literal["none", "heads", "model"]


def summed_dimension(
    counts: Int[ndarray, "*batch heads"], clip: Clip, head_dim: int, d_model: int
) -> Int[ndarray, "*batch"]:
    """Sum the counts over heads.

    A head's output lies in `head_dim` dimensions and the layer's in `d_model`, whatever the number
    of tokens; the paper clips at neither.

    Args:
        counts: Tokens above the threshold, per head.
        clip: `none`; `heads` limits every count to `head_dim`; `model` limits the sum to `d_model`.
        head_dim: Dimension of a head.
        d_model: Width of the residual stream.
    """
    counts = counts.astype(np.int64)
    if clip == "heads":
        counts = np.minimum(counts, head_dim)
    total: ndarray = counts.sum(-1)
    return np.minimum(total, d_model) if clip == "model" else total


def dimension_frames(
    rows: pd.DataFrame,
    counts: Mapping[str, Int[ndarray, "rows layers heads"]],
    clip: Clip,
    head_dim: int,
    d_model: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The dimension of every layer, and what each head adds to it.

    Args:
        rows: text_id and position of every token whose attention was counted.
        counts: Tokens above each threshold, by the threshold's name.
        clip: Upper limit of a count; see `summed_dimension`.
        head_dim: Dimension of a head.
        d_model: Width of the residual stream.

    Returns:
        Rows of `INTRINSIC_DIMENSION` and of `HEAD_DIMENSION`.
    """
    text_ids, positions = rows["text_id"].to_numpy(), rows["position"].to_numpy()
    summed, by_head = [], []
    for threshold, values in counts.items():
        n_rows, n_layers, n_heads = values.shape
        layers = np.tile(np.arange(n_layers), n_rows)
        summed.append(
            pd.DataFrame(
                {
                    "text_id": np.repeat(text_ids, n_layers),
                    "position": np.repeat(positions, n_layers),
                    "n_tokens": np.repeat(positions + 1, n_layers),
                    "layer": layers,
                    "threshold": threshold,
                    "count": values.sum(-1, dtype=np.int64).ravel(),
                    "dimension": summed_dimension(values, clip, head_dim, d_model).ravel(),
                }
            )
        )
        by_head.append(
            pd.DataFrame(
                {
                    "text_id": np.repeat(text_ids, n_layers * n_heads),
                    "position": np.repeat(positions, n_layers * n_heads),
                    "layer": np.repeat(layers, n_heads),
                    "head": np.tile(np.arange(n_heads), n_rows * n_layers),
                    "threshold": threshold,
                    "count": values.ravel(),
                }
            )
        )
    return pd.concat(summed, ignore_index=True), pd.concat(by_head, ignore_index=True)
