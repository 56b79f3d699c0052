"""The neurons of a model, as the atlas shows them: what they decode to, and what was measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Float, Int

from llm_anatomy.atlas.chunks import Chunk, columns, significant
from llm_anatomy.atlas.layers import by_layer, layer_chunk
from llm_anatomy.atlas.words import WordIndex
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import read_provenance
from llm_anatomy.tables.neurons import (
    ACTIVATION,
    CLAMPING,
    CONCEPTS,
    STATISTICS,
    VALIDATION,
    VOCABULARY,
)

# Decoded tokens in one chunk of neurons.
CHUNK_TOKENS = 15_000
_VOCABULARY_COLUMNS = ("layer", "neuron", "matrix", "sign", "rank", "token", "logit", "probability")
_MEASURED = {"clamping": CLAMPING, "activation": ACTIVATION, "validation": VALIDATION}
_LARGEST_TENTHS = np.iinfo(np.int16).max


@dataclass(frozen=True)
class LayerMap:
    """The decoded neurons of one layer.

    Attributes:
        layer: From 0.
        neurons: Their numbers, ascending.
        matrices: Names of the decoded matrices.
        codes: Codes of the tokens; -1 for ids without a token.
        logits: u . w of every token.
        probabilities: softmax(sign * U w) of every token.
        statistics: Statistics by name.
    """

    layer: int
    neurons: Int[np.ndarray, " neurons"]
    matrices: list[str]
    codes: Int[np.ndarray, "neurons ends tokens"]
    logits: Float[np.ndarray, "neurons ends tokens"]
    probabilities: Float[np.ndarray, "neurons ends tokens"]
    statistics: dict[str, Float[np.ndarray, "neurons matrices"]]

    @property
    def z_scores(self) -> Float[np.ndarray, "neurons ends tokens"]:
        """How far a token stands out: sign * (logit - mean) / std over the neuron's logits."""
        signs = np.tile([1.0, -1.0], len(self.matrices))[None, :, None]
        mean = np.repeat(self.statistics["mean"], 2, axis=1)[:, :, None]
        std = np.repeat(self.statistics["std"], 2, axis=1)[:, :, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = signs * (self.logits - mean) / std
        return np.asarray(np.nan_to_num(scores, nan=0.0, posinf=0.0, neginf=0.0))


def neuron_chunks(tables: Collection, model: str) -> Iterator[Chunk]:
    """Everything that the atlas shows of a model's neurons.

    Args:
        tables: The map, its statistics, and what there is of concepts, clamps and activations.
        model: The model.

    Yields:
        `layer-LL-NNNN` with neurons of one layer, `words` and its chunks, `measured-LL`, `concepts`
        and last `index`, which says how to read the others.

    Raises:
        UserError: A table is missing or damaged.
        ValueError: The map does not hold the same number of tokens at every end.
    """
    index = WordIndex()
    layers: list[dict[str, Any]] = []
    shape: dict[str, Any] = {}
    for layer in layer_maps(tables, model, index):
        n_neurons, ends, k = layer.codes.shape
        shape = {"matrices": layer.matrices, "k": k}
        size = max(1, CHUNK_TOKENS // (ends * k))
        layers.append({"layer": layer.layer, "neurons": n_neurons, "block": size})
        yield from _blocks(layer, index.tokens, size)
        _add_words(index, layer)
    yield from index.chunks()
    measured = _measured(tables, model)
    for number, of_layer in sorted(measured.items()):
        yield f"measured-{number:02d}", of_layer
    yield "concepts", _concepts(tables, model)
    provenance = read_provenance(tables.path(VOCABULARY, model=model))
    yield (
        "index",
        {
            "model": model,
            "layers": layers,
            "measured": sorted(measured),
            "normalisation": provenance.get("normalisation", ""),
            **shape,
        },
    )


def layer_maps(tables: Collection, model: str, index: WordIndex) -> Iterator[LayerMap]:
    """The map layer by layer; tokens get their codes from the index."""
    vocabulary = by_layer(tables, VOCABULARY, model, _VOCABULARY_COLUMNS)
    statistics = by_layer(tables, STATISTICS, model, None)
    for (layer, tokens), (other, numbers) in zip(vocabulary, statistics, strict=True):
        if layer != other:
            raise ValueError(f"statistics of layer {other} stand beside tokens of layer {layer}")
        yield _layer_map(layer, tokens, numbers, index)


def _layer_map(layer: int, tokens: pa.Table, numbers: pa.Table, index: WordIndex) -> LayerMap:
    matrices = list(dict.fromkeys(numbers.column("matrix").to_pylist()))
    ends = _matrix_codes(tokens, matrices) * 2 + (tokens.column("sign").to_numpy() < 0)
    neurons, ranks = tokens.column("neuron").to_numpy(), tokens.column("rank").to_numpy()
    order = np.lexsort((ranks, ends, neurons))
    distinct = np.unique(neurons)
    k = int(ranks.max(initial=1))
    shape = (len(distinct), 2 * len(matrices), k)
    if np.prod(shape) != len(neurons):
        raise ValueError(f"layer {layer} of the map has {len(neurons)} rows for the shape {shape}")
    stored = numbers.to_pandas().sort_values("neuron", kind="stable")
    by_matrix = [stored[stored["matrix"] == name] for name in matrices]
    names = [name for name in stored.columns if name not in ("layer", "neuron", "matrix")]
    return LayerMap(
        layer=layer,
        neurons=distinct,
        matrices=matrices,
        codes=_token_codes(tokens, index)[order].reshape(shape),
        logits=tokens.column("logit").to_numpy()[order].reshape(shape),
        probabilities=tokens.column("probability").to_numpy()[order].reshape(shape),
        statistics={
            name: np.stack([frame[name].to_numpy() for frame in by_matrix], axis=1)
            for name in names
        },
    )


def _matrix_codes(tokens: pa.Table, matrices: list[str]) -> Int[np.ndarray, " rows"]:
    encoded = tokens.column("matrix").combine_chunks().dictionary_encode()
    places = np.array([matrices.index(name) for name in encoded.dictionary.to_pylist()], dtype=int)
    return np.asarray(places[encoded.indices.to_numpy()])


def _token_codes(tokens: pa.Table, index: WordIndex) -> Int[np.ndarray, " rows"]:
    encoded = tokens.column("token").combine_chunks().dictionary_encode()
    codes = np.array([index.code(token) for token in encoded.dictionary.to_pylist()] + [-1])
    return np.asarray(codes[encoded.indices.fill_null(len(codes) - 1).to_numpy()])


def _blocks(layer: LayerMap, tokens: list[str], size: int) -> Iterator[Chunk]:
    """Neurons of a layer, as many to a chunk as `size`, each with a list of its own tokens."""
    for number, start in enumerate(range(0, len(layer.neurons), size)):
        rows = slice(start, start + size)
        codes, places = np.unique(layer.codes[rows], return_inverse=True)
        yield (
            layer_chunk(layer.layer, number),
            {
                "neurons": layer.neurons[rows].tolist(),
                "tokens": [tokens[code] if code >= 0 else None for code in codes.tolist()],
                "token": places.ravel().tolist(),
                "logit": np.round(layer.logits[rows].ravel().astype(float), 3).tolist(),
                "probability": significant(layer.probabilities[rows].ravel(), 3),
                "statistics": {
                    name: significant(values[rows].ravel())
                    for name, values in layer.statistics.items()
                },
            },
        )


def _add_words(index: WordIndex, layer: LayerMap) -> None:
    n_neurons, ends, k = layer.codes.shape
    tenths = np.clip(np.round(layer.z_scores * 10), -_LARGEST_TENTHS, _LARGEST_TENTHS)
    index.add(
        layer.codes.ravel(),
        # Two numbers in one: no layer of a model has a million neurons.
        np.repeat(layer.neurons + layer.layer * 1_000_000, ends * k),
        np.tile(np.repeat(np.arange(ends), k), n_neurons),
        np.tile(np.arange(1, k + 1), n_neurons * ends),
        tenths.ravel().astype(np.int64),
    )


def _measured(tables: Collection, model: str) -> dict[int, dict[str, dict[str, Any]]]:
    """What was measured of single neurons, by layer, neuron and table."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for name, schema in _MEASURED.items():
        if not tables.has(schema, model=model):
            continue
        frame = tables.frame(schema, model=model)
        for layer, of_layer in frame.groupby(frame["layer"].to_numpy(int)):
            for neuron, rows in of_layer.groupby("neuron"):
                of_neuron = found.setdefault(int(str(layer)), {}).setdefault(str(neuron), {})
                of_neuron[name] = columns(rows.drop(columns=["layer", "neuron"]))
    return found


def _concepts(tables: Collection, model: str) -> dict[str, list[Any]]:
    if not tables.has(CONCEPTS, model=model):
        return columns(CONCEPTS.frame([]))
    frame: pd.DataFrame = tables.frame(CONCEPTS, model=model)
    return columns(frame)
