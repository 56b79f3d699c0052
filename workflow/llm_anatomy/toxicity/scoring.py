"""Scoring new texts with a saved detector: one forward pass, features, scores."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from llm_anatomy.data.rows import text_fault
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.spline import spline_features, without_bos
from llm_anatomy.model.run.batching import encode, readable_tokens, text_batches
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.progress import Progress
from llm_anatomy.toxicity.detector import IN_RANGE, Detector


def score_texts(
    loaded: LoadedModel, detector: Detector, texts: Sequence[str], batch_tokens: int
) -> pd.DataFrame:
    """Score texts in length-sorted batches.

    Returns:
        One row per text, in order: `n_tokens`, `truncated`; per label `score_{label}` and
        `flag_{label}`, `in range` or why there is no score (the text is outside the range of the
        training texts, or what the intake of a data set would set aside); and `milliseconds`, the
        time of its batch shared out by tokens.
    """
    decoder = loaded.decoder
    features = detector.description["provenance"]
    longest = int(features["extraction"]["max_length"])
    faults = [text_fault(text) for text in texts]
    sound = ["" if fault else text for text, fault in zip(texts, faults, strict=True)]
    encoded = encode(loaded.tokenizer, sound, readable_tokens(decoder.config, longest))
    readable = [row for row, ids in enumerate(encoded.ids) if ids and not faults[row]]
    ids = [encoded.ids[row] for row in readable]
    flags = [[fault or "no token" for fault in faults] for _ in detector.labels]
    scores = np.full((len(texts), len(detector.labels)), np.nan)
    milliseconds = np.zeros(len(texts))
    planes = partitions(decoder, detector.n_layers)
    request = Request(n_layers=detector.n_layers)
    bos = None if features["spline_features"]["include_bos"] else loaded.tokenizer.bos_token_id
    with Progress(len(ids), "texts", "score_texts") as progress:
        for batch in text_batches(ids, batch_tokens, decoder.device):
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
                found = trained.range.flags(values, lengths)
                inside = np.array([flag == IN_RANGE for flag in found])
                scores[rows, column] = np.where(inside, trained.score(values), np.nan)
                for row, flag in zip(rows, found, strict=True):
                    flags[column][row] = flag
            elapsed = 1000 * (time.perf_counter() - start)
            milliseconds[rows] = elapsed * lengths / lengths.sum()
            progress.advance(len(rows))
    columns: dict[str, Any] = {}
    for column, label in enumerate(detector.labels):
        columns |= {f"score_{label}": scores[:, column], f"flag_{label}": flags[column]}
    return pd.DataFrame(
        {
            "n_tokens": [
                0 if fault else len(ids) for ids, fault in zip(encoded.ids, faults, strict=True)
            ],
            "truncated": encoded.truncated,
            **columns,
            "milliseconds": milliseconds,
        }
    )
