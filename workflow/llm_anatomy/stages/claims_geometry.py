"""Test the paper's claims on intrinsic dimension and regions."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.geometry.claims import ModelTables, geometry_claims
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import TableSchema, read_provenance, read_table, write_table
from llm_anatomy.tables.geometry import (
    HULL_CHECKS,
    INSERT_STARTS,
    PROMPT_CORRELATIONS,
    PROMPT_DIMENSION,
    PROMPT_OUTCOMES,
    PROMPTS,
    REGION_CHECKS,
)


class ClaimStage(Settings):
    """What this stage reads of the configuration; paths come model by model, datasets inside."""

    seed: int
    models: list[str]
    datasets: list[str]


def run(
    settings: ClaimStage,
    *,
    hull_checks: tuple[Path, ...],
    region_checks: tuple[Path, ...],
    insert_starts: tuple[Path, ...],
    prompts: tuple[Path, ...],
    prompt_dimension: tuple[Path, ...],
    prompt_outcomes: tuple[Path, ...],
    prompt_correlations: tuple[Path, ...],
    claims: Path,
) -> None:
    """Read every model's tables; write what the paper says, what was measured, and a verdict."""
    n_datasets = len(settings.datasets)
    rows = []
    for index, model in enumerate(settings.models):
        own = slice(index * n_datasets, (index + 1) * n_datasets)
        tables = ModelTables(
            model=model,
            dtype=read_provenance(prompts[index])["dtype"],
            hull_checks=_joined(hull_checks[own], HULL_CHECKS),
            region_checks=_joined(region_checks[own], REGION_CHECKS),
            insert_starts=read_table(insert_starts[index], INSERT_STARTS),
            prompts=read_table(prompts[index], PROMPTS),
            prompt_dimension=read_table(prompt_dimension[index], PROMPT_DIMENSION),
            prompt_outcomes=read_table(prompt_outcomes[index], PROMPT_OUTCOMES),
            prompt_correlations=read_table(prompt_correlations[index], PROMPT_CORRELATIONS),
        )
        rows.extend(geometry_claims(tables, settings.seed))
    provenance = {
        "settings": settings.model_dump(mode="json"),
        "models": [read_provenance(path) for path in prompts],
    }
    write_table(claims, CLAIMS, pd.DataFrame(rows), provenance)


def _joined(paths: Sequence[Path], schema: TableSchema) -> pd.DataFrame:
    return pd.concat([read_table(path, schema) for path in paths], ignore_index=True)


if __name__ == "__main__":
    run_stage(run)
