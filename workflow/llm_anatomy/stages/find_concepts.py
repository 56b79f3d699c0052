"""Find the neurons of the configured concepts."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import ConceptSearch, Matrix, VocabularyMap
from llm_anatomy.model.run.devices import choose_device
from llm_anatomy.model.source.record import table_provenance, verified_record
from llm_anatomy.neurons.concepts import Block, place_tokens, rank_neurons, reference_words
from llm_anatomy.neurons.mapping import present_matrices
from llm_anatomy.neurons.normalise import normalise_head, normalise_vectors
from llm_anatomy.neurons.tokens import Vocabulary
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.progress import track
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.neurons import CONCEPT_TOKENS, CONCEPTS

logger = logging.getLogger(__name__)


class FindStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    map: VocabularyMap
    search: ConceptSearch


def run(settings: FindStage, *, model: Path, concepts: Path, concept_tokens: Path) -> None:
    """Read the MLP weights; write the most specific neurons and the tokens of every concept."""
    record = verified_record(model)
    choose_device(compute_settings())
    weights = ModelWeights(model.parent)
    vocabulary = Vocabulary(weights.folder)
    mode = settings.map.normalisation
    head = normalise_head(weights.head.float(), mode)
    asked = settings.search.concepts
    ids = [vocabulary.concept_ids(concept) for concept in asked]
    named = [token for tokens in ids for token in tokens]
    reference = reference_words(vocabulary, named, settings.search.reference_tokens, settings.seed)
    matrices = list(present_matrices(weights, settings.map.matrices))

    def decoded(layer: int, matrix: Matrix) -> torch.Tensor:
        vectors = weights.vectors(layer, matrix).float()
        return normalise_vectors(vectors, weights, layer, matrix, mode)

    def blocks() -> Iterator[Block]:
        pairs = [(layer, matrix) for layer in range(weights.n_layers) for matrix in matrices]
        for layer, matrix in track(iter(pairs), len(pairs), "matrices", "find_concepts"):
            yield Block(layer, matrix, decoded(layer, matrix))

    search = settings.search
    found = rank_neurons(blocks(), head, ids, reference, search.neighbours, search.neurons)
    rows = []
    for concept, neurons in zip(asked, found, strict=True):
        vectors = [decoded(row["layer"], row["matrix"])[row["neuron"]] for row in neurons]
        signs, tokens = ([row[key] for row in neurons] for key in ("sign", "token_id"))
        placed = place_tokens(head, torch.stack(vectors), signs, tokens)
        for rank, (row, place) in enumerate(zip(neurons, placed, strict=True), 1):
            token = vocabulary.text(row["token_id"])
            rows.append({"concept": concept.name, "rank": rank} | row | {"token": token} | place)
    frame = pd.DataFrame(rows)[[column.name for column in CONCEPTS.columns]]
    provenance = table_provenance(record, Precision()) | {
        "normalisation": mode,
        "seed": settings.seed,
        "reference_tokens": len(reference),
        "neighbours": search.neighbours,
    }
    write_table(concepts, CONCEPTS, frame, provenance)
    spellings = pd.DataFrame(
        [
            {"concept": concept.name, "text": s.text, "token_id": s.token_id}
            for concept in asked
            for s in vocabulary.spellings(concept)
        ]
    ).astype({"token_id": "Int32"})
    logger.info(
        "%d spellings, %d of them single tokens", len(spellings), spellings["token_id"].count()
    )
    write_table(concept_tokens, CONCEPT_TOKENS, spellings, provenance)


if __name__ == "__main__":
    run_stage(run)
