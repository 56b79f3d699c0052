"""A seeded sample of the neurons of every layer, and the tokens that they decode to."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from llm_anatomy.statistics.random import seeded_generator

# Layer, matrix, neuron and sign -> decoded tokens, most probable first.
DecodedTokens: TypeAlias = Mapping[tuple[int, str, int, int], list[int]]


def sample_neurons(n_neurons: int, count: int, seed: int, layer: int) -> list[int]:
    """A seeded sample of a layer's neurons, in order."""
    chosen = seeded_generator(seed, layer).permutation(n_neurons)[:count]
    return sorted(int(neuron) for neuron in chosen)


def sampled_tokens(vocabulary: pa.Table, count: int, seed: int) -> DecodedTokens:
    """The decoded tokens of a sample of every layer's neurons.

    Args:
        vocabulary: The table `neurons/vocabulary`.
        count: Neurons per layer; all of a layer that has fewer.
        seed: Seed of the sample.
    """
    layers, neurons = (vocabulary[name].to_numpy().astype(np.int64) for name in ("layer", "neuron"))
    # One number for both: the map has millions of rows, and tuples of them take seconds.
    width = int(neurons.max()) + 1
    last = vocabulary.group_by("layer").aggregate([("neuron", "max")]).to_pydict()
    sampled = [
        layer * width + neuron
        for layer, largest in zip(last["layer"], last["neuron_max"], strict=True)
        for neuron in sample_neurons(largest + 1, count, seed, layer)
    ]
    rows = vocabulary.filter(pa.array(np.isin(layers * width + neurons, sampled)))
    keys = ["layer", "matrix", "neuron", "sign"]
    tokens = rows.select([*keys, "token_id"]).to_pandas().groupby(keys)["token_id"]
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
