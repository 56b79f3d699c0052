"""Turn the sweeps of one task into curves and depths."""

from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.patching import Manipulation, PatchingSummary
from llm_anatomy.patching.summary import Bootstrap, curve_rows, curves_of, depth_rows, subset_rows
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_arrow, read_provenance, read_table, write_table
from llm_anatomy.tables.patching import CURVES, DEPTHS, FLOORS, SWEEP


class SummaryStage(Settings):
    """Settings of the stage."""

    seed: int
    summary: PatchingSummary
    manipulations: list[Manipulation]


def run(
    settings: SummaryStage,
    *,
    floors: Path,
    sweeps: tuple[Path, ...],
    curves: Path,
    depths: Path,
) -> None:
    """Read a task's sweeps, the clean run first, and write score curves and depths."""
    highest: dict[str, float] = {}
    for floor in read_arrow(floors, FLOORS).to_pylist():
        highest[floor["metric"]] = max(floor["value"], highest.get(floor["metric"], 0.0))
    clean = read_table(sweeps[0], SWEEP)
    n_layers = int(clean["layer"].iloc[0])
    curve_parts, depth_parts = [], []
    for manipulation, path in zip(settings.manipulations, sweeps[1:], strict=True):
        sweep = read_table(path, SWEEP)
        for _, chosen in sweep.groupby("strength", dropna=False, sort=True):
            strength = chosen["strength"].iloc[0]
            for subset, records in subset_rows(chosen, clean):
                named = {
                    "manipulation": manipulation.name,
                    "strength": None if pd.isna(strength) else float(strength),
                    "subset": subset,
                }
                made = curves_of(records, clean, highest)
                bootstrap = Bootstrap(len(made[0].values), settings.summary, settings.seed)
                for curve in made:
                    rows = curve_rows(curve, settings.summary, bootstrap, n_layers)
                    curve_parts += [named | row for row in rows]
                rows = depth_rows(made, settings.summary, bootstrap, n_layers)
                depth_parts += [named | row for row in rows]
    provenance = read_provenance(sweeps[0]) | {"summary": settings.model_dump(mode="json")}
    for path, schema, parts in ((curves, CURVES, curve_parts), (depths, DEPTHS, depth_parts)):
        frame = pd.DataFrame(parts, columns=[column.name for column in schema.columns])
        write_table(path, schema, frame, provenance)


if __name__ == "__main__":
    run_stage(run)
