"""Train the detector that is kept for use, on all labelled texts."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import Classifiers, Detector, Folds
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_provenance, read_table
from llm_anatomy.tables.toxicity import FOLDS
from llm_anatomy.toxicity.detector import save_detector
from llm_anatomy.toxicity.evaluate import labelled_texts
from llm_anatomy.toxicity.inputs import read_spline_features
from llm_anatomy.toxicity.training import train_detector


class DetectorStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    dataset: str
    folds: Folds
    classifiers: Classifiers
    detector: Detector


def run(settings: DetectorStage, *, folds: Path, spline_features: Path, detector: Path) -> None:
    """Read spline features and labels; write the detector as plain arrays."""
    spline = read_spline_features(spline_features)
    trained = train_detector(
        spline.features,
        labelled_texts(read_table(folds, FOLDS), spline.text_ids),
        settings.detector,
        settings.classifiers,
        settings.folds.n_folds,
        settings.seed,
        {
            "dataset": settings.dataset,
            "seed": settings.seed,
            "provenance": read_provenance(spline_features),
        },
    )
    save_detector(detector, trained)


if __name__ == "__main__":
    run_stage(run)
