"""The same label with hard and with easy negatives."""

from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import Classifiers, Folds, HardNegatives, Scoring
from llm_anatomy.errors import UserError
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import FOLDS, HARD_NEGATIVES
from llm_anatomy.toxicity.classifiers import baseline_recipe
from llm_anatomy.toxicity.evaluate import (
    LabelledTexts,
    in_parallel,
    labelled_texts,
    measured_rows,
    out_of_fold,
)
from llm_anatomy.toxicity.features import Dense, FeatureSet, length_features, spline_set, tfidf
from llm_anatomy.toxicity.inputs import SplineTable, read_spline_features, rows_of
from llm_anatomy.toxicity.negatives import Negatives, with_negatives


class NegativesStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    folds: Folds
    classifiers: Classifiers
    scoring: Scoring
    comparison: HardNegatives


def run(
    settings: NegativesStage,
    *,
    folds: Path,
    texts: Path,
    spline_features: Path,
    easy_texts: Path,
    easy_spline_features: Path,
    metrics: Path,
) -> None:
    """Read two datasets; write the metrics of one label for each choice of negatives."""
    asked = settings.comparison
    own, easy = read_spline_features(spline_features), read_spline_features(easy_spline_features)
    label = find_label(labelled_texts(read_table(folds, FOLDS), own.text_ids), asked, folds)
    own_texts, more = read_texts(texts, own), read_texts(easy_texts, easy)
    lengths = np.concatenate([own.n_tokens, easy.n_tokens])
    sets: list[FeatureSet] = [
        spline_set(
            "spline",
            np.concatenate([own.features, easy.features]),
            settings.classifiers.distance_weights,
        ),
        Dense("length", length_features(own_texts + more, lengths)),
        tfidf(own_texts + more),
    ]
    choices: list[Negatives] = list(get_args(Negatives))
    calls, names = [], []
    for negatives in choices:
        chosen = with_negatives(
            label,
            own_texts,
            easy.text_ids,
            more,
            negatives,
            settings.folds.similarity,
            settings.folds.n_folds,
            settings.seed,
        )
        for features in sets:
            made = baseline_recipe(features, settings.classifiers)
            inner = settings.folds.n_inner_folds
            calls.append((out_of_fold, (chosen, features, made, inner, settings.seed)))
            names.append(negatives)
    results = in_parallel(calls, compute_settings().threads, "compare_negatives")
    rows = [
        row
        for negatives, result in zip(names, results, strict=True)
        for row in measured_rows(
            result,
            settings.scoring,
            settings.seed,
            dataset=asked.dataset,
            easy=asked.easy,
            negatives=negatives,
        )
    ]
    provenance = read_provenance(spline_features) | {"toxicity": settings.model_dump()}
    write_table(metrics, HARD_NEGATIVES, pd.DataFrame(rows), provenance)


def find_label(labels: list[LabelledTexts], asked: HardNegatives, folds: Path) -> LabelledTexts:
    """The label that the configuration asks for.

    Raises:
        UserError: The dataset has no such label that can be learned.
    """
    names = [label.label for label in labels]
    if asked.label is None:
        return labels[0]
    if asked.label not in names:
        raise UserError(
            f"the key 'toxicity.hard_negatives' names the label '{asked.label}' of "
            f"'{asked.dataset}', which has the usable labels {', '.join(names)} ({folds})"
        )
    return labels[names.index(asked.label)]


def read_texts(path: Path, spline: SplineTable) -> list[str]:
    """The texts, in the order of their features."""
    table = read_table(path, TEXTS)
    return list(table["text"].iloc[rows_of(spline.text_ids, list(table["text_id"]), path)])


if __name__ == "__main__":
    run_stage(run)
