"""Test the paper's claims on intrinsic dimension and regions, and draw the study."""

from pathlib import Path

from llm_anatomy.figures.exhibit import write_figures
from llm_anatomy.figures.geometry import geometry_figures
from llm_anatomy.geometry.claims import GeometryScope, geometry_claims
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.geometry import PROMPTS, TABLES


def run(settings: GeometryScope, *, tables: tuple[Path, ...], claims: Path, figures: Path) -> None:
    """Read the study's tables; write the paper's claims with what was measured, and figures."""
    collection = Collection(tables, TABLES)
    provenance = {
        "settings": settings.model_dump(mode="json"),
        "models": [collection.provenance(PROMPTS, model=model) for model in settings.models],
    }
    rows = geometry_claims(collection, settings)
    write_table(claims, CLAIMS, CLAIMS.frame(rows), provenance)
    write_figures(figures, "geometry", geometry_figures(collection, settings))


if __name__ == "__main__":
    run_stage(run)
