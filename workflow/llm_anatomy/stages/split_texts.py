"""Find copies among a dataset's texts and assign every labelled text to a test fold."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import Folds
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import DUPLICATES, FOLDS, LABELS
from llm_anatomy.toxicity.folds import split_texts


class SplitStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    folds: Folds


def run(settings: SplitStage, *, texts: Path, folds: Path, labels: Path, duplicates: Path) -> None:
    """Read the texts; write the folds of every usable label, the labels' counts and the copies."""
    result = split_texts(read_table(texts, TEXTS), settings.folds, settings.seed, str(texts))
    provenance = read_provenance(texts) | settings.model_dump()
    write_table(folds, FOLDS, result.folds, provenance)
    write_table(labels, LABELS, result.labels, provenance)
    write_table(duplicates, DUPLICATES, result.duplicates, provenance)


if __name__ == "__main__":
    run_stage(run)
