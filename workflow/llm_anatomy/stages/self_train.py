"""Detection from a few labels, with and without self-training."""

from pathlib import Path

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import Classifiers, Scoring, SelfTraining
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.toxicity import FOLDS, SELF_TRAINING
from llm_anatomy.toxicity.evaluate import (
    LabelledTexts,
    Row,
    in_parallel,
    labelled_texts,
    measured_rows,
    most_common,
)
from llm_anatomy.toxicity.features import Dense, spline_set
from llm_anatomy.toxicity.inputs import read_spline_features
from llm_anatomy.toxicity.self_training import Name, few_labels


class SelfTrainingStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    classifiers: Classifiers
    scoring: Scoring
    self_training: SelfTraining


def run(
    settings: SelfTrainingStage, *, folds: Path, spline_features: Path, self_training: Path
) -> None:
    """Read spline features and folds; write metrics for every share of labels."""
    spline = read_spline_features(spline_features)
    features = spline_set("spline", spline.features, settings.classifiers.distance_weights[:1])
    labels = labelled_texts(read_table(folds, FOLDS), spline.text_ids)
    asked = settings.self_training
    calls = [
        (train_on_few, (label, features, name, rate, settings))
        for label in most_common(labels, asked.max_labels)
        for name in asked.classifiers
        for rate in asked.label_rates
    ]
    results = in_parallel(calls, compute_settings().threads, "self_train")
    provenance = read_provenance(spline_features) | {"toxicity": settings.model_dump()}
    columns = [column.name for column in SELF_TRAINING.columns]
    rows = pd.DataFrame([row for part in results for row in part], columns=columns)
    write_table(self_training, SELF_TRAINING, rows, provenance)


def train_on_few(
    label: LabelledTexts, features: Dense, name: Name, rate: float, settings: SelfTrainingStage
) -> list[Row]:
    """Rows of one share of labels; only the labelled texts count as training texts."""
    rows = []
    asked = settings.self_training
    for few in few_labels(label, features, name, rate, asked, settings.classifiers, settings.seed):
        rows += measured_rows(
            few.result,
            settings.scoring,
            settings.seed,
            label_rate=few.rate,
            training=few.training,
            n_labelled=int(np.rint(few.n_labelled)),
        )
    return rows


if __name__ == "__main__":
    run_stage(run)
