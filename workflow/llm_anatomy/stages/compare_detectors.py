"""Compare detectors of a label: thresholds, calibration and cost beside the ranking."""

from pathlib import Path
from typing import Any

import pandas as pd

from llm_anatomy.config.base import Precision
from llm_anatomy.config.models import Chat
from llm_anatomy.geometry.activations import read_states, read_traces, stored_state_layers
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION, SPLINE_FEATURES
from llm_anatomy.tables.toxicity import CHOICES, FOLDS, PREDICTIONS
from llm_anatomy.toxicity.asking import Asked, ask, asking_record
from llm_anatomy.toxicity.compared import Compared, compare_detectors
from llm_anatomy.toxicity.comparison import ComparisonSettings, Inputs
from llm_anatomy.toxicity.detection import OtherFeatures, needed_states
from llm_anatomy.toxicity.extended import further_features
from llm_anatomy.toxicity.keeping import write_kept


class CompareDetectorsStage(ComparisonSettings):
    """What this stage reads of the configuration."""

    dataset: str
    precision: Precision
    chat: Chat
    include_bos: bool


def run(
    settings: CompareDetectorsStage,
    *,
    model: Path,
    texts: Path,
    folds: Path,
    spline_features: Path,
    intrinsic_dimension: Path,
    states: tuple[Path, ...],
    traces: tuple[Path, ...],
    predictions: Path,
    choices: Path,
    tables: tuple[Path, ...],
    kept: Path,
) -> None:
    """Read features and earlier scores, ask the model; write what each detector is worth."""
    strings, spline = read_table(texts, TEXTS), read_table(spline_features, SPLINE_FEATURES)
    asked, about = _asked(settings, model, strings, read_provenance(spline_features))
    others = _others(settings, spline, strings, intrinsic_dimension, states)
    further = further_features(read_traces(traces), include_bos=settings.include_bos)
    before = read_table(predictions, PREDICTIONS), read_table(choices, CHOICES)
    inputs = Inputs(spline, read_table(folds, FOLDS), others, further, *before, asked)
    result = compare_detectors(inputs, settings, about, compute_settings().threads)
    _write(settings, result, about["provenance"], tables, kept)


def _asked(
    settings: CompareDetectorsStage, model: Path, texts: pd.DataFrame, provenance: dict[str, Any]
) -> tuple[Asked | None, dict[str, Any]]:
    """What the model says of the texts, and what detectors made of it belong to."""
    about = {"dataset": settings.dataset, "seed": settings.seed, "provenance": provenance}
    if not settings.comparison.asks:
        return None, about
    loaded = load_model(model, settings.precision, compute_settings())
    words = Vocabulary(model.parent / "weights").texts
    how = settings.chat, settings.comparison, words, loaded.batch_tokens
    return ask(loaded, texts, *how), about | asking_record(loaded.tokenizer, settings.chat)


def _write(
    settings: CompareDetectorsStage,
    result: Compared,
    provenance: dict[str, Any],
    tables: tuple[Path, ...],
    kept: Path,
) -> None:
    """Write the tables, each where its schema says, and the kept detectors with their cards."""
    recorded = provenance | {"toxicity": settings.model_dump(mode="json")}
    for schema, rows in result.tables:
        (path,) = [path for path in tables if schema.owner(path) is not None]
        write_table(path, schema, rows, recorded)
    write_kept(kept, result.kept, result.cards())


def _others(
    settings: CompareDetectorsStage,
    spline: pd.DataFrame,
    texts: pd.DataFrame,
    intrinsic_dimension: Path,
    states: tuple[Path, ...],
) -> OtherFeatures:
    needed = needed_states(settings.baselines, spline, stored_state_layers(states))
    dimension = read_table(intrinsic_dimension, INTRINSIC_DIMENSION)
    return OtherFeatures(texts, dimension, *read_states(states, needed))


if __name__ == "__main__":
    run_stage(run)
