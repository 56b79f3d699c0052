"""The seven spline features of a layer, from the traces of its tokens.

Over the tokens t of a text, with a_t the share of active units and d_t the distance to the nearest
boundary (papers/geometry, section 2.1; features 1 to 7 of the paper):

f1 mean a, f2 min a, f3 max a, f4 std a, f5 min d, f6 mean d, f7 std d

Standard deviations have n - 1 in the denominator; for a single token they are 0.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from llm_anatomy.errors import UserError
from llm_anatomy.geometry.activations import Traces

N_FEATURES = 7
FEATURE_NAMES = (
    "mean active share",
    "min active share",
    "max active share",
    "std active share",
    "min distance",
    "mean distance",
    "std distance",
)


def feature_columns(n_layers: int) -> list[str]:
    """Column names, layer by layer and feature by feature."""
    return [f"l{layer}_f{n}" for layer in range(n_layers) for n in range(1, N_FEATURES + 1)]


def spline_features(
    active: Float[ndarray, "layers tokens"],
    distance: Float[ndarray, "layers tokens"],
    lengths: Int[ndarray, " texts"],
) -> Float[ndarray, "texts layers 7"]:
    """Features of many texts whose tokens stand one text behind the other.

    Args:
        active: a_t of every layer.
        distance: d_t of every layer.
        lengths: Tokens of each text; they sum to the number of tokens.

    Raises:
        ValueError: A text has no token, or the lengths do not add up.
    """
    if lengths.sum() != active.shape[1] or (lengths < 1).any():
        raise ValueError("every text needs at least one token, and lengths must sum to the tokens")
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.intp)
    a, d = active.astype(np.float64), distance.astype(np.float64)
    features = (
        *_mean_and_std(a, starts, lengths),
        np.minimum.reduceat(a, starts, axis=1),
        np.maximum.reduceat(a, starts, axis=1),
        *_mean_and_std(d, starts, lengths),
        np.minimum.reduceat(d, starts, axis=1),
    )
    mean_a, std_a, min_a, max_a, mean_d, std_d, min_d = features
    stacked = np.stack([mean_a, min_a, max_a, std_a, min_d, mean_d, std_d], axis=-1)
    return stacked.transpose(1, 0, 2)


def prefix_features(
    active: Float[ndarray, "layers tokens"], distance: Float[ndarray, "layers tokens"]
) -> Float[ndarray, "tokens layers 7"]:
    """Features of every prefix of one text, from one forward pass.

    Exact, because in a causal model the pre-activations of a token do not depend on later ones.
    """
    a, d = active.astype(np.float64), distance.astype(np.float64)
    mean_a, std_a = _running_mean_and_std(a)
    mean_d, std_d = _running_mean_and_std(d)
    stacked = np.stack(
        [
            mean_a,
            np.minimum.accumulate(a, axis=1),
            np.maximum.accumulate(a, axis=1),
            std_a,
            np.minimum.accumulate(d, axis=1),
            mean_d,
            std_d,
        ],
        axis=-1,
    )
    return stacked.transpose(1, 0, 2)


def feature_frame(shards: Sequence[Traces], *, include_bos: bool = True) -> pd.DataFrame:
    """The features of every text, from the traces of its tokens, one layer at a time.

    Args:
        shards: Traces of all texts.
        include_bos: Whether beginning-of-sequence tokens take part.

    Returns:
        Rows of `SPLINE_FEATURES`.

    Raises:
        UserError: A text has nothing beside a beginning-of-sequence token that is left out.
    """
    return pd.concat([_shard_frame(shard, include_bos) for shard in shards], ignore_index=True)


def _shard_frame(traces: Traces, include_bos: bool) -> pd.DataFrame:
    if not include_bos:
        _check_more_than_bos(traces)
    texts = {"text_id": traces.text_ids, "n_tokens": traces.lengths, "truncated": traces.truncated}
    values = np.empty((len(traces.text_ids), traces.n_layers, N_FEATURES))
    for layer in range(traces.n_layers):
        active, distance = (part[None] for part in traces.layer(layer))
        lengths = traces.lengths
        if not include_bos:
            active, lengths = without_bos(active, traces.lengths, traces.has_bos)
            distance, _ = without_bos(distance, traces.lengths, traces.has_bos)
        values[:, layer] = spline_features(active, distance, lengths)[:, 0]
    flat = pd.DataFrame(values.reshape(len(values), -1), columns=feature_columns(traces.n_layers))
    return pd.concat([pd.DataFrame(texts), flat], axis=1)


def without_bos(
    values: Float[ndarray, "layers tokens"],
    lengths: Int[ndarray, " texts"],
    has_bos: Bool[ndarray, " texts"],
) -> tuple[Float[ndarray, "layers rest"], Int[ndarray, " texts"]]:
    """Drop the beginning-of-sequence token of every text that has one; values and new lengths."""
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.intp)
    keep = np.ones(values.shape[1], dtype=bool)
    keep[starts[has_bos]] = False
    return values[:, keep], lengths - has_bos.astype(lengths.dtype)


def _check_more_than_bos(traces: Traces) -> None:
    alone = (traces.lengths == 1) & traces.has_bos
    if alone.any():
        text = traces.text_ids[int(alone.argmax())]
        raise UserError(
            f"{traces.file}: the text '{text}' has no token beside the beginning-of-sequence "
            "token; set 'geometry.spline_features.include_bos' to true, or remove the text"
        )


def _mean_and_std(
    values: Float[ndarray, "layers tokens"],
    starts: Int[ndarray, " texts"],
    lengths: Int[ndarray, " texts"],
) -> tuple[Float[ndarray, "layers texts"], Float[ndarray, "layers texts"]]:
    mean = np.add.reduceat(values, starts, axis=1) / lengths
    deviation = values - np.repeat(mean, lengths, axis=1)
    squares = np.add.reduceat(deviation**2, starts, axis=1)
    return mean, np.sqrt(squares / np.maximum(lengths - 1, 1))


def _running_mean_and_std(
    values: Float[ndarray, "layers tokens"],
) -> tuple[Float[ndarray, "layers tokens"], Float[ndarray, "layers tokens"]]:
    """Welford's recurrence: as accurate as two passes over every prefix."""
    means, stds = np.empty_like(values), np.zeros_like(values)
    mean = np.zeros(len(values))
    squares = np.zeros(len(values))
    for index in range(values.shape[1]):
        delta = values[:, index] - mean
        mean = mean + delta / (index + 1)
        squares = squares + delta * (values[:, index] - mean)
        means[:, index] = mean
        stds[:, index] = np.sqrt(squares / max(index, 1))
    return means, stds
