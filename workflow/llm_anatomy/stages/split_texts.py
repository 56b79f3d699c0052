"""Find copies among a dataset's texts and assign every labelled text to a test fold."""

import logging
from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import Folds
from llm_anatomy.errors import UserError
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import DUPLICATES, FOLDS, LABELS
from llm_anatomy.toxicity.duplicates import copy_sets, find_copies
from llm_anatomy.toxicity.folds import assign_folds, count_label, label_names, label_values

logger = logging.getLogger(__name__)


class SplitStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    folds: Folds


def run(settings: SplitStage, *, texts: Path, folds: Path, labels: Path, duplicates: Path) -> None:
    """Read the texts; write the folds of every usable label, the labels' counts and the copies."""
    table = read_table(texts, TEXTS)
    names = label_names(table)
    if not names:
        raise UserError(
            f"{texts} has no label, so there is nothing to detect; give the dataset 'labels' in "
            "the configuration, or take 'toxicity' out of 'studies'"
        )
    pairs = find_copies(list(table["text"]), settings.folds.similarity)
    copies = copy_sets(len(table), pairs)
    logger.info("%d pairs of copies among %d texts", len(pairs), len(table))
    n_folds = settings.folds.n_folds
    counts = [count_label(table, name, copies, n_folds) for name in names]
    if all(count.why for count in counts):
        first = counts[0]
        raise UserError(
            f"{texts}: no label can be learned; the label '{first.label}' has {first.n_positive} "
            f"positive, {first.n_negative} negative and {first.n_missing} missing values: "
            f"{first.why}; give more texts, other labels, or fewer 'toxicity.folds.n_folds'"
        )
    provenance = read_provenance(texts) | settings.model_dump()
    ids = table["text_id"]
    parts = []
    for count in counts:
        if count.why:
            logger.warning("%s: the label '%s' is set aside: %s", texts, count.label, count.why)
            continue
        rows, truth = label_values(table, count.label)
        parts.append(
            pd.DataFrame(
                {
                    "text_id": ids.iloc[rows].to_numpy(),
                    "label": count.label,
                    "truth": truth,
                    "copies": copies[rows],
                    "fold": assign_folds(truth, copies[rows], n_folds, settings.seed),
                }
            )
        )
    write_table(folds, FOLDS, pd.concat(parts), provenance)
    rows_of_counts = [vars(count) | {"used": not count.why} for count in counts]
    order = [column.name for column in LABELS.columns]
    write_table(labels, LABELS, pd.DataFrame(rows_of_counts)[order], provenance)
    write_table(
        duplicates,
        DUPLICATES,
        {
            "text_id": [ids.iloc[pair.first] for pair in pairs],
            "other_text_id": [ids.iloc[pair.second] for pair in pairs],
            "similarity": [pair.similarity for pair in pairs],
        },
        provenance,
    )


if __name__ == "__main__":
    run_stage(run)
