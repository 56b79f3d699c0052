"""Train on one dataset and test on another: a given split, behind the leak guard."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import Classifiers, Folds, Scoring, Transfer
from llm_anatomy.errors import UserError
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import FOLDS, OVERLAP, TRANSFER
from llm_anatomy.toxicity.classifiers import baseline_recipe, recipe
from llm_anatomy.toxicity.evaluate import Row, in_parallel, labelled_texts, measured_rows
from llm_anatomy.toxicity.features import Dense, FeatureSet, length_features, spline_set, tfidf
from llm_anatomy.toxicity.folds import label_names
from llm_anatomy.toxicity.inputs import SplineTable, read_spline_features, rows_of
from llm_anatomy.toxicity.transfer import Overlap, find_overlap, restricted, train_and_test

logger = logging.getLogger(__name__)


class TransferStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    folds: Folds
    classifiers: Classifiers
    scoring: Scoring
    transfer: Transfer


def run(
    settings: TransferStage,
    *,
    train_texts: Path,
    train_folds: Path,
    train_features: Path,
    test_texts: Path,
    test_features: Path,
    metrics: Path,
    overlap: Path,
) -> None:
    """Read two datasets; write the overlap of their texts and the metrics on the second."""
    asked = settings.transfer
    train, test = read_spline_features(train_features), read_spline_features(test_features)
    known, held_out = _aligned(train_texts, train), _aligned(test_texts, test)
    shared = find_overlap(list(known["text"]), list(held_out["text"]), settings.folds.similarity)
    provenance = read_provenance(train_features) | {"toxicity": settings.model_dump()}
    write_table(overlap, OVERLAP, _overlap_rows(shared, known, held_out), provenance)
    if shared and not asked.allow_overlap:
        # The workflow removes the table of a failed stage, so the log names the pairs.
        for pair in shared:
            one, other = held_out["text_id"].iloc[pair.test], known["text_id"].iloc[pair.train]
            logger.info("copy: '%s' of '%s' (%.3f)", one, other, pair.similarity)
        first = shared[0]
        raise UserError(
            f"{len({s.test for s in shared})} texts of '{asked.test}' are copies of texts of "
            f"'{asked.train}', such as '{held_out['text_id'].iloc[first.test]}' of "
            f"'{known['text_id'].iloc[first.train]}' (the log names all); remove them, or set "
            "toxicity.transfer.allow_overlap to true to measure with and without them"
        )
    texts = list(known["text"]) + list(held_out["text"])
    sets: list[FeatureSet] = [
        spline_set(
            "spline",
            np.concatenate([train.features, test.features]),
            settings.classifiers.distance_weights,
        ),
        Dense("length", length_features(texts, np.concatenate([train.n_tokens, test.n_tokens]))),
        tfidf(texts),
    ]
    labels = labelled_texts(read_table(train_folds, FOLDS), train.text_ids)
    common = [name for name in label_names(held_out) if name in {x.label for x in labels}]
    wanted = asked.labels or common
    wrong = next((name for name in wanted if name not in common), None)
    if wrong is not None or not wanted:
        raise UserError(
            f"'{asked.train}' and '{asked.test}' have the common labels "
            f"{', '.join(common) or '(none)'}; 'toxicity.transfer' asks for {wrong or 'any'}"
        )
    calls = [
        (
            train_and_test,
            (label, held_out, len(known), features, made, settings.folds, settings.seed),
        )
        for label in labels
        if label.label in wanted
        for features in sets
        for made in (
            [recipe(name, settings.classifiers) for name in settings.classifiers.names]
            if features.name == "spline"
            else [baseline_recipe(features, settings.classifiers)]
        )
    ]
    results = in_parallel(calls, compute_settings().threads, "transfer_detector")
    copies = np.unique([s.test for s in shared]).astype(np.int64)
    rows: list[Row] = []
    for result, n_train in results:
        for name, kept in (("all", result), ("no_copies", restricted(result, copies))):
            names = {"test_texts": name, "n_copies": len(copies)}
            measured = measured_rows(kept, settings.scoring, settings.seed, **names)
            rows += [row | {"n_train": n_train} for row in measured]
    write_table(metrics, TRANSFER, pd.DataFrame(rows), provenance)


def _aligned(path: Path, spline: SplineTable) -> pd.DataFrame:
    table = read_table(path, TEXTS)
    return table.iloc[rows_of(spline.text_ids, list(table["text_id"]), path)].reset_index(drop=True)


def _overlap_rows(
    shared: list[Overlap], known: pd.DataFrame, held_out: pd.DataFrame
) -> dict[str, list[object]]:
    return {
        "text_id": [held_out["text_id"].iloc[s.test] for s in shared],
        "train_text_id": [known["text_id"].iloc[s.train] for s in shared],
        "similarity": [s.similarity for s in shared],
    }


if __name__ == "__main__":
    run_stage(run)
