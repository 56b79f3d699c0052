"""Compare the decoded neurons of two models with the same shapes."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import Comparison, VocabularyMap
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.devices import choose_device
from llm_anatomy.model.source.record import table_provenance, verified_record
from llm_anatomy.neurons.compare import (
    agreement_row,
    check_comparable,
    jaccard,
    most_changed,
    same_top,
    weight_cosines,
)
from llm_anatomy.neurons.mapping import Mapper, present_matrices
from llm_anatomy.neurons.tokens import Vocabulary
from llm_anatomy.neurons.weights import ModelWeights
from llm_anatomy.progress import Progress
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_arrow, write_table
from llm_anatomy.tables.neurons import AGREEMENT, CHANGED, VOCABULARY

logger = logging.getLogger(__name__)


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
    records = [verified_record(model_a), verified_record(model_b)]
    a, b = ModelWeights(model_a.parent), ModelWeights(model_b.parent)
    names = (str(records[0]["model"]), str(records[1]["model"]))
    check_comparable(a, b, names)
    device = choose_device(compute_settings())
    device = "cuda" if device == "auto" else device
    mappers = {"own": Mapper(b, settings.map, device)}
    same_head = torch.equal(a.head, b.head)
    if "first" in settings.comparison.heads and not same_head:
        mappers["first"] = Mapper(b, settings.map, device, head=a.head)
    vocabulary = Vocabulary(a.folder)
    top_k = settings.map.top_k
    decoded = _decoded_tokens(vocabulary_a, top_k)
    matrices = list(present_matrices(a, settings.comparison.matrices))
    if not matrices:
        raise UserError(
            f"neurons.comparison.matrices names {', '.join(settings.comparison.matrices)}, which "
            f"the model '{names[0]}' does not have"
        )
    rows: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    with Progress(len(matrices) * a.n_layers, "matrices", "compare_models") as progress:
        for matrix in matrices:
            cosines: list[np.ndarray] = []
            tops: list[tuple[torch.Tensor, torch.Tensor]] = []
            values: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {h: [] for h in mappers}
            for layer in range(a.n_layers):
                vectors = a.vectors(layer, matrix), b.vectors(layer, matrix)
                if vectors[0].shape != vectors[1].shape:
                    raise UserError(
                        f"layer {layer} of '{names[0]}' has {len(vectors[0])} neurons and of "
                        f"'{names[1]}' {len(vectors[1])}; only equal shapes can be compared"
                    )
                cosines.append(weight_cosines(*vectors).numpy())
                first = decoded[layer, matrix]
                for head, mapper in mappers.items():
                    second = mapper.decode(layer, matrix).positive.ids[:, :top_k].cpu()
                    values[head].append(
                        (same_top(first, second).numpy(), jaccard(first, second).numpy())
                    )
                    if head == "own":
                        tops.append((first, second))
                progress.advance()
            for head in settings.comparison.heads:
                # With equal heads both choices are the same computation.
                found = values[head if head in values else "own"]
                for layer, (same, overlap) in enumerate(found):
                    rows.append(agreement_row(matrix, head, layer, same, overlap, cosines[layer]))
                same, overlap = (np.concatenate(column) for column in zip(*found, strict=True))
                rows.append(
                    agreement_row(matrix, head, None, same, overlap, np.concatenate(cosines))
                )
            for rank, (layer, neuron) in enumerate(
                most_changed(cosines, settings.comparison.changed), 1
            ):
                first, second = tops[layer][0][neuron], tops[layer][1][neuron]
                changes.append(
                    {
                        "matrix": matrix,
                        "rank": rank,
                        "layer": layer,
                        "neuron": neuron,
                        "weight_cosine": float(cosines[layer][neuron]),
                        "jaccard": float(jaccard(first[None], second[None])[0]),
                        "token_a": vocabulary.text(int(first[0])),
                        "token_b": vocabulary.text(int(second[0])),
                    }
                )
    logger.info("heads are %s", "equal" if same_head else "different")
    provenance = {
        "a": table_provenance(records[0], Precision()),
        "b": table_provenance(records[1], Precision()),
        "normalisation": settings.map.normalisation,
        "top_k": top_k,
        "same_head": same_head,
    }
    frame = pd.DataFrame(rows).astype({"layer": "Int16"})
    write_table(agreement, AGREEMENT, frame, provenance)
    write_table(changed, CHANGED, pd.DataFrame(changes), provenance)


def _decoded_tokens(vocabulary: Path, top_k: int) -> dict[tuple[int, str], torch.Tensor]:
    """Top tokens of every vector, [neurons, top_k], by layer and matrix."""
    table = read_arrow(vocabulary, VOCABULARY)
    frame = table.select(["layer", "matrix", "sign", "token_id"]).to_pandas()
    # Rows are in the order of neurons and ranks.
    positive = frame[frame["sign"] == 1].groupby(["layer", "matrix"], sort=False)["token_id"]
    return {
        (int(layer), str(matrix)): torch.tensor(ids.to_numpy().astype("int64")).view(-1, top_k)
        for (layer, matrix), ids in positive
    }


if __name__ == "__main__":
    run_stage(run)
