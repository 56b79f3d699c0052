"""Where a text turns: the score of every beginning of it, token by token, from one forward pass.

In a causal model what a token does is what it does in the beginning of the text that ends in it, so
every score is that of the beginning on its own, and has one where that beginning would have one.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from llm_anatomy.data.rows import text_fault
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.spline import prefix_features
from llm_anatomy.model.run.batching import encode, readable_tokens, text_batches
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.toxicity.asking import read_prompts
from llm_anatomy.toxicity.detector import IN_RANGE, SPLINE, Detector
from llm_anatomy.toxicity.prompt_scoring import check_chat
from llm_anatomy.toxicity.token_probes import Probe, Tokens


def running_scores(loaded: LoadedModel, detector: Detector, text: str) -> pd.DataFrame:
    """Score of every beginning of a text, by spline features or a probe on token states.

    Returns:
        One row per token read: `n_tokens` of the beginning that ends in it, `token` (decoded alone:
        part of a character shows as U+FFFD), and per label `score_{label}` and `flag_{label}`, as
        `scoring.score_texts` has them for that beginning. A text without a token, or that a data
        set would set aside, is one row that says so.

    Raises:
        UserError: The detector reads the first token of an answer, which a beginning does not have,
            or the model is asked in another way than the detector was trained with.
    """
    fault = text_fault(text)
    tokens, scores, flags = _NOTHING if fault else _read(loaded, detector, text)
    shown = [loaded.tokenizer.decode([token]) for token in tokens]
    columns: dict[str, Any] = {"n_tokens": list(range(1, len(tokens) + 1)), "token": shown}
    if not tokens:
        columns = {"n_tokens": [0], "token": [""]}
        scores = {label: np.array([np.nan]) for label in detector.labels}
        flags = {label: [fault or "no token"] for label in detector.labels}
    frame = pd.DataFrame(columns)
    for label in detector.labels:
        inside = np.array([flag == IN_RANGE for flag in flags[label]])
        frame[f"score_{label}"] = np.where(inside, scores[label], np.nan)
        frame[f"flag_{label}"] = flags[label]
    return frame


_Read = tuple[list[int], dict[str, Float[ndarray, " tokens"]], dict[str, list[str]]]
_NOTHING: _Read = ([], {}, {})


def _read(loaded: LoadedModel, detector: Detector, text: str) -> _Read:
    return (_splines if detector.reads == SPLINE else _states)(loaded, detector, text)


def _splines(loaded: LoadedModel, detector: Detector, text: str) -> _Read:
    decoder, about = loaded.decoder, detector.description["provenance"]
    longest = readable_tokens(decoder.config, int(about["extraction"]["max_length"]))
    (ids,) = encode(loaded.tokenizer, [text], longest).ids
    if not ids:
        return _NOTHING
    (batch,) = text_batches([ids], len(ids), decoder.device)
    n_layers = detector.n_layers
    planes = partitions(decoder, n_layers)
    read = read_activations(decoder, planes, batch, Request(n_layers=n_layers))
    active, distance = read.active.numpy()[:, 0], read.distance.numpy()[:, 0]
    values = prefix_features(active, distance)
    left_out = not about["spline_features"]["include_bos"]
    if left_out and ids[0] == loaded.tokenizer.bos_token_id and len(ids) > 1:
        # Alone, the token at the beginning is all there is; behind it, it takes no part.
        values[1:] = prefix_features(active[:, 1:], distance[:, 1:])
    features = values.reshape(len(ids), -1)
    scores = {label: own.score(features) for label, own in detector.labels.items()}
    flags = {
        label: own.range.flags(features, _counts(len(ids)))
        for label, own in detector.labels.items()
    }
    return list(ids), scores, flags


def _states(loaded: LoadedModel, detector: Detector, text: str) -> _Read:
    about = detector.description
    if not all(isinstance(own.classifier, Probe) for own in detector.labels.values()):
        raise UserError(
            "a running score needs spline features or a probe on token states (attention_probe or "
            f"max_probe), and the detector is a {about['classifier']}"
        )
    chat = check_chat(loaded, detector)
    read = read_prompts(loaded, [text], chat, about["max_length"], about["layer"], 1)
    counts = _counts(len(read.tokens[0]))
    means = np.cumsum(read.states, axis=0, dtype=np.float64) / counts[:, None]
    scores: dict[str, ndarray] = {}
    flags: dict[str, list[str]] = {}
    for label, own in detector.labels.items():
        assert isinstance(own.classifier, Probe)
        states = own.standardised(Tokens(read.states, read.lengths)).states
        scores[label] = own.classifier.running(states)
        flags[label] = own.range.flags(means, counts)
    return list(read.tokens[0]), scores, flags


def _counts(n: int) -> Int[ndarray, " tokens"]:
    return np.arange(1, n + 1, dtype=np.int64)
