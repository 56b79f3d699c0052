"""Intrinsic dimension of attention: how many tokens the heads of a layer attend to.

ID^l(i) = sum_h #{ j <= i : Attn_h[i, j] > threshold }        (papers/geometry, section 1.3)

The threshold is a share of the head's largest attention (`relative`, the paper's released numbers)
or a value (`absolute`, the paper's text). With threshold 0 the sum is the bound of Theorem 3.2 on
the dimension of the attention output.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

Clip = Literal["none", "heads", "model"]


def relative_count(
    attention: Float[Tensor, "*batch keys"], threshold: float
) -> Int[Tensor, "*batch"]:
    """Tokens whose attention exceeds `threshold` times the largest in the row."""
    largest = attention.amax(-1, keepdim=True)
    return (attention > threshold * largest).sum(-1)


def absolute_count(
    attention: Float[Tensor, "*batch keys"], threshold: float
) -> Int[Tensor, "*batch"]:
    """Tokens whose attention exceeds `threshold`."""
    return (attention > threshold).sum(-1)


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
