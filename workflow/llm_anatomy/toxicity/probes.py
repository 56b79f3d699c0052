"""Probes of the spline features: what parts of them carry, what few labels suffice for, and maps.

One call for all of them, since together they need little more than their inputs and keep all
threads busy; an experiment without methods is left out.
"""

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from llm_anatomy.config.toxicity import Ablations, Maps, SelfTraining
from llm_anatomy.tables.toxicity import ABLATIONS, MAPS, SELF_TRAINING
from llm_anatomy.toxicity.ablation import ablations
from llm_anatomy.toxicity.evaluate import Call, Evaluation, TableRow, in_parallel, labelled_texts
from llm_anatomy.toxicity.inputs import SplineTable, spline_table
from llm_anatomy.toxicity.maps import place_texts
from llm_anatomy.toxicity.self_training import self_trainings


class ProbeSettings(Evaluation):
    """What is tried on the spline features alone."""

    ablations: Ablations
    self_training: SelfTraining
    maps: Maps


@dataclass(frozen=True)
class Probes:
    """What came of it, as in the tables of these names."""

    ablations: pd.DataFrame
    self_training: pd.DataFrame
    maps: pd.DataFrame


def probe_features(
    spline_features: pd.DataFrame,
    folds: pd.DataFrame,
    settings: ProbeSettings,
    threads: int = 1,
) -> Probes:
    """Ablations, detection from few labels, and maps of the texts.

    Args:
        spline_features: The table of spline features.
        folds: The table of folds, labels and copies.
        settings: What is tried, with which classifiers and metrics.
        threads: Experiments that run at once; they change no number.
    """
    spline = spline_table(spline_features)
    labels = labelled_texts(folds, spline.text_ids)
    methods = settings.maps.methods
    # The longest call, t-SNE, goes first, so that no thread waits for it at the end.
    groups: list[list[Call[list[TableRow]]]] = [
        [(map_rows, (spline, m, settings.maps, settings.seed)) for m in reversed(methods)],
        self_trainings(spline.features, labels, settings.self_training, settings),
        ablations(spline.features, labels, settings.ablations, settings),
    ]
    results = iter(in_parallel([c for calls in groups for c in calls], threads, "probe_features"))
    placed, trained, ablated = ([next(results) for _ in calls] for calls in groups)
    return Probes(
        ABLATIONS.frame(_rows(ablated)).astype({"layer": "Int32"}),
        SELF_TRAINING.frame(_rows(trained)),
        MAPS.frame(_rows(placed[::-1])),
    )


def map_rows(
    spline: SplineTable, method: Literal["pca", "tsne"], settings: Maps, seed: int
) -> list[TableRow]:
    """The place of every text on one kind of map; rows of the table of maps."""
    placed = place_texts(
        spline.features.reshape(len(spline.text_ids), -1),
        method,
        settings.standardise,
        settings.max_texts,
        settings.perplexity,
        seed,
    )
    explained_x, explained_y = placed.explained or (None, None)
    return [
        {
            "text_id": spline.text_ids[row],
            "method": method,
            "x": x,
            "y": y,
            "explained_x": explained_x,
            "explained_y": explained_y,
        }
        for row, (x, y) in zip(placed.rows, placed.places, strict=True)
    ]


def _rows(parts: list[list[TableRow]]) -> list[dict[str, Any]]:
    return [row for part in parts for row in part]
