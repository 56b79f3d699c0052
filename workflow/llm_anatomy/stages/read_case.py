"""Read one fact closely: its best units in tokens, contrasts, and where its heads look."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.facts import Attribution, CaseStudy
from llm_anatomy.facts.case import find_case, read_case
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables import fact_case
from llm_anatomy.tables.collection import Collection, write_tables
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.facts import FACTS, QUERY_NEURONS


class CaseStage(Settings):
    """What this stage reads of the configuration."""

    precision: Precision
    attribution: Attribution
    case_study: CaseStudy | None


def run(
    settings: CaseStage,
    *,
    model: Path,
    facts: tuple[Path, ...],
    query_neurons: Path,
    tables: tuple[Path, ...],
) -> None:
    """Read the case study's fact; write its units, contrasts and attention."""
    compute, asked = compute_settings(), settings.case_study
    fact = find_case(Collection(facts, [FACTS]).joined(FACTS), asked)
    if asked is None or fact.empty:
        write_tables(tables, {s: s.frame([]) for s in fact_case.TABLES}, {"case_study": None})
        return
    loaded = load_model(model, settings.precision, compute)
    queries = read_table(query_neurons, QUERY_NEURONS)
    frames = read_case(loaded, fact, queries, settings.attribution, asked, compute.batch_tokens)
    about = {"prompt": fact["prompt"][0], "answer": fact["answer"][0]}
    provenance = loaded.provenance | {"case_study": asked.model_dump()} | about
    write_tables(tables, frames, provenance)


if __name__ == "__main__":
    run_stage(run)
