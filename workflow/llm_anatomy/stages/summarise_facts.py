"""Average every relation's importance, knock-outs and shared neurons; no model is needed."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.facts.summary import summarise
from llm_anatomy.runner import run_stage
from llm_anatomy.tables import facts
from llm_anatomy.tables.collection import Collection, write_tables
from llm_anatomy.tables.core import read_provenance, read_table

READ = (facts.LAYER_IMPORTANCE, facts.HEAD_IMPORTANCE, facts.NEURON_IMPORTANCE)


class FactSummaryStage(Settings):
    """What this stage reads of the configuration: `relations` says in which order they come."""

    relations: list[str]


def run(
    settings: FactSummaryStage,
    *,
    tables: tuple[Path, ...],
    query_layers: Path,
    query_neurons: Path,
    knock_out: Path,
    summaries: tuple[Path, ...],
) -> None:
    """Read a model's tables of every relation; write means, knock-outs and shared neurons."""
    collection = Collection(tables, READ)
    layers, heads, neurons = (
        collection.joined(schema, relation=settings.relations) for schema in READ
    )
    frames = summarise(
        layers,
        heads,
        neurons,
        read_table(query_layers, facts.QUERY_LAYERS),
        read_table(query_neurons, facts.QUERY_NEURONS),
        read_table(knock_out, facts.KNOCK_OUT),
    )
    write_tables(summaries, frames, read_provenance(knock_out))


if __name__ == "__main__":
    run_stage(run)
