"""Switch units off, fact by fact, and read what is left of each answer."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.facts import Attribution, KnockOut
from llm_anatomy.facts.interventions import knock_out as knock_out_units
from llm_anatomy.facts.selections import UnitTables
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables import facts
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import content_hashes, read_table, write_table

READ = (
    facts.FACTS,
    facts.LAYER_IMPORTANCE,
    facts.HEAD_IMPORTANCE,
    facts.NEURON_IMPORTANCE,
    facts.ATTENTION_NEURON_IMPORTANCE,
)


class KnockOutStage(Settings):
    """What this stage reads of the configuration: `relations` says in which order facts come."""

    seed: int
    precision: Precision
    relations: list[str]
    attribution: Attribution
    knock_out: KnockOut


def run(
    settings: KnockOutStage,
    *,
    model: Path,
    tables: tuple[Path, ...],
    query_neurons: Path,
    knock_out: Path,
    method_layers: Path,
) -> None:
    """Read facts and their units; write every answer without them, and where methods look."""
    collection = Collection(tables, READ)
    known, *frames = (collection.joined(schema, relation=settings.relations) for schema in READ)
    units = UnitTables(*frames, read_table(query_neurons, facts.QUERY_NEURONS))
    compute = compute_settings()
    loaded, at_once = load_model(model, settings.precision, compute), compute.batch_tokens
    result = knock_out_units(
        loaded, known, units, settings.attribution, settings.knock_out, settings.seed, at_once
    )
    provenance = loaded.provenance | {
        "seed": settings.seed,
        "knock_out": settings.knock_out.model_dump(mode="json"),
        "inputs": content_hashes((*tables, query_neurons)),
    }
    write_table(knock_out, facts.KNOCK_OUT, result.answers, provenance)
    write_table(method_layers, facts.METHOD_LAYERS, result.method_layers, provenance)


if __name__ == "__main__":
    run_stage(run)
