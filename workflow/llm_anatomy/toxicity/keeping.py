"""Detectors that read a prompt, kept for use: trained on all texts, with thresholds and a card.

The hyperparameter is the middle one of the folds' choices; thresholds and calibration come from
`operating.held_out_settings`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.toxicity.asking import Asked
from llm_anatomy.toxicity.comparison import ComparisonSettings, Contender
from llm_anatomy.toxicity.detector import (
    Detector,
    LabelDetector,
    TrainingRange,
    save_detector,
)
from llm_anatomy.toxicity.features import mean_and_scale
from llm_anatomy.toxicity.first_token import FirstToken, SparseRecipe, sparse_fits
from llm_anatomy.toxicity.inputs import rows_of
from llm_anatomy.toxicity.operating import held_out_settings
from llm_anatomy.toxicity.token_probes import PooledRecipe, TokenStates, probe_fits

# What a kept detector reads, and its file's name, by its classifier.
KEPT = {
    "sparse_logistic": ("first_token", "first_token"),
    "attention_probe": ("token_states", "attention_probe"),
    "max_probe": ("token_states", "max_probe"),
}


def kept_detectors(
    found: Sequence[Contender],
    asked: Asked,
    settings: ComparisonSettings,
    description: Mapping[str, Any],
) -> dict[str, Detector]:
    """Train the detectors that read a prompt on all texts.

    Args:
        found: All contenders.
        asked: What they read.
        settings: How they are trained.
        description: What they belong to: model, data set, chat.

    Returns:
        Detectors by their file's name.
    """
    kept = {}
    for classifier, (reads, name) in KEPT.items():
        own = [one for one in found if one.recipe.name == classifier]
        if not own:
            continue
        trained = {one.result.texts.label: _trained(one, asked, settings) for one in own}
        kept[name] = Detector(
            {label: detector for label, (detector, _) in trained.items()},
            {
                **description,
                "reads": reads,
                "classifier": classifier,
                "max_length": settings.comparison.max_length,
                "layer": asked.layer,
                "training": {label: of_label for label, (_, of_label) in trained.items()},
            },
        )
    return kept


def _trained(
    one: Contender, asked: Asked, settings: ComparisonSettings
) -> tuple[LabelDetector, dict[str, Any]]:
    texts, features, seed = one.result.texts, one.result.choices[0].features, settings.seed
    values = sorted(choice.value for choice in one.result.choices)
    value = values[(len(values) - 1) // 2]
    tokens = asked.tokens.of(rows_of(texts.text_ids, asked.text_ids, "data/texts"))
    rates = settings.comparison.false_positive_rates
    training: dict[str, Any] = {
        "n_texts": len(texts.truth),
        "n_positive": int(texts.truth.sum()),
        "n_sets": len(np.unique(texts.copies)),
        one.recipe.hyperparameter: value,
        **held_out_settings(texts, features, one.recipe, value, rates, seed),
    }
    if isinstance(one.recipe, SparseRecipe):
        assert isinstance(features, FirstToken)
        likely = features.tokens(texts.rows)
        own = features.values[np.ix_(texts.rows, likely)].astype(np.float64)
        mean, scale = mean_and_scale(own)
        path = [v for v in sorted(settings.comparison.penalties, reverse=True) if v > value]
        x = (own - mean) / scale
        fits = sparse_fits(x, texts.truth, [*path, value], one.recipe.max_iter, seed)
        used = np.flatnonzero(fits[-1].weights)
        classifier = type(fits[-1])(fits[-1].weights[used], fits[-1].intercept)
        covered = TrainingRange.of(own[:, used], tokens.lengths)
        training["tokens"] = likely[used].tolist()
        return LabelDetector(mean[used], scale[used], classifier, covered), training
    assert isinstance(one.recipe, PooledRecipe)
    assert isinstance(features, TokenStates)
    mean, scale = features.mean_and_scale(texts.rows)
    x, _ = features.split(texts.rows, texts.rows[:1])
    probe = probe_fits(x, texts.truth, one.recipe.pooling, [value], one.recipe.steps)[0]
    covered = TrainingRange.of(tokens.means(), tokens.lengths)
    return LabelDetector(mean, scale, probe, covered), training


def card(
    detector: Detector, metrics: pd.DataFrame, points: pd.DataFrame, subgroups: pd.DataFrame
) -> str:
    """What a kept detector is, what it was trained on and what it would do, in Markdown.

    Args:
        detector: The detector.
        metrics: The table of detectors.
        points: The table of operating points.
        subgroups: The table of subgroups.
    """
    about, classifier = detector.description, detector.description["classifier"]
    provenance = about["provenance"]
    lines = [
        f"# {about['reads'].replace('_', ' ')}, {classifier.replace('_', ' ')}: {about['dataset']}",
        "",
        f"Reads what {provenance['model']} (weights {provenance['weights_sha256'][:12]}…) makes of "
        f"a text that it is asked, at most {about['max_length']} tokens of it. Seed "
        f"{about['seed']}. Trained by `compare_detectors`; scores of another model mean nothing.",
    ]
    for label, trained in about["training"].items():
        low, high = detector.labels[label].range.tokens
        rows = [
            table[(table["label"] == label) & (table["classifier"] == classifier)]
            for table in (metrics, points, subgroups)
        ]
        lines += [
            "",
            f"## {label}",
            "",
            f"Trained on {trained['n_texts']} texts of {about['dataset']}, {trained['n_positive']} "
            f"of them positive, {trained['n_sets']} sets of near-duplicates and groups. Texts of "
            f"{low} to {high} tokens; what is shorter, longer or otherwise unlike all of them has "
            "no score. Metrics are of texts that a fold did not see.",
            "",
            "| metric | value | low | high |",
            "|---|---|---|---|",
            *map(_metric, rows[0].to_dict("records")),
            "",
            "Rates are of thresholds set inside each fold, not of the kept one, which no text that "
            "it was not set on has tested.",
            "",
            "| false positives wanted | kept threshold, untested | realised in folds | positives "
            "found in folds | rate shown |",
            "|---|---|---|---|---|",
            *(_point(row, trained["thresholds"]) for row in rows[1].to_dict("records")),
        ]
        if len(rows[2]):
            lines += [
                "",
                "| group | of it | texts | positive | ROC-AUC within | false positives | found |",
                "|---|---|---|---|---|---|---|",
                *(_subgroup(row) for row in rows[2].to_dict("records")),
            ]
    return "\n".join(lines) + "\n"


def _metric(row: dict[str, Any]) -> str:
    return f"| {row['metric']} | {row['value']:.3f} | {_end(row['low'])} | {_end(row['high'])} |"


def _point(row: dict[str, Any], thresholds: Mapping[str, float]) -> str:
    shown = "yes" if row["false_positive_high"] <= row["wanted_rate"] else "no"
    least = thresholds[f"{row['wanted_rate']:g}"]
    return (
        f"| {row['wanted_rate']:.1%} | {least:.4f} | "
        f"{row['false_positive_rate']:.2%} ({row['false_positive_low']:.2%} to "
        f"{row['false_positive_high']:.2%}) | {row['true_positive_rate']:.1%} "
        f"({row['true_positive_low']:.1%} to {row['true_positive_high']:.1%}) | {shown}: "
        f"{row['n_negative_sets']} sets of negatives, {row['negatives_needed']} needed |"
    )


def _subgroup(row: dict[str, Any]) -> str:
    return (
        f"| {row['column']} | {row['group']} | {row['n_texts']} | {row['n_positive']} | "
        f"{_end(row['subgroup_auc'])} | {_end(row['false_positive_rate'])} | "
        f"{_end(row['true_positive_rate'])} |"
    )


def _end(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def write_kept(folder: Path, kept: Mapping[str, Detector], cards: Mapping[str, str]) -> None:
    """Write detectors with their cards into a folder, which appears whole or not at all."""
    with atomic_folder(folder) as temporary:
        for name, detector in kept.items():
            save_detector(temporary / f"{name}.safetensors", detector)
            (temporary / f"{name}.md").write_text(cards[name], encoding="utf-8")
