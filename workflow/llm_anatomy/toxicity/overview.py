"""Which of a study's tables belongs to which model and dataset."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.toxicity import HUB_METRICS


def read_hub_metrics(paths: Sequence[Path]) -> pd.DataFrame:
    """The metrics of a dataset's hub classifiers in one table; empty where there are none."""
    if not paths:
        return HUB_METRICS.frame([])
    return pd.concat([read_table(path, HUB_METRICS) for path in paths], ignore_index=True)


class ToxicityOverview(Settings):
    """What a stage that reads the whole study knows of the configuration.

    Paths come model by model, datasets inside; `hub` holds every dataset's metrics of the hub
    classifiers, `others` the early exits of all models, then their comparisons of negatives.
    """

    models: list[str]
    datasets: list[str]
    hub_classifiers: list[str]

    def hub_metrics(self, hub: tuple[Path, ...], dataset: int) -> tuple[Path, ...]:
        """Metrics of one dataset's hub classifiers."""
        count = len(self.hub_classifiers)
        return hub[dataset * count : (dataset + 1) * count]

    def early_exits(self, others: tuple[Path, ...]) -> tuple[Path, ...]:
        """Early exits, one per model."""
        return others[: len(self.models)]

    def comparisons(self, others: tuple[Path, ...], model: int) -> tuple[Path, ...]:
        """Comparisons of negatives of one model, if any."""
        rest = others[len(self.models) :]
        count = len(rest) // len(self.models)
        return rest[model * count : (model + 1) * count]
