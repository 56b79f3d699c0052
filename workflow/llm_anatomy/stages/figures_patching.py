"""Draw the figures of the patching study."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.patching import CONTROL, PatchingSettings, RelationTask
from llm_anatomy.figures import patching as draw
from llm_anatomy.figures.exhibit import Exhibit, set_style, write_exhibits
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.patching import CURVES, DEPTHS, INTAKE, PAIRS, SWEEPS


class FigureStage(Settings):
    """What this stage reads of the configuration; paths come model by model, tasks inside."""

    models: list[str]
    patching: PatchingSettings


def run(
    settings: FigureStage,
    *,
    curves: tuple[Path, ...],
    depths: tuple[Path, ...],
    sweeps: tuple[Path, ...],
    intake: tuple[Path, ...],
    pairs: tuple[Path, ...],
    figures: Path,
) -> None:
    """Read every summary; write PNG files and their captions into one folder."""
    set_style()
    figures.mkdir(parents=True, exist_ok=True)
    runs = [(model, task) for model in settings.models for task in settings.patching.tasks]
    results = [
        draw.TaskResults(
            model=model,
            task=task.name,
            curves=read_table(paths[0], CURVES),
            depths=read_table(paths[1], DEPTHS),
            clean=read_table(paths[2], SWEEPS).loc[lambda table: table["manipulation"] == CONTROL],
            intake=read_table(paths[3], INTAKE),
            pairs=read_table(paths[4], PAIRS),
            folder=paths[0].parent,
        )
        for (model, task), *paths in zip(runs, curves, depths, sweeps, intake, pairs, strict=True)
    ]
    exhibits: list[Exhibit] = []
    for task in settings.patching.tasks:
        own = [result for result in results if result.task == task.name]
        keep = task.keep if isinstance(task, RelationTask) else []
        for result in own:
            exhibits.append(draw.clean_predictions(result, keep))
            if len(result.scores):
                exhibits.append(draw.score_curves(result, figures))
        switched = [result for result in own if draw.has_switch(result)]
        exhibits += [draw.outcome_curves(result, figures) for result in switched]
        if switched:
            exhibits.append(draw.switch_heat_map(switched, figures))
            exhibits.append(draw.switch_on_relative_depth(switched, figures))
    write_exhibits(figures, "patching", exhibits)


if __name__ == "__main__":
    run_stage(run)
