"""Test the paper's claims on detection, and draw the study."""

from pathlib import Path

from llm_anatomy.figures.exhibit import write_figures
from llm_anatomy.figures.toxicity import toxicity_figures
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import EARLY_EXIT, TABLES
from llm_anatomy.toxicity.claims import ToxicityScope, toxicity_claims


def run(settings: ToxicityScope, *, tables: tuple[Path, ...], claims: Path, figures: Path) -> None:
    """Read the study's tables; write the paper's claims with what was measured, and figures."""
    collection = Collection(tables, [TEXTS, *TABLES])
    timed = collection.owners(EARLY_EXIT, model=settings.models, dataset=settings.datasets[:1])
    provenance = {
        "models": [collection.provenance(EARLY_EXIT, **owner)["model"] for owner in timed]
    }
    rows = toxicity_claims(collection, settings)
    write_table(claims, CLAIMS, CLAIMS.frame(rows), provenance)
    write_figures(figures, "toxicity", toxicity_figures(collection, settings))


if __name__ == "__main__":
    run_stage(run)
