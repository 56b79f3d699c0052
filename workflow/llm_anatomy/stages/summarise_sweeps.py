"""Turn the sweeps of one task into curves and depths."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.patching import PatchingSummary
from llm_anatomy.patching.summary import summarise_sweeps
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.patching import CURVES, DEPTHS, FLOORS, SWEEPS


class SweepSummaryStage(Settings):
    """Settings of the stage."""

    seed: int
    summary: PatchingSummary


def run(
    settings: SweepSummaryStage, *, floors: Path, sweeps: Path, curves: Path, depths: Path
) -> None:
    """Read a task's sweeps and chance floors, and write score curves and depths."""
    curve_table, depth_table = summarise_sweeps(
        read_table(sweeps, SWEEPS), read_table(floors, FLOORS), settings.summary, settings.seed
    )
    provenance = read_provenance(sweeps) | {"summary": settings.model_dump(mode="json")}
    write_table(curves, CURVES, curve_table, provenance)
    write_table(depths, DEPTHS, depth_table, provenance)


if __name__ == "__main__":
    run_stage(run)
