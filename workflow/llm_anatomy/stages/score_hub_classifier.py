"""Compare with a Hugging Face text classifier, by its score, on the texts of every label."""

from pathlib import Path

from llm_anatomy.config.base import CPU_BATCH_TOKENS
from llm_anatomy.model.run.devices import choose_device
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import FOLDS, HUB_METRICS, HUB_SCORES
from llm_anatomy.toxicity.hub import HubSettings, score_with_classifier


def run(
    settings: HubSettings,
    *,
    texts: Path,
    folds: Path,
    fetched: tuple[Path, ...],
    scores: Path,
    metrics: Path,
) -> None:
    """Read texts, labels and a fetched classifier; write its scores and their metrics.

    Nothing is fetched for a classifier that is one of the user's own folders.
    """
    table, compute = read_table(texts, TEXTS), compute_settings()
    device, budget = choose_device(compute), compute.batch_tokens or CPU_BATCH_TOKENS
    result = score_with_classifier(
        settings.classifier, list(table["text"]), budget, device, *fetched
    )
    ids = list(table["text_id"])
    provenance = read_provenance(texts) | {"toxicity": settings.model_dump()}
    write_table(scores, HUB_SCORES, result.table(ids), provenance)
    measured = result.metrics(ids, read_table(folds, FOLDS), settings)
    write_table(metrics, HUB_METRICS, measured, provenance)


if __name__ == "__main__":
    run_stage(run)
