"""Test the paper's claims about manipulated previous tokens."""

from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.patching import (
    Manipulation,
    PatchingSettings,
    Skip,
    StatesManipulation,
)
from llm_anatomy.patching.claims import TaskTables, patching_claims
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.patching import CURVES, DEPTHS


class ClaimStage(Settings):
    """What this stage reads of the configuration; paths come model by model, tasks inside."""

    models: list[str]
    patching: PatchingSettings


def run(
    settings: ClaimStage, *, curves: tuple[Path, ...], depths: tuple[Path, ...], claims: Path
) -> None:
    """Read every summary; write what the paper says, what was measured, and a verdict."""
    runs = [(model, task) for model in settings.models for task in settings.patching.tasks]
    rows = []
    for (model, task), curve_path, depth_path in zip(runs, curves, depths, strict=True):
        kinds = {
            manipulation.name: manipulation.kind
            for manipulation in settings.patching.task_manipulations(task.name)
            if _as_in_the_paper(manipulation)
        }
        tables = TaskTables(
            model=model,
            task=task.name,
            task_kind=task.kind,
            kinds=kinds,
            curves=read_table(curve_path, CURVES),
            depths=read_table(depth_path, DEPTHS),
        )
        rows.extend(patching_claims(tables))
    provenance = {
        "settings": settings.model_dump(mode="json"),
        "models": [read_provenance(path) for path in curves],
    }
    frame = pd.DataFrame(rows, columns=[column.name for column in CLAIMS.columns])
    write_table(claims, CLAIMS, frame, provenance)


def _as_in_the_paper(manipulation: Manipulation) -> bool:
    """Whether it is the paper's: all previous tokens, and attention skipped up to the top."""
    if isinstance(manipulation, Skip):
        return manipulation.width is None
    if isinstance(manipulation, StatesManipulation):
        return manipulation.positions == "previous" and not manipulation.keep_first
    return True


if __name__ == "__main__":
    run_stage(run)
