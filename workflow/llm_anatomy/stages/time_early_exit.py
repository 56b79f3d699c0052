"""What it costs to read the features of the first layers, beside the plain pass of the model."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.toxicity import EarlyExit
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import EARLY_EXIT
from llm_anatomy.toxicity.latency import time_early_exit


class EarlyExitStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    max_length: int
    early_exit: EarlyExit


def run(settings: EarlyExitStage, *, model: Path, texts: Path, early_exit: Path) -> None:
    """Read a sample of texts; write the time of each number of layers, one text at a time."""
    strings = list(read_table(texts, TEXTS)["text"])
    loaded = load_model(model, settings.precision, compute_settings())
    timed = time_early_exit(
        loaded, strings, settings.early_exit, settings.max_length, settings.seed
    )
    provenance = loaded.provenance | {"toxicity": settings.model_dump()}
    write_table(early_exit, EARLY_EXIT, timed, provenance)


if __name__ == "__main__":
    run_stage(run)
