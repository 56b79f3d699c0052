"""Test what the paper says about facts, and draw the study."""

from pathlib import Path

from llm_anatomy.attribution.claims import unit_claims
from llm_anatomy.facts.claims import FactsScope, facts_claims
from llm_anatomy.figures.exhibit import write_figures
from llm_anatomy.figures.facts import facts_figures
from llm_anatomy.runner import run_stage
from llm_anatomy.tables import attribution, fact_case, facts, grids
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import content_hashes, write_table


def run(settings: FactsScope, *, tables: tuple[Path, ...], claims: Path, figures: Path) -> None:
    """Read the study's tables; write the paper's claims with what was measured, and figures."""
    schemas = (*facts.TABLES, *fact_case.TABLES, *attribution.TABLES, *grids.TABLES)
    collection = Collection(tables, schemas)
    provenance = {"inputs": content_hashes(collection.paths)}
    rows = facts_claims(collection, settings)
    rows += [row for model in settings.models for row in unit_claims(collection, model)]
    write_table(claims, CLAIMS, CLAIMS.frame(rows), provenance)
    write_figures(figures, "facts", facts_figures(collection, settings))


if __name__ == "__main__":
    run_stage(run)
