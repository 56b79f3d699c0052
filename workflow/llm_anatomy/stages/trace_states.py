"""Read the states of a relation's prompts by layer and position, and restore them one by one."""

from pathlib import Path

from llm_anatomy.attribution.grids import trace_states
from llm_anatomy.config.attribution import Grids
from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.collection import write_tables
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.facts import FACTS


class GridStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    grids: Grids


def run(settings: GridStage, *, model: Path, facts: Path, results: tuple[Path, ...]) -> None:
    """Read a relation's facts; write the grids of logit lens and causal tracing."""
    compute = compute_settings()
    loaded = load_model(model, settings.precision, compute)
    study = trace_states(
        loaded, read_table(facts, FACTS), settings.grids, settings.seed, loaded.batch_tokens
    )
    provenance = loaded.provenance | {
        "seed": settings.seed,
        "grids": settings.grids.model_dump(mode="json"),
        "facts": study.counts,
        "set_aside": study.reasons,
    }
    write_tables(results, study.frames, provenance)


if __name__ == "__main__":
    run_stage(run)
