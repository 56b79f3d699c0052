"""Score the units of a model on a relation's facts, and put the scores to the test."""

from pathlib import Path

from llm_anatomy.attribution.study import attribute_units
from llm_anatomy.config.attribution import UnitAttribution
from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.collection import write_tables
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.facts import FACTS


class UnitStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    units: UnitAttribution


def run(settings: UnitStage, *, model: Path, facts: Path, results: tuple[Path, ...]) -> None:
    """Read a relation's facts; write scores of units, exact losses and faithfulness."""
    compute = compute_settings()
    loaded = load_model(model, settings.precision, compute)
    study = attribute_units(
        loaded, read_table(facts, FACTS), settings.units, settings.seed, loaded.batch_tokens
    )
    provenance = loaded.provenance | {
        "seed": settings.seed,
        "units": settings.units.model_dump(mode="json"),
        "facts": study.counts,
        "set_aside": study.reasons,
    }
    write_tables(results, study.frames, provenance)


if __name__ == "__main__":
    run_stage(run)
