"""Compare with a Hugging Face text classifier, by its score, on the texts of every label."""

from pathlib import Path

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.toxicity import HubClassifier, Scoring
from llm_anatomy.model.run.devices import choose_device
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import FOLDS, HUB_METRICS, HUB_SCORES
from llm_anatomy.toxicity.evaluate import LabelledTexts, OutOfFold, labelled_texts, measured_rows
from llm_anatomy.toxicity.hub import score_with_classifier


class HubStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    scoring: Scoring
    classifier: HubClassifier


def run(settings: HubStage, *, texts: Path, folds: Path, scores: Path, metrics: Path) -> None:
    """Read texts and labels; write the classifier's scores and their metrics."""
    table = read_table(texts, TEXTS)
    compute = compute_settings()
    device = choose_device(compute)
    found = score_with_classifier(
        settings.classifier,
        list(table["text"]),
        compute.batch_tokens,
        "cuda" if device == "auto" else device,
    )
    provenance = read_provenance(texts) | {"toxicity": settings.model_dump()}
    columns = {
        "text_id": table["text_id"],
        "score": found.scores,
        "top_is_positive": found.top_is_positive,
        "n_tokens": found.n_tokens,
        "truncated": found.truncated,
    }
    write_table(scores, HUB_SCORES, pd.DataFrame(columns), provenance)
    rows = []
    for label in labelled_texts(read_table(folds, FOLDS), list(table["text_id"])):
        rows += _measured(settings, label, found.scores[label.rows])
        hard = _measured(settings, label, found.top_is_positive[label.rows].astype(np.float64))
        rows += [
            row | {"metric": "roc_auc_hard_label"} for row in hard if row["metric"] == "roc_auc"
        ]
    write_table(metrics, HUB_METRICS, pd.DataFrame(rows), provenance)


def _measured(
    settings: HubStage, label: LabelledTexts, scores: np.ndarray
) -> list[dict[str, object]]:
    name = f"hub:{settings.classifier.name}"
    result = OutOfFold(name, "none", "", label, scores, [])
    return measured_rows(result, settings.scoring, settings.seed)


if __name__ == "__main__":
    run_stage(run)
