"""Scores of an answer, from texts alone: nothing here needs a model or its tokenizer."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

ROUGE = ("rouge1", "rouge2", "rougeL")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def starts_with_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether a continuation, stripped and case-folded, begins with an accepted answer.

    The answer must end where a word ends, so that `12` is not right for `1`.
    """
    text = text.strip().casefold()
    return any(
        re.match(re.escape(answer.strip().casefold()) + r"(?!\w)", text) is not None
        for answer in answers
    )


def normalise_answer(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no articles, single spaces."""
    text = text.lower().translate(PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """SQuAD's exact match: 1 when the normalised texts are equal for any accepted answer."""
    return float(any(normalise_answer(prediction) == normalise_answer(a) for a in answers))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """SQuAD's F1 over normalised words, the best over the accepted answers."""
    return max(_f1(prediction, answer) for answer in answers)


def _f1(prediction: str, answer: str) -> float:
    predicted, gold = normalise_answer(prediction).split(), normalise_answer(answer).split()
    if not predicted or not gold:
        return float(predicted == gold)
    common = sum((Counter(predicted) & Counter(gold)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted), common / len(gold)
    return 2 * precision * recall / (precision + recall)


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGE), use_stemmer=True)


def rouge(prediction: str, reference: str) -> dict[str, float]:
    """ROUGE-1, -2 and -L F with stemming, by the package rouge-score."""
    scores = _rouge_scorer().score(reference, prediction)
    return {name: float(scores[name].fmeasure) for name in ROUGE}
