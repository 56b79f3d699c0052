"""The study's experiment: every manipulation of one task, swept over the layers of a model.

Source: Ben-Artzy and Schwartz (arXiv 2409.03621), section 3.
"""

from collections.abc import Sequence
from typing import Literal

import pandas as pd

from llm_anatomy.config.patching import Manipulation, RelationTask, Task, needs_subject
from llm_anatomy.config.ranges import check_layer
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.patching.cases import cases_for
from llm_anatomy.patching.scoring import ContinuationScorer
from llm_anatomy.patching.sweep import Engine, Sweep
from llm_anatomy.tables.patching import SWEEPS


def sweep_task(
    loaded: LoadedModel,
    task: Task,
    examples: pd.DataFrame,
    pairs: pd.DataFrame,
    manipulations: Sequence[Manipulation],
    *,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    method: Literal["fast", "reference"] = "fast",
    batch_tokens: int = 2048,
) -> pd.DataFrame:
    """A model's answers to a task, clean and under every manipulation at every layer k.

    Args:
        loaded: The model.
        task: The task.
        examples: Its examples, table `patching/examples`.
        pairs: Its switches, table `patching/pairs`.
        manipulations: The manipulations.
        layers: Layers k to sweep, counted from 0; None sweeps all.
        seed: Seed of the noise.
        method: `reference` runs one full forward pass with hooks per layer, draw and example.
        batch_tokens: Most tokens in one call of a block.

    Returns:
        Table `patching/sweeps`, the clean run first.

    Raises:
        UserError: The model has not such a layer, or a manipulation needs a subject and the task
            has none.
    """
    _check_subjects(task, manipulations)
    swept = _layers_of(layers, loaded.decoder.n_layers)
    engine = Engine(
        replay=Replay(loaded.decoder),
        scorer=ContinuationScorer.of_task(task, loaded),
        seed=seed,
        layers=swept,
        budget=batch_tokens,
        method=method,
    )
    sweeps = [Sweep(m, cases_for(m, examples, pairs)) for m in (None, *manipulations)]
    return SWEEPS.frame(engine.run(sweeps, task.name))


def _check_subjects(task: Task, manipulations: Sequence[Manipulation]) -> None:
    for manipulation in manipulations:
        if needs_subject(manipulation) and not isinstance(task, RelationTask):
            raise UserError(
                f"patching.manipulations: '{manipulation.name}' is defined by the subject's "
                f"position, and the task '{task.name}' has no subjects; leave it out of the task's "
                "`manipulations`"
            )


def _layers_of(layers: Sequence[int] | None, n_layers: int) -> tuple[int, ...]:
    """The layers to sweep, ascending, all of which the model has."""
    if layers is None:
        return tuple(range(n_layers))
    for layer in layers:
        check_layer("patching.layers", layer, n_layers)
    if not layers or len(set(layers)) < len(layers):
        raise UserError("patching.layers must name at least one layer, and none twice")
    return tuple(sorted(layers))
