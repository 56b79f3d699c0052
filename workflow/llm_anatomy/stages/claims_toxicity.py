"""Test the paper's claims on detection."""

from pathlib import Path

import pandas as pd

from llm_anatomy.runner import run_stage
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.toxicity import (
    ABLATIONS,
    EARLY_EXIT,
    FOLDS,
    HARD_NEGATIVES,
    METRICS,
    SELF_TRAINING,
)
from llm_anatomy.toxicity.claims import (
    DatasetTables,
    detection_claims,
    latency_claim,
    negatives_claim,
    untested_claims,
)
from llm_anatomy.toxicity.overview import ToxicityOverview, read_hub_metrics


def run(
    settings: ToxicityOverview,
    *,
    folds: tuple[Path, ...],
    metrics: tuple[Path, ...],
    ablations: tuple[Path, ...],
    self_training: tuple[Path, ...],
    hub: tuple[Path, ...],
    others: tuple[Path, ...],
    claims: Path,
) -> None:
    """Read every model's tables; write what the paper says, what was measured, and a verdict."""
    models, datasets = settings.models, settings.datasets
    timings = settings.early_exits(others)
    rows = []
    for index, model in enumerate(models):
        own = []
        for number, dataset in enumerate(datasets):
            place = index * len(datasets) + number
            tables = DatasetTables(
                model,
                dataset,
                read_table(folds[number], FOLDS),
                read_table(metrics[place], METRICS),
                read_table(ablations[place], ABLATIONS),
                read_table(self_training[place], SELF_TRAINING),
                read_hub_metrics(settings.hub_metrics(hub, number)),
            )
            own += detection_claims(tables)
        for path in settings.comparisons(others, index):
            own.append(negatives_claim(read_table(path, HARD_NEGATIVES), model))
        own.append(latency_claim(read_table(timings[index], EARLY_EXIT), model))
        rows += own + untested_claims(model, {row["claim"] for row in own})
    provenance = {"models": [read_provenance(path)["model"] for path in timings]}
    write_table(claims, CLAIMS, pd.DataFrame(rows), provenance)


if __name__ == "__main__":
    run_stage(run)
