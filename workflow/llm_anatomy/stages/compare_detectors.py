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
from llm_anatomy.tables.detectors import (
    ANSWER_TOKENS,
    DETECTORS,
    OPERATING_POINTS,
    RELIABILITY,
    SUBGROUPS,
)
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION, SPLINE_FEATURES
from llm_anatomy.tables.toxicity import CHOICES, FOLDS, PREDICTIONS
from llm_anatomy.toxicity.asking import Asked, ask, asking_record
from llm_anatomy.toxicity.compared import compare_detectors
from llm_anatomy.toxicity.comparison import ComparisonSettings, Inputs
from llm_anatomy.toxicity.detection import OtherFeatures, needed_states
from llm_anatomy.toxicity.extended import further_features
from llm_anatomy.toxicity.keeping import write_kept


class CompareStage(ComparisonSettings):
    """What this stage reads of the configuration."""

    dataset: str
    precision: Precision
    chat: Chat
    include_bos: bool


def run(
    settings: CompareStage,
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
    detectors: Path,
    operating_points: Path,
    reliability: Path,
    subgroups: Path,
    answer_tokens: Path,
    kept: Path,
) -> None:
    """Read features and earlier scores, ask the model; write what each detector is worth."""
    strings, compute = read_table(texts, TEXTS), compute_settings()
    asked, chat = _asked(settings, model, strings)
    spline = read_table(spline_features, SPLINE_FEATURES)
    inputs = Inputs(
        spline,
        read_table(folds, FOLDS),
        _others(settings, spline, strings, intrinsic_dimension, states),
        further_features(read_traces(traces), include_bos=settings.include_bos),
        read_table(predictions, PREDICTIONS),
        read_table(choices, CHOICES),
        asked,
    )
    provenance = read_provenance(spline_features)
    about = {"dataset": settings.dataset, "seed": settings.seed, "provenance": provenance} | chat
    result = compare_detectors(inputs, settings, about, compute.threads)
    recorded = provenance | {"toxicity": settings.model_dump(mode="json")}
    write_table(detectors, DETECTORS, result.detectors, recorded)
    write_table(operating_points, OPERATING_POINTS, result.operating_points, recorded)
    write_table(reliability, RELIABILITY, result.reliability, recorded)
    write_table(subgroups, SUBGROUPS, result.subgroups, recorded)
    write_table(answer_tokens, ANSWER_TOKENS, result.answer_tokens, recorded)
    write_kept(kept, result.kept, result.cards())


def _asked(
    settings: CompareStage, model: Path, texts: pd.DataFrame
) -> tuple[Asked | None, dict[str, Any]]:
    """What the model says of the texts, and how it was asked; nothing where no detector asks."""
    if not settings.comparison.asks:
        return None, {}
    compute = compute_settings()
    loaded = load_model(model, settings.precision, compute)
    words = Vocabulary(model.parent / "weights").texts
    how = settings.chat, settings.comparison, words, compute.batch_tokens
    return ask(loaded, texts, *how), asking_record(loaded.tokenizer, settings.chat)


def _others(
    settings: CompareStage,
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
