"""Decode the neurons of some layers into tokens, straight from the safetensors files."""

import logging
from pathlib import Path

from pydantic import Field

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import VocabularyMap
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.devices import choose_device
from llm_anatomy.model.source.record import table_provenance, verified_record
from llm_anatomy.neurons.mapping import (
    Mapper,
    layer_range,
    present_matrices,
    statistics_columns,
    vocabulary_columns,
)
from llm_anatomy.neurons.tokens import Vocabulary
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.progress import Progress
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import open_table
from llm_anatomy.tables.neurons import STATISTICS_PART, VOCABULARY_PART

logger = logging.getLogger(__name__)


class MapStage(Settings):
    """What this stage reads of the configuration."""

    map: VocabularyMap
    part: int = Field(ge=0, description="Which share of the layers, from 0.")


def run(settings: MapStage, *, model: Path, vocabulary: Path, statistics: Path) -> None:
    """Read one share of a model's MLP weights; write their tokens and statistics."""
    record = verified_record(model)
    device = choose_device(compute_settings())
    weights = ModelWeights(model.parent)
    matrices = list(present_matrices(weights, settings.map.matrices))
    absent = [matrix for matrix in settings.map.matrices if matrix not in matrices]
    if not matrices:
        raise UserError(
            f"neurons.map.matrices asks for {', '.join(absent)}, which the model "
            f"'{record['model']}' does not have; ask for up or down"
        )
    if absent:
        logger.warning("the model has no %s projection; it is left out of the map", absent[0])
    # A model that accelerate would spread over cards is decoded on the first of them.
    mapper = Mapper(weights, settings.map, "cuda" if device == "auto" else device)
    tokens = Vocabulary(weights.folder)
    layers = layer_range(weights.n_layers, settings.part, settings.map.parts)
    provenance = table_provenance(record, Precision()) | {
        "normalisation": settings.map.normalisation,
        "screen": settings.map.screen,
        "matrices_absent": absent,
        "head_tied": weights.architecture["head"]["tied"],
    }
    logger.info(
        "%d layers, %d matrices, %d tokens", len(layers), len(matrices), mapper.decoder.vocab
    )
    # Written matrix by matrix, so that memory does not grow with the number of layers.
    with (
        open_table(vocabulary, VOCABULARY_PART, provenance) as words,
        open_table(statistics, STATISTICS_PART, provenance) as numbers,
        Progress(len(layers) * len(matrices), "matrices", "map_neurons") as progress,
    ):
        for layer in layers:
            for matrix in matrices:
                decoded = mapper.decode(layer, matrix)
                words.write(vocabulary_columns(decoded, settings.map.top_k, layer, matrix, tokens))
                numbers.write(statistics_columns(decoded, layer, matrix))
                progress.advance()


if __name__ == "__main__":
    run_stage(run)
