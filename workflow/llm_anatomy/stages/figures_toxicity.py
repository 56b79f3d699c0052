"""Draw the figures of the toxicity study."""

from pathlib import Path

from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.figures import toxicity as draw
from llm_anatomy.figures.exhibit import Exhibit, set_style, write_exhibits
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.toxicity import (
    ABLATIONS,
    DUPLICATES,
    EARLY_EXIT,
    FOLDS,
    HARD_NEGATIVES,
    LABELS,
    MAPS,
    METRICS,
    SELF_TRAINING,
)
from llm_anatomy.toxicity.overview import ToxicityOverview, read_hub_metrics


def run(
    settings: ToxicityOverview,
    *,
    folds: tuple[Path, ...],
    labels: tuple[Path, ...],
    duplicates: tuple[Path, ...],
    metrics: tuple[Path, ...],
    ablations: tuple[Path, ...],
    self_training: tuple[Path, ...],
    maps: tuple[Path, ...],
    hub: tuple[Path, ...],
    others: tuple[Path, ...],
    figures: Path,
) -> None:
    """Read every table of the study; write figures and exhibits into one folder."""
    set_style()
    models, datasets = settings.models, settings.datasets
    timings = settings.early_exits(others)
    exhibits: list[Exhibit] = []
    with atomic_folder(figures) as folder:
        for index, model in enumerate(models):
            for number, dataset in enumerate(datasets):
                place = index * len(datasets) + number
                exhibits += _of_dataset(
                    folder,
                    model,
                    dataset,
                    folds[number],
                    metrics[place],
                    ablations[place],
                    self_training[place],
                    maps[place],
                    settings.hub_metrics(hub, number),
                )
            for path in settings.comparisons(others, index):
                table = read_table(path, HARD_NEGATIVES)
                own = draw.Place(folder, model, str(table["dataset"].iloc[0]), path)
                exhibits.append(draw.negatives(table, path.stem, own))
            timed = draw.Place(folder, model, datasets[0], timings[index])
            first = read_table(metrics[index * len(datasets)], METRICS)
            exhibits.append(draw.early_exit(read_table(timings[index], EARLY_EXIT), first, timed))
        for number, dataset in enumerate(datasets):
            pairs = len(read_table(duplicates[number], DUPLICATES))
            counts = draw.Place(folder, models[0], dataset, labels[number])
            exhibits.append(draw.labels(read_table(labels[number], LABELS), pairs, counts))
        write_exhibits(folder, "toxicity", exhibits)


def _of_dataset(
    folder: Path,
    model: str,
    dataset: str,
    folds: Path,
    metrics: Path,
    ablations: Path,
    self_training: Path,
    maps: Path,
    hub: tuple[Path, ...],
) -> list[Exhibit]:
    """Exhibits of one model and dataset; an experiment that was left out has none."""

    def place(table: Path) -> draw.Place:
        return draw.Place(folder, model, dataset, table)

    measured = read_table(metrics, METRICS)
    split = read_table(folds, FOLDS)
    exhibits = [draw.detection(measured, read_hub_metrics(hub), split, place(metrics))]
    if len(parts := read_table(ablations, ABLATIONS)):
        exhibits.append(draw.ablations(parts, place(ablations)))
    if len(few := read_table(self_training, SELF_TRAINING)):
        exhibits.append(draw.few_labels(few, place(self_training)))
    if len(placed := read_table(maps, MAPS)):
        exhibits.append(draw.maps(placed, split, place(maps)))
    return exhibits


if __name__ == "__main__":
    run_stage(run)
