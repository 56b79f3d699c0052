"""Ask a relation's facts, and find which layers, heads and neurons bring each answer about."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.facts import Attribution, FactFilter, FactRelation
from llm_anatomy.facts.experiment import attribute_facts
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.collection import write_tables
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.data import RELATION


class AttributionStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    relation: FactRelation
    filter: FactFilter
    attribution: Attribution


def run(
    settings: AttributionStage, *, model: Path, relation: Path, results: tuple[Path, ...]
) -> None:
    """Read a relation; write its facts, what was set aside, and the importance of every unit."""
    compute = compute_settings()
    loaded = load_model(model, settings.precision, compute)
    result = attribute_facts(
        loaded,
        read_table(relation, RELATION),
        settings.relation,
        settings.filter,
        settings.attribution,
        seed=settings.seed,
        batch_tokens=loaded.batch_tokens,
    )
    provenance = loaded.provenance | {
        **settings.model_dump(mode="json", exclude={"precision"}),
        "template": result.template,
        "outcomes": result.outcomes,
    }
    write_tables(results, result.frames, provenance)


if __name__ == "__main__":
    run_stage(run)
