"""Intrinsic dimension of attention: how many tokens the heads of a layer attend to.

ID^l(i) = sum_h #{ j <= i : Attn_h[i, j] > threshold }        (papers/geometry, section 1.3)

The threshold is a share of the head's largest attention (`relative`, the paper's released numbers)
or a value (`absolute`, the paper's text). With threshold 0 the sum is the bound of Theorem 3.2 on
the dimension of the attention output. Tokens are counted while the model runs, in `extraction`;
here the counts are summed, which needs no torch.
"""

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int
from numpy import ndarray

Clip = Literal["none", "heads", "model"]
THRESHOLDS = ("relative", "absolute")


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


def dimension_frame(
    rows: pd.DataFrame,
    counts: Int[ndarray, "rows layers heads"],
    threshold: str,
    clip: Clip,
    head_dim: int,
    d_model: int,
) -> pd.DataFrame:
    """The dimension of every layer at some tokens; `attention_counts` says what each head adds.

    Args:
        rows: text_id and position of every token whose attention was counted.
        counts: Tokens above the threshold.
        threshold: The threshold's name.
        clip: Upper limit of a count; see `summed_dimension`.
        head_dim: Dimension of a head.
        d_model: Width of the residual stream.

    Returns:
        Rows of `INTRINSIC_DIMENSION`.
    """
    n_rows, n_layers, _ = counts.shape
    positions = np.repeat(rows["position"].to_numpy(), n_layers)
    return pd.DataFrame(
        {
            "text_id": np.repeat(rows["text_id"].to_numpy(), n_layers),
            "position": positions,
            "n_tokens": positions + 1,
            "layer": np.tile(np.arange(n_layers), n_rows),
            "threshold": threshold,
            "count": counts.sum(-1, dtype=np.int64).ravel(),
            "dimension": summed_dimension(counts, clip, head_dim, d_model).ravel(),
        }
    )
