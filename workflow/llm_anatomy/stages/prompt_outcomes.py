"""Judge the answers to the prompts, and correlate intrinsic dimension with what came out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.geometry import AnswerScorer
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.correlation import correlate
from llm_anatomy.geometry.outcomes import train_scorer
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import TableSchema, read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import (
    PROMPT_CORRELATIONS,
    PROMPT_DIMENSION,
    PROMPT_OUTCOMES,
    PROMPTS,
    SCORERS,
)


class OutcomeStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    scorers: list[AnswerScorer]


def run(
    settings: OutcomeStage,
    *,
    prompts: Path,
    prompt_dimension: Path,
    texts: tuple[Path, ...],
    prompt_outcomes: Path,
    answer_scorers: Path,
    prompt_correlations: Path,
) -> None:
    """Train a classifier per outcome; write its scores of all answers and the correlations.

    `texts` holds one dataset for every scorer, in the same order. Without scorers, as where a
    user's own data are all there is, answers go unjudged and both of their tables are empty.
    """
    answered = read_table(prompts, PROMPTS)
    dimension = read_table(prompt_dimension, PROMPT_DIMENSION)
    outcomes, scorers = [], []
    for asked, source in zip(settings.scorers, texts, strict=True):
        scores, scorer = _judge(asked, source, list(answered["answer"]), settings.seed)
        outcomes.append(
            pd.DataFrame(
                {
                    "prompt_id": answered["prompt_id"],
                    "outcome": asked.outcome,
                    "score": scores,
                    "positive": scores >= scorer["threshold"],
                }
            )
        )
        scorers.append(scorer)
    judged = pd.concat(outcomes, ignore_index=True) if outcomes else _empty(PROMPT_OUTCOMES)
    provenance = read_provenance(prompts) | {"outcomes": settings.model_dump(mode="json")}
    write_table(prompt_outcomes, PROMPT_OUTCOMES, judged, provenance)
    trained = pd.DataFrame(scorers) if scorers else _empty(SCORERS)
    write_table(answer_scorers, SCORERS, trained, provenance)
    correlations = correlation_table(answered, dimension, judged)
    write_table(prompt_correlations, PROMPT_CORRELATIONS, correlations, provenance)


def correlation_table(
    prompts: pd.DataFrame, dimension: pd.DataFrame, outcomes: pd.DataFrame
) -> pd.DataFrame:
    """Rows of `PROMPT_CORRELATIONS`."""
    variables = prompts.set_index("prompt_id")[["format", "context_length"]].assign(
        related=(prompts["condition"] == "related").to_numpy().astype(float)
    )
    scores = outcomes.pivot(index="prompt_id", columns="outcome", values="score")
    variables = variables.join(scores)
    rows: list[dict[str, Any]] = []
    merged = dimension.merge(variables, left_on="prompt_id", right_index=True)
    names = ["context_length", "related", *scores.columns]
    for (form, threshold, layer), part in merged.groupby(["format", "threshold", "layer"]):
        length = part["context_length"].to_numpy(float)
        for name in names:
            found = correlate(part["dimension"].to_numpy(float), part[name].to_numpy(float), length)
            rows.append(
                {
                    "format": form,
                    "threshold": threshold,
                    "layer": layer,
                    "variable": name,
                    **vars(found),
                }
            )
    return pd.DataFrame(rows)


def _empty(schema: TableSchema) -> pd.DataFrame:
    return pd.DataFrame(columns=[column.name for column in schema.columns])


def _judge(
    asked: AnswerScorer, source: Path, answers: list[str], seed: int
) -> tuple[np.ndarray, dict[str, Any]]:
    data = read_table(source, TEXTS)
    column = f"label_{asked.label}"
    if column not in data.columns:
        known = [name.removeprefix("label_") for name in data.columns if name.startswith("label_")]
        raise UserError(
            f"{source} has no label '{asked.label}', which the key 'geometry.prompts.scorers' "
            f"names; it has {', '.join(known) or 'none'}"
        )
    used = data[data[column].notna()]
    labels = used[column].to_numpy(dtype=bool)
    try:
        scorer = train_scorer(list(used["text"]), labels, seed)
    except ValueError as error:
        raise UserError(
            f"{source} cannot train the answer scorer '{asked.outcome}': {error}"
        ) from error
    row = {
        "outcome": asked.outcome,
        "dataset": asked.dataset,
        "label": asked.label,
        "n_rows": len(data),
        "n_used": len(used),
        "n_positive": int(labels.sum()),
        "roc_auc": scorer.roc_auc,
        "threshold": scorer.threshold,
        "balanced_accuracy": scorer.balanced_accuracy,
    }
    return scorer.scores(answers), row


if __name__ == "__main__":
    run_stage(run)
