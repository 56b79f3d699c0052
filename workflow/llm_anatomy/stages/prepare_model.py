"""Make one model ready for every study: convert or link it, hash it, record where it came from."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.models import ModelSource
from llm_anatomy.model.source.prepare import prepare
from llm_anatomy.runner import compute_settings, run_stage


class PrepareModelStage(Settings):
    """What the stage reads of the configuration."""

    model: ModelSource
    precision: Precision


def run(
    settings: PrepareModelStage,
    *,
    sources: tuple[Path, ...],
    weights: Path,
    architecture: Path,
    provenance: Path,
) -> None:
    """Write a model's `weights/`, `architecture.json` and `provenance.json` into its folder."""
    folder = provenance.parent
    if (folder / "weights", folder / "architecture.json") != (weights, architecture):
        raise ValueError("the three outputs of prepare_model lie in one folder")
    prepare(settings.model, sources, folder, settings.precision, compute_settings())


if __name__ == "__main__":
    run_stage(run)
