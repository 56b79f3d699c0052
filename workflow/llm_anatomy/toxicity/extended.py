"""More statistics of token traces than the paper's seven: a named set, and not the paper's.

Beside the seven, of every layer: the largest distance to a boundary, and quantiles of active share
and distance over the tokens of a text.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from llm_anatomy.geometry.activations import Traces
from llm_anatomy.geometry.spline import without_bos

QUANTILES = (0.1, 0.5, 0.9)
NAME = "spline_extended"


def further_features(
    shards: Sequence[Traces], *, include_bos: bool
) -> tuple[list[str], Float[ndarray, "texts layers 7"]]:
    """Largest distance, quantiles of the distance, quantiles of the active share.

    Returns:
        The texts, and their features.
    """
    parts = []
    for traces in shards:
        values = np.empty((len(traces.text_ids), traces.n_layers, 1 + 2 * len(QUANTILES)))
        for layer in range(traces.n_layers):
            active, distance = (part[None] for part in traces.layer(layer))
            lengths = traces.lengths
            if not include_bos:
                active, lengths = without_bos(active, traces.lengths, traces.has_bos)
                distance, _ = without_bos(distance, traces.lengths, traces.has_bos)
            starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.intp)
            values[:, layer, 0] = np.maximum.reduceat(distance[0], starts)
            values[:, layer, 1:] = np.concatenate(
                [text_quantiles(x[0], lengths, QUANTILES) for x in (distance, active)], axis=1
            )
        parts.append(values)
    return [text for traces in shards for text in traces.text_ids], np.concatenate(parts)


def text_quantiles(
    values: Float[ndarray, " tokens"], lengths: Int[ndarray, " texts"], quantiles: Sequence[float]
) -> Float[ndarray, "texts quantiles"]:
    """Quantiles of every text's tokens, linear between them; texts stand one behind the other."""
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    ordered = values[np.lexsort((values, np.repeat(np.arange(len(lengths)), lengths)))]
    ordered = ordered.astype(np.float64)
    places = starts[:, None] + (lengths[:, None] - 1) * np.asarray(quantiles)[None]
    low = np.floor(places).astype(np.intp)
    high = np.minimum(low + 1, (starts + lengths - 1)[:, None])
    share = places - low
    return np.asarray((1 - share) * ordered[low] + share * ordered[high])
