"""Put what each layer of a model does into one table, and draw it."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.figures.anatomy import anatomy_figures
from llm_anatomy.figures.exhibit import write_figures
from llm_anatomy.report.anatomy import anatomy_frame
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.anatomy import ANATOMY
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import content_hashes, write_table
from llm_anatomy.tables.facts import LAYER_SUMMARY
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION
from llm_anatomy.tables.neurons import STATISTICS
from llm_anatomy.tables.patching import CURVES

READ = (INTRINSIC_DIMENSION, STATISTICS, CURVES, LAYER_SUMMARY)


class LayersSettings(Settings):
    """Which models, which data sets, and the task that stands for patching."""

    models: list[str]
    datasets: list[str]
    task: str | None


def run(
    settings: LayersSettings, *, tables: tuple[Path, ...], layers: tuple[Path, ...], figures: Path
) -> None:
    """Read the layer-by-layer numbers of every study; write one table a model, and a figure."""
    collection = Collection(tables, READ)
    provenance = {"inputs": content_hashes(collection.paths)}
    for path in layers:
        owner = ANATOMY.owner(path) or {}
        frame = anatomy_frame(collection, owner["model"], settings.datasets, settings.task)
        write_table(path, ANATOMY, frame, provenance)
    write_figures(
        figures, "anatomy", anatomy_figures(Collection(layers, [ANATOMY]), settings.models)
    )


if __name__ == "__main__":
    run_stage(run)
