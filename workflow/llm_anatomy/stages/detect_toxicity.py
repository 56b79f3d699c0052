"""Classify texts from their spline features, beside the baselines, on the same folds."""

from pathlib import Path

import pandas as pd

from llm_anatomy.config.toxicity import DetectorSettings
from llm_anatomy.geometry.activations import read_states, stored_state_layers
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION, SPLINE_FEATURES
from llm_anatomy.tables.toxicity import CHOICES, FOLDS, METRICS, PREDICTIONS
from llm_anatomy.toxicity.detection import (
    DetectionSettings,
    OtherFeatures,
    detect,
    needed_states,
    train_detector,
)
from llm_anatomy.toxicity.detector import save_detector


class DetectStage(DetectionSettings):
    """What this stage reads of the configuration, and the dataset's name."""

    dataset: str
    detector: DetectorSettings


def run(
    settings: DetectStage,
    *,
    texts: Path,
    folds: Path,
    spline_features: Path,
    intrinsic_dimension: Path,
    states: tuple[Path, ...],
    predictions: Path,
    metrics: Path,
    choices: Path,
    detector: Path,
) -> None:
    """Read features and folds; write scores, metrics, what was chosen, and the detector."""
    spline, labels = read_table(spline_features, SPLINE_FEATURES), read_table(folds, FOLDS)
    others = _other_features(settings, spline, texts, intrinsic_dimension, states)
    result = detect(spline, labels, others, settings, compute_settings().threads)
    provenance = read_provenance(spline_features)
    origin = {"dataset": settings.dataset, "seed": settings.seed, "provenance": provenance}
    trained = train_detector(spline, labels, settings.detector, settings, origin)
    recorded = provenance | {"toxicity": settings.model_dump(exclude={"dataset", "detector"})}
    write_table(predictions, PREDICTIONS, result.predictions, recorded)
    write_table(metrics, METRICS, result.metrics, recorded)
    write_table(choices, CHOICES, result.choices, recorded)
    save_detector(detector, trained)


def _other_features(
    settings: DetectStage,
    spline: pd.DataFrame,
    texts: Path,
    intrinsic_dimension: Path,
    states: tuple[Path, ...],
) -> OtherFeatures:
    needed = needed_states(settings.baselines, spline, stored_state_layers(states))
    dimension = read_table(intrinsic_dimension, INTRINSIC_DIMENSION)
    return OtherFeatures(read_table(texts, TEXTS), dimension, *read_states(states, needed))


if __name__ == "__main__":
    run_stage(run)
