"""Scores of Hugging Face text classifiers.

The paper scored such classifiers by their most likely class, so that its ROC-AUC of them is that of
a yes-or-no answer. Here they are used by their probabilities, and the hard answer is kept beside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.config.base import Settings
from llm_anatomy.config.models import ModelSource
from llm_anatomy.config.toxicity import HubClassifier, Scoring
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.batching import readable_tokens
from llm_anatomy.model.run.tokenizer import TextTokenizer
from llm_anatomy.model.source.hub import fetch_configuration, fetch_weights
from llm_anatomy.progress import Progress
from llm_anatomy.tables.toxicity import HUB_METRICS
from llm_anatomy.toxicity.evaluate import (
    LabelledTexts,
    OutOfFold,
    TableRow,
    labelled_texts,
    measured_rows,
)


class HubSettings(Settings):
    """Which classifier is compared with, and how it is measured."""

    seed: int
    scoring: Scoring
    classifier: HubClassifier


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

    def table(self, text_ids: Sequence[str]) -> pd.DataFrame:
        """The scores by text, as in the table of a classifier's scores."""
        return pd.DataFrame(
            {
                "text_id": text_ids,
                "score": self.scores,
                "top_is_positive": self.top_is_positive,
                "n_tokens": self.n_tokens,
                "truncated": self.truncated,
            }
        )

    def metrics(
        self, text_ids: Sequence[str], folds: pd.DataFrame, settings: HubSettings
    ) -> pd.DataFrame:
        """Metrics of every label, by the score and, as the paper has it, by the yes-or-no answer.

        Args:
            text_ids: The texts that were scored.
            folds: The table of folds, labels and copies.
            settings: The classifier's name, and the metrics.
        """
        rows: list[TableRow] = []
        answers = self.top_is_positive.astype(np.float64)
        for label in labelled_texts(folds, text_ids):
            rows += _measured(settings, label, self.scores)
            rows += [
                row | {"metric": "roc_auc_hard_label"}
                for row in _measured(settings, label, answers)
                if row["metric"] == "roc_auc"
            ]
        return HUB_METRICS.frame(rows)


def _measured(
    settings: HubSettings, label: LabelledTexts, scores: Float[ndarray, " texts"]
) -> list[TableRow]:
    name = f"hub:{settings.classifier.name}"
    result = OutOfFold(name, "none", "", label, scores[label.rows], [])
    return measured_rows(result, settings.scoring, settings.seed)


def fetch_classifier(settings: HubClassifier, folder: Path) -> None:
    """Fetch a classifier from the hub, and link its files into a folder.

    Raises:
        UserError: No network, no such model or revision, no access, or pickled weights only.
    """
    source = ModelSource(name=settings.name, hub=settings.hub, revision=settings.revision)
    fetched = fetch_weights(source, fetch_configuration(source).commit)
    with atomic_folder(folder) as target:
        for file in sorted(fetched.iterdir()):
            (target / file.name).symlink_to(file.resolve())


def load_classifier(
    settings: HubClassifier, device: str, fetched: Path | None = None
) -> tuple[Any, Any, list[int]]:
    """The model, its tokenizer and the indices of the positive classes.

    Like a model to study, a classifier comes from safetensors alone and runs no code of its own.

    Args:
        settings: The classifier.
        device: Where it runs.
        fetched: Where `fetch_classifier` has put it; None for one of the user's own folders.

    Raises:
        UserError: It cannot be loaded, or has no class of a configured name.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = str(settings.path if fetched is None else fetched)
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
    return model, TextTokenizer.of(tokenizer), [names[name] for name in settings.positive]


def score_with_classifier(
    settings: HubClassifier,
    texts: Sequence[str],
    batch_tokens: int,
    device: str,
    fetched: Path | None = None,
) -> ClassifierScores:
    """Score texts in batches of similar length.

    With exclusive classes the score is the sum of the positive classes' softmax; otherwise the
    largest of their sigmoids. A single output is a sigmoid, whatever `exclusive` says. `negate`
    takes the complement.
    """
    model, tokenizer, positive = load_classifier(settings, device, fetched)
    longest = readable_tokens(model.config, settings.max_length)
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
