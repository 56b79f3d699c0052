"""Time of a forward pass that stops early, one text at a time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from llm_anatomy.config.ranges import check_layer_count
from llm_anatomy.config.toxicity import EarlyExit
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.spline import spline_features
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import Batch, encode, readable_tokens, token_budget_batches
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.progress import Progress
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.tables.toxicity import EARLY_EXIT


@dataclass(frozen=True)
class Timed:
    """Times of one kind of pass, as in the table of early exits."""

    n_layers: int
    what: str
    n_texts: int
    n_tokens: int
    median_ms: float
    p95_ms: float
    share_of_plain: float


def time_early_exit(
    loaded: LoadedModel, texts: Sequence[str], settings: EarlyExit, max_length: int, seed: int
) -> pd.DataFrame:
    """Time the features of the first layers beside the plain pass, on a sample of texts.

    Args:
        loaded: The model.
        texts: The texts that the sample is drawn from.
        settings: Numbers of first layers, and of texts.
        max_length: Most tokens of a text.
        seed: Seed of the sample.

    Returns:
        Rows of the table of early exits.

    Raises:
        UserError: The model has fewer layers than asked for.
    """
    decoder = loaded.decoder
    for count in settings.n_layers:
        check_layer_count("toxicity.early_exit.n_layers", count, decoder.n_layers)
    order = keyed_generator(seed, Purpose.TIMED_TEXTS).permutation(len(texts))
    rows = order[: settings.timed_texts]
    longest = readable_tokens(decoder.config, max_length)
    encoded = encode(loaded.tokenizer, [texts[row] for row in sorted(rows)], longest)
    batches = list(token_budget_batches(encoded.ids, 1, device=decoder.device))
    timed = time_texts(decoder, batches, [*settings.n_layers, decoder.n_layers])
    return EARLY_EXIT.frame(vars(row) for row in timed)


def time_texts(decoder: Decoder, batches: Sequence[Batch], depths: Sequence[int]) -> list[Timed]:
    """Time the plain pass, and the features of the first layers for every depth.

    The kinds of pass take turns on every text, so that a change of the machine's load meets all
    alike; the first text warms up and is then timed with the rest. A GPU is synchronised.

    Args:
        decoder: The model, without its head.
        batches: One text each.
        depths: Numbers of first layers.
    """
    planes = partitions(decoder)

    def plain(batch: Batch) -> None:
        with torch.inference_mode():
            decoder.body(input_ids=batch.input_ids, use_cache=False)

    def features(n_layers: int) -> Callable[[Batch], None]:
        def read(batch: Batch) -> None:
            activations = read_activations(decoder, planes, batch, Request(n_layers=n_layers))
            spline_features(
                activations.active[:, 0].numpy(),
                activations.distance[:, 0].numpy(),
                batch.lengths.cpu().numpy(),
            )

        return read

    distinct = sorted(set(depths))
    passes: list[tuple[int, str, Callable[[Batch], None]]] = [(decoder.n_layers, "plain", plain)]
    passes += [(depth, "features", features(depth)) for depth in distinct]
    for _, _, run in passes:
        run(batches[0])
    times = np.empty((len(passes), len(batches)))
    with Progress(len(batches), "texts", "time_early_exit") as progress:
        for column, batch in enumerate(batches):
            for row, (_, _, run) in enumerate(passes):
                times[row, column] = _milliseconds(run, batch, decoder.device)
            progress.advance()
    tokens = sum(int(batch.lengths.sum()) for batch in batches)
    return [
        Timed(
            n_layers,
            what,
            len(batches),
            tokens,
            float(np.median(own)),
            float(np.quantile(own, 0.95)),
            float(own.sum() / times[0].sum()),
        )
        for (n_layers, what, _), own in zip(passes, times, strict=True)
    ]


def _milliseconds(run: Callable[[Batch], None], batch: Batch, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    run(batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1000 * (time.perf_counter() - start)
