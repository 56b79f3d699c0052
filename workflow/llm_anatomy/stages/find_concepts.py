"""Find the neurons of the configured concepts."""

from pathlib import Path

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import ConceptSearch, VocabularyMap
from llm_anatomy.model.run.devices import choose_device
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.model.source.record import table_provenance, verified_record
from llm_anatomy.neurons.search import find_concepts
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.neurons import CONCEPT_TOKENS, CONCEPTS


class FindStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    map: VocabularyMap
    search: ConceptSearch


def run(settings: FindStage, *, model: Path, concepts: Path, concept_tokens: Path) -> None:
    """Read the MLP weights; write the most specific neurons and the tokens of every concept."""
    record = verified_record(model)
    device = choose_device(compute_settings())
    weights = ModelWeights(model.parent, device)
    vocabulary = Vocabulary(weights.folder)
    result = find_concepts(
        weights, vocabulary, settings.search, settings.map, settings.seed, device
    )
    provenance = table_provenance(record, Precision()) | {
        "normalisation": settings.map.normalisation,
        "seed": settings.seed,
        "reference_tokens": result.reference_tokens,
        "neighbours": settings.search.neighbours,
    }
    write_table(concepts, CONCEPTS, result.neurons, provenance)
    write_table(concept_tokens, CONCEPT_TOKENS, result.spellings, provenance)


if __name__ == "__main__":
    run_stage(run)
