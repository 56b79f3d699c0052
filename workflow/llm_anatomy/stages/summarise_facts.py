"""Average every relation's importance, knock-outs and shared neurons; no model is needed."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.facts.summary import summarise
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.collection import Collection, write_tables
from llm_anatomy.tables.facts import (
    HEAD_IMPORTANCE,
    KNOCK_OUT,
    LAYER_IMPORTANCE,
    NEURON_IMPORTANCE,
    QUERY_LAYERS,
    QUERY_NEURONS,
)

OF_RELATIONS = (LAYER_IMPORTANCE, HEAD_IMPORTANCE, NEURON_IMPORTANCE)
OF_MODEL = (QUERY_LAYERS, QUERY_NEURONS, KNOCK_OUT)


class FactSummaryStage(Settings):
    """What this stage reads of the configuration: `relations` says in which order they come."""

    relations: list[str]


def run(settings: FactSummaryStage, *, tables: tuple[Path, ...], results: tuple[Path, ...]) -> None:
    """Read a model's tables of every relation; write means, knock-outs and shared neurons."""
    collection = Collection(tables, (*OF_RELATIONS, *OF_MODEL))
    layers, heads, neurons = (
        collection.joined(schema, relation=settings.relations) for schema in OF_RELATIONS
    )
    query_layers, query_neurons, answers = (collection.joined(schema) for schema in OF_MODEL)
    frames = summarise(layers, heads, neurons, query_layers, query_neurons, answers)
    (owner,) = collection.owners(KNOCK_OUT)
    write_tables(results, frames, collection.provenance(KNOCK_OUT, **owner))


if __name__ == "__main__":
    run_stage(run)
