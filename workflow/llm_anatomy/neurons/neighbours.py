"""The neurons most like a neuron: by weights, and by what they do on texts.

Cosines of the stored weight vectors, and Pearson correlations of what enters the down projection,
both exact, block by block. Of weights two layers' vectors and a block of similarities are held; the
activations of every layer are held as they are recorded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.config.contexts import Neighbours
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.batching import equal_length_batches, readable_tokens
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.neurons.reading import ReadTexts, choose_texts
from llm_anatomy.neurons.sites import run_watched
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.progress import track
from llm_anatomy.statistics.random import Purpose, keyed_generator

# Neurons whose similarities with a layer are held at once.
BLOCK = 512
MATRICES = ("up", "gate", "down")
# Left out of every text: on its first token neurons are strongest whatever it is.
FIRST = 1
Vectors = Callable[[int], Float[Tensor, "neurons features"]]


def neighbour_texts(
    loaded: LoadedModel, texts: Mapping[str, pd.DataFrame], settings: Neighbours, seed: int
) -> ReadTexts:
    """The texts over which activations are correlated; raises as `reading.choose_texts`.

    Args:
        loaded: The model.
        texts: Rows of `TEXTS` by data set.
        settings: How many tokens, and of each text.
        seed: Seed of their choice.
    """
    longest = readable_tokens(loaded.decoder.config, settings.max_length)
    generator = keyed_generator(seed, Purpose.NEIGHBOUR_TEXTS)
    key = "neurons.neighbours.tokens"
    return choose_texts(
        loaded.tokenizer, texts, settings.tokens, longest, FIRST + 1, generator, key
    )


def recorded_activations(
    loaded: LoadedModel, texts: ReadTexts, batch_tokens: int
) -> list[Float[Tensor, "positions neurons"]]:
    """What enters every layer's down projection, at all but the first positions of some texts."""
    decoder = loaded.decoder
    kept: list[list[Tensor]] = [[] for _ in range(decoder.n_layers)]

    def see(layer: int, values: Tensor) -> None:
        kept[layer].append(values[:, FIRST:].reshape(-1, values.shape[2]).cpu())

    for batch in equal_length_batches(texts.ids, batch_tokens, device=decoder.device):
        run_watched(decoder, batch, "activation", see)
    joined = []
    while kept:
        # Taken off the list, so that its parts go before the next layer's are joined.
        joined.append(torch.cat(kept.pop(0)))
    return joined


def weight_neighbours(weights: ModelWeights, settings: Neighbours) -> Iterator[pd.DataFrame]:
    """Rows of `NEIGHBOURS` by the cosine of weight vectors, matrix by matrix, layer by layer."""
    for matrix in MATRICES:
        if weights.has(matrix):

            def vectors(layer: int, matrix: str = matrix) -> Tensor:
                return torch.nn.functional.normalize(weights.vectors(layer, matrix).float(), dim=1)

            yield from _of_measure(matrix, vectors, weights.n_layers, settings)


def activation_neighbours(
    activations: Sequence[Float[Tensor, "positions neurons"]], settings: Neighbours
) -> Iterator[pd.DataFrame]:
    """Rows of `NEIGHBOURS` by the correlation of activations; a constant one correlates with none.

    Raises:
        UserError: There are fewer than three positions.
    """
    if len(activations[0]) < 3:
        raise UserError(
            f"neurons.neighbours.tokens leaves {len(activations[0])} positions to correlate over; "
            "raise it, or set it to 0 to leave correlations out"
        )

    def vectors(layer: int) -> Tensor:
        centred = activations[layer].double() - activations[layer].double().mean(0)
        return torch.nn.functional.normalize(centred.T, dim=1).float()

    yield from _of_measure("activation", vectors, len(activations), settings)


def _of_measure(
    measure: str, vectors: Vectors, layers: int, settings: Neighbours
) -> Iterator[pd.DataFrame]:
    for layer in track(range(layers), layers, "layers", f"find_neighbours, {measure}"):
        others = [layer] if settings.scope == "layer" else range(layers)
        yield _layer_frame(measure, layer, vectors, others, settings.count)


def _layer_frame(
    measure: str, layer: int, vectors: Vectors, others: Sequence[int], count: int
) -> pd.DataFrame:
    own = vectors(layer)
    best = torch.full((len(own), 0), 0.0)
    places = torch.zeros(len(own), 0, 2, dtype=torch.int64)
    for other in others:
        theirs = own if other == layer else vectors(other)
        found = [
            _closest(own[start : start + BLOCK], theirs, start if other == layer else None, count)
            for start in range(0, len(own), BLOCK)
        ]
        neurons = torch.cat([ids for _, ids in found])
        place = torch.stack([torch.full_like(neurons, other), neurons], 2)
        together = torch.cat([best, torch.cat([values for values, _ in found])], 1)
        best, order = together.topk(min(count, together.shape[1]), dim=1)
        places = torch.cat([places, place], 1).gather(1, order[..., None].expand(-1, -1, 2))
    kept = best.shape[1]
    columns: dict[str, Any] = {
        "layer": layer,
        "neuron": np.repeat(np.arange(len(own)), kept),
        "measure": measure,
        "rank": np.tile(np.arange(1, kept + 1), len(own)),
        "other_layer": places[..., 0].flatten().numpy(),
        "other_neuron": places[..., 1].flatten().numpy(),
        "similarity": best.flatten().numpy(),
    }
    return pd.DataFrame(columns)


def _closest(
    block: Float[Tensor, "some features"],
    theirs: Float[Tensor, "others features"],
    first: int | None,
    count: int,
) -> tuple[Float[Tensor, "some count"], Tensor]:
    """The closest of a layer's neurons; `first` is the block's place where it is of that layer."""
    similarities = block @ theirs.T
    rows = torch.arange(len(block))
    available = len(theirs)
    if first is not None:
        similarities[rows, first + rows] = -torch.inf
        available -= 1
    values, ids = similarities.topk(min(count, available), dim=1)
    return values, ids
