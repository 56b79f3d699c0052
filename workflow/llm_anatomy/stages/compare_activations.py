"""Compare the decoded tokens of sampled neurons with the tokens on which they fire."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.neurons import Activation, Matrix
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.neurons.activation import in_context, overlap, record
from llm_anatomy.neurons.tokens import Vocabulary
from llm_anatomy.neurons.validation import sample_neurons
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_arrow, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.neurons import ACTIVATION, VOCABULARY

logger = logging.getLogger(__name__)

MATRICES: tuple[Matrix, ...] = ("up", "gate", "down")


class ActivationStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    activation: Activation


def run(
    settings: ActivationStage, *, model: Path, vocabulary: Path, texts: Path, activation: Path
) -> None:
    """Read decoded tokens and texts; write how often the firing tokens are the decoded ones."""
    asked = settings.activation
    words = Vocabulary(model.parent / "weights").texts
    compute = compute_settings()
    loaded = load_model(model, settings.precision, compute)
    decoder = loaded.decoder
    table = read_table(texts, TEXTS)
    chosen = np.random.default_rng(settings.seed).permutation(len(table))[: asked.texts]
    encoded = loaded.tokenizer([table["text"].iloc[i] for i in sorted(chosen)])["input_ids"]
    ids = [row[: asked.max_tokens] for row in encoded]
    used = [row for row in ids if len(row) > 2]
    logger.info("%d texts, %d used, %d too short", len(ids), len(used), len(ids) - len(used))
    if not used:
        raise UserError(
            f"{texts}: no sampled text has three tokens or more; set neurons.activation.dataset to "
            "another data set"
        )
    samples = {
        block.index: sample_neurons(
            block.n_neurons, asked.neurons_per_layer, settings.seed, block.index
        )
        for block in decoder.blocks
    }
    decoded = _decoded_tokens(vocabulary, samples)
    matrices = [m for m in MATRICES if any(key[1] == m for key in decoded)]
    places = {(layer, m): neurons for layer, neurons in samples.items() for m in matrices}
    recorded = record(decoder, used, places, compute.batch_tokens)
    rows: list[dict[str, Any]] = []
    for (layer, matrix), neurons in places.items():
        for column, neuron in enumerate(neurons):
            for sign in (1, -1):
                values = sign * recorded.values[layer, matrix][:, column]
                tokens = decoded[layer, matrix, neuron, sign]
                row = overlap(recorded, values, tokens, asked.top_positions)
                text, position = row.pop("best")
                context = in_context(used[text], position, words)
                rows.append(
                    {"layer": layer, "neuron": neuron, "matrix": matrix, "sign": sign}
                    | row
                    | {"strongest": context}
                )
    frame = pd.DataFrame(rows)[[column.name for column in ACTIVATION.columns]]
    provenance = loaded.provenance | {
        "seed": settings.seed,
        "texts": len(ids),
        "texts_used": len(used),
        "positions": len(recorded.place),
    }
    write_table(activation, ACTIVATION, frame, provenance)


def _decoded_tokens(
    vocabulary: Path, samples: dict[int, list[int]]
) -> dict[tuple[int, str, int, int], list[int]]:
    """Decoded tokens by layer, matrix, neuron and sign, of the sampled neurons."""
    table = read_arrow(vocabulary, VOCABULARY)
    layers, numbers = (table[name].to_numpy().astype(np.int64) for name in ("layer", "neuron"))
    # One number for both: the map has millions of rows, and tuples of them take seconds.
    width = int(numbers.max()) + 1
    wanted = [layer * width + neuron for layer, own in samples.items() for neuron in own]
    sampled = table.filter(pa.array(np.isin(layers * width + numbers, wanted)))
    frame = sampled.select(["layer", "matrix", "neuron", "sign", "token_id"]).to_pandas()
    keys = ["layer", "matrix", "neuron", "sign"]
    found: dict[tuple[int, str, int, int], list[int]] = (
        frame.groupby(keys)["token_id"].apply(list).to_dict()
    )
    return found


if __name__ == "__main__":
    run_stage(run)
