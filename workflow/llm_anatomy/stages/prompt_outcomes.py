"""Judge the answers to the prompts, and correlate intrinsic dimension with what came out."""

from pathlib import Path

from llm_anatomy.config.base import Settings
from llm_anatomy.config.geometry import AnswerScorer
from llm_anatomy.geometry.correlation import correlation_frame
from llm_anatomy.geometry.outcomes import judge_answers
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import read_provenance, read_table, write_table
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
    """Train a classifier per outcome; write its scores of all answers and the correlations."""
    answered = read_table(prompts, PROMPTS)
    datasets = {owner["dataset"]: rows for owner, rows in Collection(texts, [TEXTS]).each(TEXTS)}
    outcomes, trained = judge_answers(answered, settings.scorers, datasets, settings.seed)
    links = correlation_frame(answered, read_table(prompt_dimension, PROMPT_DIMENSION), outcomes)
    provenance = read_provenance(prompts) | {"outcomes": settings.model_dump(mode="json")}
    write_table(prompt_outcomes, PROMPT_OUTCOMES, outcomes, provenance)
    write_table(answer_scorers, SCORERS, trained, provenance)
    write_table(prompt_correlations, PROMPT_CORRELATIONS, links, provenance)


if __name__ == "__main__":
    run_stage(run)
