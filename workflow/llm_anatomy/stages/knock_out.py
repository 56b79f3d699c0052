"""Switch units off, fact by fact, and read what is left of each answer."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.facts import Attribution, KnockOut
from llm_anatomy.facts.interventions import knock_out
from llm_anatomy.facts.selections import UnitTables
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.collection import Collection, write_tables
from llm_anatomy.tables.core import content_hashes
from llm_anatomy.tables.facts import (
    ATTENTION_NEURON_IMPORTANCE,
    FACTS,
    HEAD_IMPORTANCE,
    LAYER_IMPORTANCE,
    NEURON_IMPORTANCE,
    QUERY_NEURONS,
)

READ = (
    FACTS,
    LAYER_IMPORTANCE,
    HEAD_IMPORTANCE,
    NEURON_IMPORTANCE,
    ATTENTION_NEURON_IMPORTANCE,
)


class KnockOutStage(Settings):
    """What this stage reads of the configuration: `relations` says in which order facts come."""

    seed: int
    precision: Precision
    relations: list[str]
    attribution: Attribution
    knock_out: KnockOut


def run(
    settings: KnockOutStage, *, model: Path, tables: tuple[Path, ...], results: tuple[Path, ...]
) -> None:
    """Read facts and their units; write every answer without them, and where methods look."""
    collection, compute = Collection(tables, (*READ, QUERY_NEURONS)), compute_settings()
    facts, layers, heads, neurons, attention_neurons = (
        collection.joined(schema, relation=settings.relations) for schema in READ
    )
    loaded = load_model(model, settings.precision, compute)
    frames = knock_out(
        loaded,
        facts,
        UnitTables(layers, heads, neurons, attention_neurons, collection.joined(QUERY_NEURONS)),
        settings.attribution,
        settings.knock_out,
        settings.seed,
        loaded.batch_tokens,
    )
    provenance = loaded.provenance | {
        **settings.model_dump(mode="json", include={"seed", "knock_out"}),
        "inputs": content_hashes(tables),
    }
    write_tables(results, frames, provenance)


if __name__ == "__main__":
    run_stage(run)
