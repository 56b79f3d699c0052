"""Make a task's examples, switch pairs, chance floors and intake for one model's tokenizer."""

from pathlib import Path
from typing import Any

from llm_anatomy.config.base import Settings
from llm_anatomy.config.patching import Manipulation, Task
from llm_anatomy.model.run.tokenizer import read_tokenizer
from llm_anatomy.patching.examples import build_task
from llm_anatomy.patching.tasks import Record
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_arrow, read_provenance, write_table
from llm_anatomy.tables.data import TABLE_OF_KIND
from llm_anatomy.tables.patching import EXAMPLES, FLOORS, INTAKE, PAIRS


class BuildTasksStage(Settings):
    """Settings of the stage."""

    seed: int
    task: Task
    manipulations: list[Manipulation]


def run(
    settings: BuildTasksStage,
    *,
    model: Path,
    source: tuple[Path, ...],
    examples: Path,
    pairs: Path,
    floors: Path,
    intake: Path,
) -> None:
    """Read a task's source, tokenise it for a model, and write what can be used and what cannot."""
    tokenizer, context = read_tokenizer(model)
    records, provenance = _read_source(settings.task, source)
    of_task, seed, swept = settings.task, settings.seed, settings.manipulations
    task = build_task(of_task, records, tokenizer, context=context, manipulations=swept, seed=seed)
    provenance |= {"seed": settings.seed, "task": settings.task.model_dump(mode="json")}
    write_table(examples, EXAMPLES, task.examples, provenance)
    write_table(pairs, PAIRS, task.pairs, provenance)
    write_table(floors, FLOORS, task.floors, provenance)
    write_table(intake, INTAKE, task.intake, provenance)


def _read_source(task: Task, source: tuple[Path, ...]) -> tuple[list[Record], dict[str, Any]]:
    """The rows that a task reads, and what their table says of its own origin."""
    if task.data is None:
        return [], {}
    (table,), (kind, _) = source, task.data
    return read_arrow(table, TABLE_OF_KIND[kind]).to_pylist(), {"data": read_provenance(table)}


if __name__ == "__main__":
    run_stage(run)
