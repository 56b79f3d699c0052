"""What it costs to read the features of the first layers, beside the plain pass of the model."""

from pathlib import Path

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.toxicity import EarlyExit
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.batching import context_length, encode, token_budget_batches
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.toxicity import EARLY_EXIT
from llm_anatomy.toxicity.latency import time_texts


class EarlyExitStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    max_length: int
    early_exit: EarlyExit


def run(settings: EarlyExitStage, *, model: Path, texts: Path, early_exit: Path) -> None:
    """Read a sample of texts; write the time of each number of layers, one text at a time."""
    table = read_table(texts, TEXTS)
    asked = settings.early_exit
    rows = np.random.default_rng(settings.seed).permutation(len(table))[: asked.timed_texts]
    loaded = load_model(model, settings.precision, compute_settings())
    decoder = loaded.decoder
    outside = [n for n in asked.n_layers if not 1 <= n <= decoder.n_layers]
    if outside:
        raise UserError(
            f"the key 'toxicity.early_exit.n_layers' names {outside[0]}, but the model has "
            f"{decoder.n_layers} layers"
        )
    longest = min(settings.max_length, context_length(decoder.config) or settings.max_length)
    encoded = encode(loaded.tokenizer, [table["text"].iloc[row] for row in sorted(rows)], longest)
    batches = list(token_budget_batches(encoded.ids, 1, device=decoder.device))
    timed = time_texts(decoder, batches, [*asked.n_layers, decoder.n_layers])
    write_table(
        early_exit,
        EARLY_EXIT,
        pd.DataFrame([vars(t) for t in timed]),
        loaded.provenance | {"toxicity": settings.model_dump()},
    )


if __name__ == "__main__":
    run_stage(run)
