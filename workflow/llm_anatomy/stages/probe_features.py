"""What parts of the spline features carry, what few labels suffice for, and where texts lie."""

from pathlib import Path

from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.geometry import SPLINE_FEATURES
from llm_anatomy.tables.toxicity import ABLATIONS, FOLDS, MAPS, SELF_TRAINING
from llm_anatomy.toxicity.probes import ProbeSettings, probe_features


def run(
    settings: ProbeSettings,
    *,
    folds: Path,
    spline_features: Path,
    ablations: Path,
    self_training: Path,
    maps: Path,
) -> None:
    """Read spline features and folds; write ablations, detection from few labels, and maps."""
    spline, labels = read_table(spline_features, SPLINE_FEATURES), read_table(folds, FOLDS)
    result = probe_features(spline, labels, settings, compute_settings().threads)
    provenance = read_provenance(spline_features)
    ablated = {"toxicity": settings.model_dump(exclude={"self_training", "maps"})}
    write_table(ablations, ABLATIONS, result.ablations, provenance | ablated)
    trained = {"toxicity": settings.model_dump(exclude={"ablations", "maps", "folds"})}
    write_table(self_training, SELF_TRAINING, result.self_training, provenance | trained)
    mapped = {"toxicity": settings.model_dump(include={"seed", "maps"})}
    write_table(maps, MAPS, result.maps, provenance | mapped)


if __name__ == "__main__":
    run_stage(run)
