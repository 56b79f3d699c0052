"""Scores of Hugging Face text classifiers.

The paper scored such classifiers by their most likely class, so that its ROC-AUC of them is that of
a yes-or-no answer. Here they are used by their probabilities, and the hard answer is kept beside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from llm_anatomy.config.models import ModelSource
from llm_anatomy.config.toxicity import HubClassifier
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.batching import context_length
from llm_anatomy.model.source.hub import fetch_configuration, fetch_weights
from llm_anatomy.progress import Progress


@dataclass(frozen=True)
class ClassifierScores:
    """What a classifier says of texts.

    Attributes:
        scores: Probability of the positive classes.
        top_is_positive: Whether the class with the largest score is positive.
        n_tokens: Tokens read of each text.
        truncated: Whether a text lost its end.
    """

    scores: Float[ndarray, " texts"]
    top_is_positive: Bool[ndarray, " texts"]
    n_tokens: list[int]
    truncated: list[bool]


def load_classifier(settings: HubClassifier, device: str) -> tuple[Any, Any, list[int]]:
    """The model, its tokenizer and the indices of the positive classes.

    Like a model to study, a classifier comes from safetensors alone and runs no code of its own.

    Raises:
        UserError: It cannot be loaded, or has no class of a configured name.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = settings.path or str(_fetched(settings))
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            source, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"the classifier '{settings.name}' cannot be loaded from {source} "
            f"({' '.join(str(error).split())[:200]})"
        ) from error
    names = {str(name): int(index) for index, name in model.config.id2label.items()}
    missing = next((name for name in settings.positive if name not in names), None)
    if missing is not None:
        raise UserError(
            f"the classifier '{settings.name}' has no class '{missing}' (key 'positive'); its "
            f"classes are {', '.join(names)}"
        )
    model.to(device).eval().requires_grad_(False)
    return model, tokenizer, [names[name] for name in settings.positive]


def _fetched(settings: HubClassifier) -> Path:
    asked = ModelSource(name=settings.name, hub=settings.hub, revision=settings.revision)
    return fetch_weights(asked, fetch_configuration(asked).commit)


def score_with_classifier(
    settings: HubClassifier, texts: Sequence[str], batch_tokens: int, device: str
) -> ClassifierScores:
    """Score texts in batches of similar length.

    With exclusive classes the score is the sum of the positive classes' softmax; otherwise the
    largest of their sigmoids. A single output is a sigmoid, whatever `exclusive` says. `negate`
    takes the complement.
    """
    model, tokenizer, positive = load_classifier(settings, device)
    longest = min(settings.max_length, context_length(model.config) or settings.max_length)
    full = tokenizer(list(texts), truncation=False)["input_ids"]
    encoded = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    lengths = [len(ids) for ids in encoded]
    scores = np.empty(len(texts))
    top = np.empty(len(texts), dtype=bool)
    order = sorted(range(len(texts)), key=lambda row: (lengths[row], row))
    with Progress(len(texts), "texts", f"score {settings.name}") as progress:
        while order:
            # The longest text comes last, and sets the padded length.
            count = max(1, batch_tokens // max(1, lengths[order[-1]]))
            rows, order = order[-count:], order[:-count]
            batch = tokenizer.pad(
                {"input_ids": [encoded[row] for row in rows]}, return_tensors="pt"
            )
            with torch.inference_mode():
                logits = model(**{k: v.to(device) for k, v in batch.items()}).logits.float().cpu()
            scores[rows], top[rows] = _read(logits, positive, settings)
            progress.advance(len(rows))
    truncated = [len(ids) > length for ids, length in zip(full, lengths, strict=True)]
    return ClassifierScores(scores, top, lengths, truncated)


def _read(
    logits: Float[torch.Tensor, "batch classes"], positive: list[int], settings: HubClassifier
) -> tuple[Float[ndarray, " batch"], Bool[ndarray, " batch"]]:
    if logits.shape[1] == 1:
        score = logits[:, 0].sigmoid()
        top = score > 0.5
    else:
        top = torch.isin(logits.argmax(1), torch.tensor(positive))
        if settings.exclusive:
            score = logits.softmax(1)[:, positive].sum(1)
        else:
            score = logits.sigmoid()[:, positive].amax(1)
    if settings.negate:
        score, top = 1 - score, ~top
    return score.numpy().astype(np.float64), top.numpy()
