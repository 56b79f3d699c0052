"""Write neurons with their contexts for other viewers.

`neuronpedia` writes the lines of Neuronpedia's bulk import, a folder per layer below
`folder/MODEL/`; `saedashboard` writes `folder/MODEL/LAYER/batch-N.json`. What is exported are the
tables of results/neurons/MODEL: the tokens of the down columns, the strongest texts of positive
activations, how active a neuron is, and the closest neurons of its layer.
"""

import gzip
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from llm_anatomy.artefacts.files import atomic_path
from llm_anatomy.config.ranges import check_layer
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.export import (
    Described,
    LayerTables,
    neuronpedia_activations,
    neuronpedia_features,
    neuronpedia_heads,
    saedashboard_batch,
    source_id,
)
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.tables.contexts import ACTIVITY, CONTEXTS, NEIGHBOURS
from llm_anatomy.tables.core import TableSchema, read_provenance, read_table
from llm_anatomy.tables.neurons import VOCABULARY

logger = logging.getLogger(__name__)

Form = Literal["neuronpedia", "saedashboard"]
# Neurons in one file of features.
BATCH = 256


def export(model: str, form: Form, layers: Sequence[int] | None, folder: Path) -> None:
    """Export some layers of a model; all where none are named.

    Raises:
        UserError: A table is missing or damaged, the model has no such layer, or its contexts are
            of another tensor than what the viewers show.
    """
    weights = ModelWeights(Path("results/models") / model)
    for layer in layers or ():
        check_layer("--layer", layer, weights.n_layers, f"the model '{model}'")
    words = Vocabulary(weights.folder).texts
    for layer in layers or range(weights.n_layers):
        tables = _read(model, layer, weights, words)
        described = _describe(model, weights, tables)
        if form == "neuronpedia":
            _neuronpedia(folder / model / source_id(layer), described, tables)
        else:
            _saedashboard(folder / model / str(layer), described, tables)
        logger.info("%s, layer %d: %d neurons", model, layer, len(tables.activity))


def _read(
    model: str, layer: int, weights: ModelWeights, words: Sequence[str | None]
) -> LayerTables:
    def table(schema: TableSchema, *where: Any) -> Any:
        return read_table(_path(schema, model), schema, where=[("layer", "=", layer), *where])

    return LayerTables(
        layer,
        table(VOCABULARY, ("matrix", "=", "down")),
        table(CONTEXTS, ("sign", "=", 1)),
        table(ACTIVITY),
        table(NEIGHBOURS),
        weights.vectors(layer, "down").to(torch.float32).numpy(),
        words,
    )


def _describe(model: str, weights: ModelWeights, tables: LayerTables) -> Described:
    path = _path(CONTEXTS, model)
    made = read_provenance(path)
    if (site := made["contexts"]["site"]) != "activation":
        raise UserError(
            f"{path} holds contexts of the tensor '{site}', but viewers show what enters the down "
            "projection; set neurons.contexts.site to 'activation' and find them again"
        )
    names = ", ".join(dict.fromkeys(tables.contexts["dataset"]))
    neurons = len(tables.activity)
    return Described(
        model, weights.n_layers, neurons, weights.d_model, names, made["read"], made["contexts"]
    )


def _path(schema: TableSchema, model: str) -> Path:
    return Path(schema.path.format(model=model))


def _neuronpedia(folder: Path, described: Described, tables: LayerTables) -> None:
    for name, line in neuronpedia_heads(described, tables.layer).items():
        with atomic_path(folder / f"{name}.jsonl") as file:
            file.write_text(_json(line) + "\n", encoding="utf-8")
    features = list(neuronpedia_features(described, tables))
    activations = list(neuronpedia_activations(described, tables))
    for batch, start in enumerate(range(0, len(features), BATCH)):
        own = range(start, start + BATCH)
        _lines(folder / f"features/batch-{batch}.jsonl.gz", features[start : start + BATCH])
        texts = (line for line in activations if int(line["index"]) in own)
        _lines(folder / f"activations/batch-{batch}.jsonl.gz", texts)


def _saedashboard(folder: Path, described: Described, tables: LayerTables) -> None:
    for batch, start in enumerate(range(0, described.neurons, BATCH)):
        written = saedashboard_batch(described, tables, range(start, start + BATCH))
        with atomic_path(folder / f"batch-{batch}.json") as file:
            file.write_text(_json(written) + "\n", encoding="utf-8")


def _lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    text = "".join(_json(line) + "\n" for line in lines)
    with atomic_path(path) as file:
        # Without a time, so that the same tables give the same bytes.
        file.write_bytes(gzip.compress(text.encode(), mtime=0))


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
