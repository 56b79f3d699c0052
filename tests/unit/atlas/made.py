"""Tables made by hand, from which parts of the atlas are written in tests."""

import itertools

import numpy as np
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.contexts import ACTIVITY, CONTEXT_WORDS, CONTEXTS, NEIGHBOURS
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.neurons import CONCEPTS, STATISTICS, TABLES, VOCABULARY

MATRICES = ("up", "gate", "down")
HOSTILE = (
    "</script><script>window.broken = 1</script>",
    "<img src=x onerror=window.broken=1>",
    "\u2028",
    " <b>bold</b>",
    "{{constructor}}",
    "javascript:window.broken=1",
)


def write(folder, schema, rows, **owner):
    """Write one table where its schema lies, below a folder."""
    path = folder / schema.path.format(**owner)
    write_table(path, schema, schema.frame(rows), {"normalisation": "raw"})
    return path


def map_rows(n_layers, n_neurons, k, tokens, seed=0):
    """Rows of a map and its statistics: random tokens and logits, in the table's order."""
    random = np.random.default_rng(seed)
    vocabulary, statistics = [], []
    for layer, neuron, matrix in itertools.product(range(n_layers), range(n_neurons), MATRICES):
        values = {
            column.name: float(random.normal())
            for column in STATISTICS.columns
            if column.name not in ("layer", "neuron", "matrix")
        }
        values["std"] = abs(values["std"]) + 0.1
        statistics.append({"layer": layer, "neuron": neuron, "matrix": matrix, **values})
        for sign, rank in itertools.product((1, -1), range(1, k + 1)):
            place = int(random.integers(len(tokens)))
            vocabulary.append(
                {
                    "layer": layer,
                    "neuron": neuron,
                    "matrix": matrix,
                    "sign": sign,
                    "rank": rank,
                    "token_id": place,
                    "token": tokens[place],
                    "logit": float(random.normal()),
                    "probability": float(random.uniform()),
                }
            )
    return vocabulary, statistics


def neuron_tables(folder, model="m", n_layers=2, n_neurons=7, k=3, tokens=("a", " A", "b", None)):
    """The map of a model with its statistics, and concepts without any."""
    vocabulary, statistics = map_rows(n_layers, n_neurons, k, tokens)
    paths = [
        write(folder, VOCABULARY, vocabulary, model=model),
        write(folder, STATISTICS, statistics, model=model),
        write(folder, CONCEPTS, [], model=model),
    ]
    return Collection(paths, TABLES), vocabulary, statistics


def context_rows(n_layers, n_neurons, texts, seed=0):
    """Contexts of every neuron but the last of each layer, three of each sign."""
    random = np.random.default_rng(seed)
    rows = []
    for layer, neuron, sign in itertools.product(range(n_layers), range(n_neurons - 1), (1, -1)):
        for rank in range(1, 4):
            length = int(random.integers(1, 6))
            strongest = int(random.integers(length))
            values = random.uniform(-1, 1, length)
            values[strongest] = sign * (5.0 - rank)
            rows.append(
                {
                    "layer": layer,
                    "neuron": neuron,
                    "sign": sign,
                    "rank": rank,
                    "activation": values[strongest],
                    "dataset": texts,
                    "text_id": f"t{rank}",
                    "position": 4 + strongest,
                    "token_id": 1,
                    "token": "x",
                    "before": "",
                    "after": "",
                    "start": 4,
                    "token_ids": random.integers(0, 6, length).tolist(),
                    "values": values.tolist(),
                }
            )
    return rows


def context_tables(folder, model="m", n_layers=2, n_neurons=60):
    """Contexts and neighbours of a model, with nothing of activity and words."""
    contexts = context_rows(n_layers, n_neurons, "remarks")
    neighbours = [
        {
            "layer": layer,
            "neuron": neuron,
            "measure": measure,
            "rank": 1,
            "other_layer": 0,
            "other_neuron": (neuron + 1) % n_neurons,
            "similarity": 0.5,
        }
        # By measure first: the order of rows is not relied on.
        for measure in ("up", "activation")
        for layer in range(n_layers)
        for neuron in range(n_neurons)
    ]
    paths = [
        write(folder, CONTEXTS, contexts, model=model),
        write(folder, NEIGHBOURS, neighbours, model=model),
    ]
    return Collection(paths, [CONTEXTS, ACTIVITY, CONTEXT_WORDS, NEIGHBOURS]), contexts
