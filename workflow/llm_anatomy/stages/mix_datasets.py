"""Make the table of a mixture of data sets, and the tally of its rows."""

from collections import Counter
from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.build import finish
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.mixture import mixed_texts
from llm_anatomy.data.texts import sample, texts_table, unique_texts
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import INTAKE, TEXTS


class MixtureStage(Settings):
    """What the stage reads of the configuration."""

    seed: int
    dataset: Dataset


def run(settings: MixtureStage, *, parts: tuple[Path, ...], texts: Path, intake: Path) -> None:
    """Read the tables of the parts; write the mixed texts, and what became of every row."""
    dataset = settings.dataset
    seed = settings.seed if dataset.seed is None else dataset.seed
    tally = Intake()
    tables = {path.stem: read_table(path, TEXTS) for path in parts}
    items = mixed_texts(dataset.parts, tables, seed, tally)
    unique = unique_texts(items, dataset.duplicates == "keep", tally)
    drawn = sample(unique, dataset, seed, tally)
    finish(dataset, tally, len(drawn))
    seen: dict[str, Counter[str]] = {}
    provenance = {
        "dataset": dataset.name,
        "seed": seed,
        "settings": dataset.model_dump(mode="json", exclude_defaults=True),
        "parts": {path.stem: read_provenance(path) for path in parts},
    }
    write_table(intake, INTAKE, tally.columns(), provenance)
    write_table(texts, TEXTS, texts_table(dataset, drawn, seen), provenance)


if __name__ == "__main__":
    run_stage(run)
