"""How much single layers, the first layers and single features carry."""

from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import Ablations, Classifiers, Folds, Scoring
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.toxicity import ABLATIONS, FOLDS
from llm_anatomy.toxicity.ablation import Part, parts
from llm_anatomy.toxicity.classifiers import Recipe, recipe
from llm_anatomy.toxicity.evaluate import (
    LabelledTexts,
    Row,
    in_parallel,
    labelled_texts,
    measured_rows,
    most_common,
    out_of_fold,
)
from llm_anatomy.toxicity.inputs import read_spline_features


class AblationStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    folds: Folds
    classifiers: Classifiers
    scoring: Scoring
    ablations: Ablations


def run(settings: AblationStage, *, folds: Path, spline_features: Path, ablations: Path) -> None:
    """Read spline features and folds; write the metrics of every part of the features."""
    spline = read_spline_features(spline_features)
    labels = labelled_texts(read_table(folds, FOLDS), spline.text_ids)
    asked = settings.ablations
    calls = [
        (ablate, (label, part, recipe(name, settings.classifiers), settings))
        for label in most_common(labels, asked.max_labels)
        for name in asked.classifiers
        for part in parts(spline.features, settings.classifiers.distance_weights)
    ]
    results = in_parallel(calls, compute_settings().threads, "ablate_features")
    provenance = read_provenance(spline_features) | {"toxicity": settings.model_dump()}
    columns = [column.name for column in ABLATIONS.columns]
    rows = pd.DataFrame([row for part in results for row in part], columns=columns)
    write_table(ablations, ABLATIONS, rows.astype({"layer": "Int32"}), provenance)


def ablate(label: LabelledTexts, part: Part, made: Recipe, settings: AblationStage) -> list[Row]:
    """Rows of one part of the features."""
    result = out_of_fold(label, part.values, made, settings.folds.n_inner_folds, settings.seed)
    names = {"kind": part.kind, "layer": part.layer, "features": part.features}
    rows = measured_rows(result, settings.scoring, settings.seed, **names)
    return [{key: value for key, value in row.items() if key != "feature_set"} for row in rows]


if __name__ == "__main__":
    run_stage(run)
