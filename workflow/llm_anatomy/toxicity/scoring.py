"""Scoring new texts with a saved detector: one forward pass, features, scores."""

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.spline import spline_features, without_bos
from llm_anatomy.model.run.batching import encode, equal_length_batches, readable_tokens
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.progress import Progress
from llm_anatomy.toxicity.detector import Detector


def score_texts(
    loaded: LoadedModel, detector: Detector, texts: Sequence[str], batch_tokens: int
) -> pd.DataFrame:
    """Score texts in length-sorted batches.

    Returns:
        One row per text, in order: `n_tokens`, `truncated`, `score_{label}` per label (missing for
        a text without any token), and `milliseconds`, the time of its batch shared out by tokens.
    """
    decoder = loaded.decoder
    features = detector.description["provenance"]
    longest = int(features["extraction"]["max_length"])
    encoded = encode(loaded.tokenizer, texts, readable_tokens(decoder.config, longest))
    readable = [row for row, ids in enumerate(encoded.ids) if ids]
    ids = [encoded.ids[row] for row in readable]
    scores = np.full((len(texts), len(detector.labels)), np.nan)
    milliseconds = np.zeros(len(texts))
    planes = partitions(decoder, detector.n_layers)
    request = Request(n_layers=detector.n_layers)
    bos = None if features["spline_features"]["include_bos"] else loaded.tokenizer.bos_token_id
    with Progress(len(ids), "texts", "score_texts") as progress:
        for batch in equal_length_batches(ids, batch_tokens, device=decoder.device):
            start = time.perf_counter()
            read = read_activations(decoder, planes, batch, request)
            real = batch.mask.cpu().numpy()
            active, distance = read.active.numpy()[:, real], read.distance.numpy()[:, real]
            lengths = counted = batch.lengths.cpu().numpy()
            if bos is not None:
                has_bos = (batch.input_ids[:, 0] == bos).cpu().numpy() & (lengths > 1)
                active, counted = without_bos(active, lengths, has_bos)
                distance, _ = without_bos(distance, lengths, has_bos)
            values = spline_features(active, distance, counted).reshape(len(batch.rows), -1)
            rows = [readable[row] for row in batch.rows]
            for column, trained in enumerate(detector.labels.values()):
                scores[rows, column] = trained.score(values)
            elapsed = 1000 * (time.perf_counter() - start)
            milliseconds[rows] = elapsed * lengths / lengths.sum()
            progress.advance(len(rows))
    columns = {f"score_{label}": scores[:, i] for i, label in enumerate(detector.labels)}
    return pd.DataFrame(
        {
            "n_tokens": [len(row) for row in encoded.ids],
            "truncated": encoded.truncated,
            **columns,
            "milliseconds": milliseconds,
        }
    )
