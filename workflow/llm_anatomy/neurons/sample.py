"""A seeded sample of the neurons of every layer, and the tokens that they decode to."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from llm_anatomy.statistics.random import Purpose, keyed_generator

# Layer, matrix, neuron and sign -> decoded tokens, most probable first.
DecodedTokens: TypeAlias = Mapping[tuple[int, str, int, int], list[int]]
# Columns of a table -> its rows, piece by piece.
ReadPieces: TypeAlias = Callable[[Sequence[str]], Iterable[pa.Table]]


def sample_neurons(n_neurons: int, count: int, seed: int, layer: int) -> list[int]:
    """A seeded sample of a layer's neurons, in order."""
    generator = keyed_generator(seed, Purpose.SAMPLED_NEURONS, layer)
    chosen = generator.permutation(n_neurons)[:count]
    return sorted(int(neuron) for neuron in chosen)


def sampled_tokens(read: ReadPieces, count: int, seed: int) -> DecodedTokens:
    """The decoded tokens of a sample of every layer's neurons.

    Args:
        read: Reads the named columns of the table `neurons/vocabulary`, piece by piece: a large
            model's map does not fit in memory.
        count: Neurons per layer; all of a layer that has fewer.
        seed: Seed of the sample.
    """
    largest: dict[int, int] = {}
    for piece in read(["layer", "neuron"]):
        last = piece.group_by("layer").aggregate([("neuron", "max")]).to_pydict()
        for layer, neuron in zip(last["layer"], last["neuron_max"], strict=True):
            largest[layer] = max(neuron, largest.get(layer, 0))
    # One number for both: the map has millions of rows, and tuples of them take seconds.
    width = max(largest.values()) + 1
    sampled = [
        layer * width + neuron
        for layer, last_neuron in largest.items()
        for neuron in sample_neurons(last_neuron + 1, count, seed, layer)
    ]
    keys = ["layer", "matrix", "neuron", "sign"]
    parts = []
    for piece in read([*keys, "token_id"]):
        layers, neurons = (piece[name].to_numpy().astype(np.int64) for name in ("layer", "neuron"))
        parts.append(piece.filter(pa.array(np.isin(layers * width + neurons, sampled))))
    tokens = pa.concat_tables(parts).to_pandas().groupby(keys)["token_id"]
    return {
        (int(layer), str(matrix), int(neuron), int(sign)): group.tolist()
        for (layer, matrix, neuron, sign), group in tokens
    }


def neurons_of(decoded: DecodedTokens, layer: int) -> list[int]:
    """The sampled neurons of a layer, in order."""
    return sorted({key[2] for key in decoded if key[0] == layer})


def matrices_of(decoded: DecodedTokens) -> set[str]:
    """The matrices whose tokens are known."""
    return {key[1] for key in decoded}
