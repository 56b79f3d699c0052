"""Train on each labelled data set, test on every other that has the same label."""

from pathlib import Path

from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.detectors import SHIFT
from llm_anatomy.tables.geometry import SPLINE_FEATURES
from llm_anatomy.tables.toxicity import FOLDS
from llm_anatomy.toxicity.shift import ShiftSettings, Source, shift_table
from llm_anatomy.toxicity.transfer import dataset_of_texts


class ShiftStage(ShiftSettings):
    """What this stage reads of the configuration, and the data sets in the order of the inputs."""

    datasets: list[str]


def run(
    settings: ShiftStage,
    *,
    texts: tuple[Path, ...],
    folds: tuple[Path, ...],
    features: tuple[Path, ...],
    shift: Path,
) -> None:
    """Read every labelled data set; write how detectors trained on one do on the others."""
    sources = []
    for name, *paths in zip(settings.datasets, texts, folds, features, strict=True):
        table, split = read_table(paths[0], TEXTS), read_table(paths[1], FOLDS)
        data = dataset_of_texts(name, table, read_table(paths[2], SPLINE_FEATURES))
        sources.append(Source.of(name, data, split))
    provenance = read_provenance(features[0]) | {"toxicity": settings.model_dump()}
    result = shift_table(sources, settings, compute_settings().threads)
    write_table(shift, SHIFT, result, provenance)


if __name__ == "__main__":
    run_stage(run)
