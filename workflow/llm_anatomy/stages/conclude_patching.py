"""Test the paper's claims about manipulated previous tokens, and draw the study."""

from itertools import product
from pathlib import Path

from llm_anatomy.figures.exhibit import write_figures
from llm_anatomy.figures.patching import patching_figures
from llm_anatomy.patching.claims import PatchingScope, patching_claims
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.patching import CURVES, TABLES


def run(settings: PatchingScope, *, tables: tuple[Path, ...], claims: Path, figures: Path) -> None:
    """Read the study's tables; write the paper's claims with what was measured, and figures."""
    collection = Collection(tables, TABLES)
    provenance = {
        "settings": settings.model_dump(mode="json"),
        "models": [
            collection.provenance(CURVES, model=model, task=task.name)
            for model, task in product(settings.models, settings.patching.tasks)
        ],
    }
    rows = patching_claims(collection, settings)
    write_table(claims, CLAIMS, CLAIMS.frame(rows), provenance)
    write_figures(figures, "patching", patching_figures(collection, settings))


if __name__ == "__main__":
    run_stage(run)
