"""Read one fact closely: its best units in tokens, contrasts, and where its heads look."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.facts import Attribution, CaseStudy
from llm_anatomy.facts.case import find_case, read_case
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.collection import Collection, write_tables
from llm_anatomy.tables.fact_case import TABLES as CASE_TABLES
from llm_anatomy.tables.facts import FACTS, QUERY_NEURONS


class CaseStage(Settings):
    """What this stage reads of the configuration."""

    precision: Precision
    attribution: Attribution
    case_study: CaseStudy | None


def run(
    settings: CaseStage, *, model: Path, tables: tuple[Path, ...], results: tuple[Path, ...]
) -> None:
    """Read the case study's fact; write its units, contrasts and attention."""
    compute, case = compute_settings(), settings.case_study
    collection = Collection(tables, (FACTS, QUERY_NEURONS))
    fact, queries = find_case(collection.joined(FACTS), case), collection.joined(QUERY_NEURONS)
    if case is None or fact.empty:
        write_tables(results, {s: s.frame([]) for s in CASE_TABLES}, {"case_study": None})
        return
    loaded = load_model(model, settings.precision, compute)
    frames = read_case(loaded, fact, queries, settings.attribution, case, loaded.batch_tokens)
    provenance = loaded.provenance | {
        "case_study": case.model_dump(),
        "prompt": fact["prompt"][0],
        "answer": fact["answer"][0],
    }
    write_tables(results, frames, provenance)


if __name__ == "__main__":
    run_stage(run)
