"""Run a task clean and under every manipulation over every layer."""

from pathlib import Path
from typing import Literal

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.patching import Manipulation, Task
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.patching.experiment import sweep_task
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.patching import EXAMPLES, PAIRS, SWEEPS


class SweepStage(Settings):
    """Settings of the stage."""

    seed: int
    precision: Precision
    task: Task
    manipulations: list[Manipulation]
    layers: list[int] | None
    method: Literal["fast", "reference"]


def run(settings: SweepStage, *, model: Path, examples: Path, pairs: Path, sweeps: Path) -> None:
    """Read a task's examples and pairs, sweep the layers, and write one record per run."""
    compute = compute_settings()
    loaded = load_model(model, settings.precision, compute)
    table = sweep_task(
        loaded,
        settings.task,
        read_table(examples, EXAMPLES),
        read_table(pairs, PAIRS),
        settings.manipulations,
        layers=settings.layers,
        seed=settings.seed,
        method=settings.method,
        batch_tokens=loaded.batch_tokens,
    )
    write_table(sweeps, SWEEPS, table, loaded.provenance | settings.model_dump(mode="json"))


if __name__ == "__main__":
    run_stage(run)
