"""Decode the neurons of some layers into tokens, straight from the safetensors files."""

from pathlib import Path

from pydantic import Field

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import VocabularyMap
from llm_anatomy.model.run.devices import choose_device
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.model.source.record import table_provenance, verified_record
from llm_anatomy.neurons.mapping import map_neurons, map_provenance
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import open_table
from llm_anatomy.tables.neurons import (
    STATISTICS,
    STATISTICS_PART,
    VOCABULARY,
    VOCABULARY_PART,
)


class VocabularyStage(Settings):
    """What this stage reads of the configuration."""

    map: VocabularyMap
    part: int = Field(ge=0, description="Which share of the layers, from 0.")


def run(settings: VocabularyStage, *, model: Path, vocabulary: Path, statistics: Path) -> None:
    """Read one share of a model's MLP weights; write their tokens and statistics."""
    record = verified_record(model)
    device = choose_device(compute_settings())
    weights = ModelWeights(model.parent, device)
    provenance = table_provenance(record, Precision()) | map_provenance(weights, settings.map)
    whole = settings.map.parts == 1
    tokens = Vocabulary(weights.folder)
    # Written matrix by matrix, so that memory does not grow with the number of layers.
    with (
        open_table(vocabulary, VOCABULARY if whole else VOCABULARY_PART, provenance) as words,
        open_table(statistics, STATISTICS if whole else STATISTICS_PART, provenance) as numbers,
    ):
        for decoded, shape in map_neurons(weights, tokens, settings.map, device, settings.part):
            words.write(decoded)
            numbers.write(shape)


if __name__ == "__main__":
    run_stage(run)
