"""Test the claims of the neuron paper, and draw the study."""

from pathlib import Path

from llm_anatomy.figures.exhibit import write_figures
from llm_anatomy.figures.neuron_study import neuron_study_figures
from llm_anatomy.neurons.claims import NeuronScope, neuron_claims
from llm_anatomy.neurons.context_claims import context_claims
from llm_anatomy.neurons.steering_claims import steering_claims
from llm_anatomy.runner import run_stage
from llm_anatomy.tables import contexts, directions
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.neurons import AGREEMENT, CLAMPING, TABLES


def run(settings: NeuronScope, *, tables: tuple[Path, ...], claims: Path, figures: Path) -> None:
    """Read the study's tables; write the paper's claims with what was measured, and figures."""
    collection = Collection(tables, (*TABLES, *contexts.TABLES, *directions.TABLES))
    provenance = {
        model: collection.provenance(CLAMPING, model=model) for model in settings.models
    } | {
        pair: collection.provenance(AGREEMENT, **owner)
        for pair, owner in zip(settings.pairs, settings.pair_owners, strict=True)
    }
    models = settings.models
    rows = neuron_claims(collection, settings)
    rows += context_claims(collection, models) + steering_claims(collection, models)
    write_table(claims, CLAIMS, CLAIMS.frame(rows), provenance)
    write_figures(figures, "neurons", neuron_study_figures(collection, settings))


if __name__ == "__main__":
    run_stage(run)
