"""The same label with hard and with easy negatives."""

from pathlib import Path

from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import SPLINE_FEATURES
from llm_anatomy.tables.toxicity import FOLDS, HARD_NEGATIVES
from llm_anatomy.toxicity.negatives import NegativesSettings, compare_negatives
from llm_anatomy.toxicity.transfer import dataset_of_texts


def run(
    settings: NegativesSettings,
    *,
    folds: Path,
    texts: Path,
    spline_features: Path,
    easy_texts: Path,
    easy_spline_features: Path,
    metrics: Path,
) -> None:
    """Read two datasets; write the metrics of one label for each choice of negatives."""
    names = settings.comparison
    own, easy = (
        dataset_of_texts(name, read_table(texts, TEXTS), read_table(features, SPLINE_FEATURES))
        for name, texts, features in (
            (names.dataset, texts, spline_features),
            (names.easy, easy_texts, easy_spline_features),
        )
    )
    threads = compute_settings().threads
    measured = compare_negatives(own, read_table(folds, FOLDS), easy, settings, threads)
    provenance = read_provenance(spline_features) | {"toxicity": settings.model_dump()}
    write_table(metrics, HARD_NEGATIVES, measured, provenance)


if __name__ == "__main__":
    run_stage(run)
