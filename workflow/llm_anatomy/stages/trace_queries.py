"""Find what activates the value neurons of every fact: query layers and query neurons."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.facts import Queries
from llm_anatomy.facts.experiment import trace_queries
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.collection import Collection, write_tables
from llm_anatomy.tables.core import content_hashes
from llm_anatomy.tables.facts import ATTENTION_NEURON_IMPORTANCE, FACTS, NEURON_IMPORTANCE

READ = (FACTS, NEURON_IMPORTANCE, ATTENTION_NEURON_IMPORTANCE)


class QueryStage(Settings):
    """What this stage reads of the configuration: `relations` says in which order facts come."""

    precision: Precision
    relations: list[str]
    queries: Queries


def run(
    settings: QueryStage, *, model: Path, tables: tuple[Path, ...], results: tuple[Path, ...]
) -> None:
    """Read every relation's facts and value neurons; write query layers and query neurons."""
    collection, compute = Collection(tables, READ), compute_settings()
    facts, neurons, attention_neurons = (
        collection.joined(schema, relation=settings.relations) for schema in READ
    )
    loaded = load_model(model, settings.precision, compute)
    frames = trace_queries(
        loaded, facts, neurons, attention_neurons, settings.queries, loaded.batch_tokens
    )
    provenance = loaded.provenance | {
        "queries": settings.queries.model_dump(),
        "inputs": content_hashes(tables),
    }
    write_tables(results, frames, provenance)


if __name__ == "__main__":
    run_stage(run)
