"""Draw the figures of the geometry study."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.figures import geometry as draw
from llm_anatomy.figures.exhibit import Exhibit, set_style, write_exhibits
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import TableSchema, read_table
from llm_anatomy.tables.geometry import (
    HULL_CHECKS,
    INSERT_STARTS,
    INTRINSIC_DIMENSION,
    PREFIX_FEATURES,
    PROMPT_CORRELATIONS,
    PROMPT_DIMENSION,
    PROMPT_OUTCOMES,
    PROMPTS,
    REGION_CHECKS,
    SCORERS,
    SPLINE_FEATURES,
)


class FigureStage(Settings):
    """What this stage reads of the configuration; paths come model by model, datasets inside."""

    models: list[str]
    datasets: list[str]


def run(
    settings: FigureStage,
    *,
    spline_features: tuple[Path, ...],
    intrinsic_dimension: tuple[Path, ...],
    hull_checks: tuple[Path, ...],
    region_checks: tuple[Path, ...],
    prefix_features: tuple[Path, ...],
    insert_starts: tuple[Path, ...],
    prompts: tuple[Path, ...],
    prompt_dimension: tuple[Path, ...],
    prompt_outcomes: tuple[Path, ...],
    answer_scorers: tuple[Path, ...],
    prompt_correlations: tuple[Path, ...],
    figures: Path,
) -> None:
    """Read the study's tables; write PNG files and their captions into one folder."""
    set_style()
    figures.mkdir(parents=True, exist_ok=True)
    names = settings.datasets
    exhibits: list[Exhibit] = []
    for index, model in enumerate(settings.models):
        own = slice(index * len(names), (index + 1) * len(names))
        exhibits.append(
            draw.feature_profiles(
                _by_dataset(names, spline_features[own], SPLINE_FEATURES),
                model,
                spline_features[own][0],
                figures,
            )
        )
        exhibits.append(
            draw.dimension_profiles(
                _by_dataset(names, intrinsic_dimension[own], INTRINSIC_DIMENSION),
                model,
                intrinsic_dimension[own][0],
                figures,
            )
        )
        exhibits.append(
            draw.insert_maps(
                read_table(prefix_features[index], PREFIX_FEATURES),
                read_table(insert_starts[index], INSERT_STARTS),
                model,
                insert_starts[index],
                figures,
            )
        )
        exhibits.append(
            draw.prompt_scatter(
                read_table(prompts[index], PROMPTS),
                read_table(prompt_dimension[index], PROMPT_DIMENSION),
                read_table(prompt_outcomes[index], PROMPT_OUTCOMES),
                model,
                prompt_dimension[index],
                figures,
            )
        )
        scorers = read_table(answer_scorers[index], SCORERS)
        if len(scorers):
            exhibits.append(draw.scorer_exhibit(scorers, answer_scorers[index]))
        exhibits.append(
            draw.correlation_profiles(
                read_table(prompt_correlations[index], PROMPT_CORRELATIONS),
                model,
                prompt_correlations[index],
                figures,
            )
        )
        exhibits.append(
            draw.theory_checks(
                _joined(names, hull_checks[own], HULL_CHECKS),
                _joined(names, region_checks[own], REGION_CHECKS),
                model,
                hull_checks[own][0],
                figures,
            )
        )
    write_exhibits(figures, "geometry", exhibits)


def _by_dataset(
    names: Sequence[str], paths: Sequence[Path], schema: TableSchema
) -> dict[str, pd.DataFrame]:
    return {name: read_table(path, schema) for name, path in zip(names, paths, strict=True)}


def _joined(names: Sequence[str], paths: Sequence[Path], schema: TableSchema) -> pd.DataFrame:
    """Tables of all datasets in one, with text ids that stay apart."""
    tables = _by_dataset(names, paths, schema)
    return pd.concat(
        [table.assign(text_id=f"{name}/" + table["text_id"]) for name, table in tables.items()],
        ignore_index=True,
    )


if __name__ == "__main__":
    run_stage(run)
