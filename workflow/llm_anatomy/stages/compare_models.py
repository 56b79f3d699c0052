"""Compare the decoded neurons of two models with the same shapes."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import Comparison, VocabularyMap
from llm_anatomy.model.run.devices import choose_device
from llm_anatomy.model.source.record import table_provenance, verified_record
from llm_anatomy.neurons.compare import TOP_COLUMNS, compare_models
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_arrow, write_table
from llm_anatomy.tables.neurons import AGREEMENT, CHANGED, VOCABULARY


class CompareStage(Settings):
    """What this stage reads of the configuration."""

    map: VocabularyMap
    comparison: Comparison


def run(
    settings: CompareStage,
    *,
    model_a: Path,
    model_b: Path,
    vocabulary_a: Path,
    agreement: Path,
    changed: Path,
) -> None:
    """Read the first model's map and both models' weights; write how far they agree."""
    a, b = (table_provenance(verified_record(model), Precision()) for model in (model_a, model_b))
    device = choose_device(compute_settings())
    weights = ModelWeights(model_a.parent), ModelWeights(model_b.parent)
    wanted = [("sign", "=", 1), ("matrix", "in", settings.comparison.matrices)]
    table = read_arrow(vocabulary_a, VOCABULARY, TOP_COLUMNS, wanted)
    result = compare_models(*weights, table, settings.map, settings.comparison, device)
    provenance = {
        "a": a,
        "b": b,
        "normalisation": settings.map.normalisation,
        "top_k": settings.map.top_k,
        "same_head": result.same_head,
    }
    write_table(agreement, AGREEMENT, result.agreement, provenance)
    write_table(changed, CHANGED, result.changed, provenance)


if __name__ == "__main__":
    run_stage(run)
