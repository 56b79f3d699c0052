"""Scoring new texts with a kept detector of prompts: by first answer token or token states."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from llm_anatomy.config.models import Chat
from llm_anatomy.data.rows import text_fault
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.prompts import chat_provenance
from llm_anatomy.toxicity.asking import Readings, read_prompts
from llm_anatomy.toxicity.detector import IN_RANGE, Detector, LabelDetector
from llm_anatomy.toxicity.first_token import answer_features
from llm_anatomy.toxicity.operating import Platt
from llm_anatomy.toxicity.token_probes import Probe, Tokens

# Texts whose logits are held at once.
TEXTS_AT_ONCE = 256


def check_chat(loaded: LoadedModel, detector: Detector) -> Chat:
    """How the detector's model was asked, which must be how this one is.

    Raises:
        UserError: The chat template is another one than the detector was trained with.
    """
    chat = Chat.model_validate(detector.description["chat"])
    trained, here = detector.description["chat_record"], chat_provenance(loaded.tokenizer, chat)
    if trained != here:
        raise UserError(
            "the detector was trained with another chat template than the model given has; give "
            "the model as it was prepared for the detector, or train a detector for this one"
        )
    return chat


def score_prompts(
    loaded: LoadedModel, detector: Detector, texts: Sequence[str], batch_tokens: int
) -> pd.DataFrame:
    """Score texts that the model is asked; columns as `scoring.score_texts`.

    Raises:
        UserError: The model is asked in another way than the detector was trained with.
    """
    chat = check_chat(loaded, detector)
    faults = [text_fault(text) for text in texts]
    n = len(texts)
    columns: dict[str, list[Any]] = {"n_tokens": [0] * n, "truncated": [False] * n}
    for label in detector.labels:
        columns |= {f"score_{label}": [np.nan] * n, f"flag_{label}": list(faults)}
    columns["milliseconds"] = [0.0] * n
    sound = [row for row, fault in enumerate(faults) if not fault]
    about = detector.description
    for start in range(0, len(sound), TEXTS_AT_ONCE):
        rows, begun = sound[start : start + TEXTS_AT_ONCE], time.perf_counter()
        strings = [texts[row] for row in rows]
        length, layer = about["max_length"], about["layer"]
        read = read_prompts(loaded, strings, chat, length, layer, batch_tokens)
        for label, trained in detector.labels.items():
            scores, flags = scored(read, detector, label, trained)
            for row, score, flag in zip(rows, scores, flags, strict=True):
                columns[f"score_{label}"][row] = score if flag == IN_RANGE else np.nan
                columns[f"flag_{label}"][row] = flag
        elapsed = 1000 * (time.perf_counter() - begun)
        for row, count, cut in zip(rows, read.lengths.tolist(), read.cut, strict=True):
            columns["n_tokens"][row], columns["truncated"][row] = count, cut
            columns["milliseconds"][row] = elapsed * count / int(read.lengths.sum())
    return pd.DataFrame(columns)


def scored(
    read: Readings, detector: Detector, label: str, trained: LabelDetector
) -> tuple[Float[ndarray, " texts"], list[str]]:
    """Scores of texts that were read, and whether each is like the training texts."""
    tokens = Tokens(read.states, read.lengths)
    if isinstance(trained.classifier, Probe):
        return trained.score_tokens(tokens), trained.range.flags(tokens.means(), read.lengths)
    used = detector.description["training"][label]["tokens"]
    features = answer_features(read.logits)[:, used].astype(np.float64)
    return trained.score(features), trained.range.flags(features, read.lengths)


def flagged(detector: Detector, scores: pd.DataFrame, rate: float) -> pd.DataFrame:
    """Whether each score is above the threshold for a rate of false positives, and its probability.

    Args:
        detector: The detector, whose thresholds held-out folds have set.
        scores: Its scores, as `score_prompts` or `scoring.score_texts` give them.
        rate: The wanted rate.

    Returns:
        `above_{label}` (missing where there is no score) and `probability_{label}`.

    Raises:
        UserError: No threshold was set for the rate.
    """
    columns: dict[str, Any] = {}
    for label in detector.labels:
        trained = detector.description["training"][label]
        thresholds = trained["thresholds"]
        if f"{rate:g}" not in thresholds:
            raise UserError(
                f"--false-positive-rate is {rate:g}, and the detector has thresholds for "
                f"{', '.join(thresholds)}; give one of them"
            )
        own = scores[f"score_{label}"].to_numpy(dtype=float)
        known = ~np.isnan(own)
        above = pd.array(own > thresholds[f"{rate:g}"], dtype="boolean")
        above[~known] = pd.NA
        columns[f"above_{label}"] = above
        columns[f"probability_{label}"] = np.where(
            known, Platt(*trained["platt"]).probability(np.where(known, own, 0.5)), np.nan
        )
    return pd.DataFrame(columns)
