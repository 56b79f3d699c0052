"""What makes neurons fire, as the atlas shows it: texts token by token, activity, neighbours."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from llm_anatomy.atlas.chunks import Chunk, columns, significant
from llm_anatomy.atlas.layers import by_layer, layer_chunk
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.contexts import ACTIVITY, CONTEXT_WORDS, CONTEXTS, NEIGHBOURS
from llm_anatomy.tables.core import TableSchema

# Contexts of each sign that are shown; the table holds all that were kept.
SHOWN = 6
# Neurons in one chunk.
BLOCK = 48
_CONTEXT_COLUMNS = (
    "layer",
    "neuron",
    "sign",
    "rank",
    "activation",
    "dataset",
    "text_id",
    "position",
    "start",
    "token_ids",
    "values",
)
# Of these tables the rows of a neuron stand beside its contexts.
_BESIDE: dict[str, TableSchema] = {
    "activity": ACTIVITY,
    "words": CONTEXT_WORDS,
    "neighbours": NEIGHBOURS,
}


def context_chunks(
    tables: Collection, model: str, token_text: Callable[[int], str | None]
) -> Iterator[Chunk]:
    """Everything that the atlas shows of the texts on which a model's neurons fire.

    Args:
        tables: The contexts, and what there is of activity, words and neighbours.
        model: The model.
        token_text: The text of a token id.

    Yields:
        `layer-LL-NNNN` with neurons of one layer and, last, `index`.

    Raises:
        UserError: A table is missing or damaged.
    """
    layers: dict[str, dict[str, int]] = {}
    datasets: list[str] = []
    for layer, rows in _by_layer(tables, model):
        kept = rows.filter(pa.compute.less_equal(rows.column("rank"), SHOWN)).combine_chunks()
        beside = {name: _beside(tables, schema, model, layer) for name, schema in _BESIDE.items()}
        known = {int(key) for found in beside.values() for key in found}
        n_neurons = max({*kept.column("neuron").to_pylist(), *known}) + 1
        layers[str(layer)] = {"neurons": n_neurons, "block": BLOCK}
        for number, start in enumerate(range(0, n_neurons, BLOCK)):
            numbers = range(start, min(start + BLOCK, n_neurons))
            document = _block(kept, numbers, datasets, token_text)
            for name, found in beside.items():
                for neuron in numbers:
                    if str(neuron) in found:
                        own = document["neurons"].setdefault(str(neuron), {"contexts": []})
                        own[name] = found[str(neuron)]
            yield layer_chunk(layer, number), document
    yield "index", {"model": model, "layers": layers, "datasets": datasets}


def _by_layer(tables: Collection, model: str) -> Iterator[tuple[int, pa.Table]]:
    """Contexts layer by layer; none in every layer where no text was read."""
    if tables.has(CONTEXTS, model=model):
        yield from by_layer(tables, CONTEXTS, model, _CONTEXT_COLUMNS)
        return
    types = [(column.name, column.type) for column in CONTEXTS.columns]
    empty = pa.schema(types).empty_table()
    for layer in tables.frame(NEIGHBOURS, ["layer"], model=model)["layer"].unique():
        yield int(layer), empty


def _beside(
    tables: Collection, schema: TableSchema, model: str, layer: int
) -> dict[str, dict[str, list[Any]]]:
    """Rows of a layer's neurons by neuron, as plain columns."""
    if not tables.has(schema, model=model):
        return {}
    frame = tables.frame(schema, None, [("layer", "=", layer)], model=model)
    frame = frame.sort_values("neuron", kind="stable")
    plain = columns(frame.drop(columns=["layer", "neuron"]))
    neurons, starts = np.unique(frame["neuron"].to_numpy(), return_index=True)
    bounds = [*starts.tolist(), len(frame)]
    return {
        str(neuron): {name: values[bounds[n] : bounds[n + 1]] for name, values in plain.items()}
        for n, neuron in enumerate(neurons.tolist())
    }


def _block(
    rows: pa.Table, numbers: range, datasets: list[str], token_text: Callable[[int], str | None]
) -> dict[str, Any]:
    """The contexts of some neurons, with a list of their own tokens."""
    neurons = rows.column("neuron").to_numpy()
    # The table is sorted by neuron inside a layer.
    start, stop = np.searchsorted(neurons, [numbers.start, numbers.stop])
    part = rows.slice(start, stop - start)
    ids = part.column("token_ids").combine_chunks()
    flat = ids.flatten().to_numpy()
    distinct, codes = np.unique(flat, return_inverse=True)
    values = significant(part.column("values").combine_chunks().flatten().to_numpy(), 3)
    bounds = [0, *np.cumsum(pa.compute.list_value_length(ids).to_numpy()).tolist()]
    strongest = (part.column("position").to_numpy() - part.column("start").to_numpy()).tolist()
    activations = significant(part.column("activation").to_numpy())
    plain = {name: part.column(name).to_pylist() for name in ("neuron", "sign", "text_id")}
    places = [_place(datasets, name) for name in part.column("dataset").to_pylist()]
    found: dict[str, Any] = {}
    code_list = codes.ravel().tolist()
    for row, neuron in enumerate(plain["neuron"]):
        window = slice(bounds[row], bounds[row + 1])
        found.setdefault(str(neuron), {"contexts": []})["contexts"].append(
            {
                "sign": plain["sign"][row],
                "activation": activations[row],
                "dataset": places[row],
                "text_id": plain["text_id"][row],
                "strongest": strongest[row],
                "tokens": code_list[window],
                "values": values[window],
            }
        )
    return {"tokens": [token_text(token) for token in distinct.tolist()], "neurons": found}


def _place(names: list[str], name: str) -> int:
    """The place of a name in a list, to which a new one is added."""
    if name not in names:
        names.append(name)
    return names.index(name)
