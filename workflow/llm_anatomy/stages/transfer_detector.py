"""Train on one dataset and test on another: a given split, behind the leak guard."""

from pathlib import Path

from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import SPLINE_FEATURES
from llm_anatomy.tables.toxicity import FOLDS, OVERLAP, TRANSFER
from llm_anatomy.toxicity.transfer import (
    TransferSettings,
    dataset_of_texts,
    overlap_table,
    transfer_detector,
)


def run(
    settings: TransferSettings,
    *,
    train_texts: Path,
    train_folds: Path,
    train_features: Path,
    test_texts: Path,
    test_features: Path,
    metrics: Path,
    overlap: Path,
) -> None:
    """Read two datasets; write the overlap of their texts and the metrics on the second."""
    names = settings.transfer
    tables = ((names.train, train_texts, train_features), (names.test, test_texts, test_features))
    train, test = (
        dataset_of_texts(name, read_table(texts, TEXTS), read_table(features, SPLINE_FEATURES))
        for name, texts, features in tables
    )
    shared = overlap_table(train, test, settings.folds.similarity)
    provenance = read_provenance(train_features) | {"toxicity": settings.model_dump()}
    write_table(overlap, OVERLAP, shared, provenance)
    folds, threads = read_table(train_folds, FOLDS), compute_settings().threads
    measured = transfer_detector(train, folds, test, shared, settings, threads)
    write_table(metrics, TRANSFER, measured, provenance)


if __name__ == "__main__":
    run_stage(run)
