"""Run one manipulation of one task over every layer; `none` is the clean model."""

from pathlib import Path
from typing import Literal

import pandas as pd

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.patching import (
    ExtractiveQaTask,
    Manipulation,
    RelationTask,
    SummarisationTask,
    Task,
    needs_subject,
)
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.patching.cases import cases_for
from llm_anatomy.patching.scoring import Judge, Scoring
from llm_anatomy.patching.sweep import Engine
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_arrow, write_table
from llm_anatomy.tables.patching import EXAMPLES, PAIRS, SWEEP


class SweepStage(Settings):
    """Settings of the stage."""

    seed: int
    precision: Precision
    task: Task
    manipulation: Manipulation | None
    layers: list[int] | None
    method: Literal["fast", "reference"]


def run(settings: SweepStage, *, model: Path, examples: Path, pairs: Path, sweep: Path) -> None:
    """Read a task's examples and pairs, sweep the layers, and write one record per run."""
    manipulation = settings.manipulation
    if needs_subject(manipulation) and not isinstance(settings.task, RelationTask):
        assert manipulation is not None
        raise UserError(
            f"patching.manipulations: '{manipulation.name}' is defined by the subject's position, "
            f"and the task '{settings.task.name}' has no subjects; leave it out of the task's "
            "`manipulations`"
        )
    cases = cases_for(
        manipulation,
        read_arrow(examples, EXAMPLES).to_pylist(),
        read_arrow(pairs, PAIRS).to_pylist(),
    )
    compute = compute_settings()
    loaded = load_model(model, settings.precision, compute)
    n_layers = loaded.decoder.n_layers
    engine = Engine(
        replay=Replay(loaded.decoder),
        judge=judge_for(settings.task, loaded),
        seed=settings.seed,
        layers=tuple(sorted(settings.layers if settings.layers is not None else range(n_layers))),
        budget=compute.batch_tokens,
        method=settings.method,
    )
    name = "none" if manipulation is None else manipulation.name
    records = engine.sweep(manipulation, cases, f"{settings.task.name}, {name}")
    frame = pd.DataFrame(records, columns=[column.name for column in SWEEP.columns])
    provenance = loaded.provenance | settings.model_dump(mode="json")
    write_table(sweep, SWEEP, frame, provenance)


def judge_for(task: Task, loaded: LoadedModel) -> Judge:
    """How a task's answers are read and scored."""
    scoring: Scoring = "first_token" if task.max_new_tokens == 1 else "continuation"
    if isinstance(task, ExtractiveQaTask):
        scoring = "span"
    elif isinstance(task, SummarisationTask):
        scoring = "summary"
    ends = loaded.decoder.model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    tokens = {*ends, loaded.tokenizer.eos_token_id} - {None}
    return Judge(loaded.tokenizer, scoring, task.max_new_tokens, frozenset(tokens))


if __name__ == "__main__":
    run_stage(run)
