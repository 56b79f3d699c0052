"""Scores of an answer, and what chance reaches."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from llm_anatomy.patching.prompts import TaskExample
from llm_anatomy.statistics.random import Purpose, keyed_generator

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


def answer_floors(examples: Sequence[TaskExample]) -> list[tuple[str, str, float]]:
    """Chance of being right by a uniform guess among the answers, or by the majority answer.

    Returns:
        Metric, floor and value.
    """
    counts = Counter(example.item.answers[0].casefold() for example in examples)
    return [
        ("correct", "uniform", 1 / len(counts)),
        ("correct", "majority", max(counts.values()) / len(examples)),
    ]


def span_floors(examples: Sequence[TaskExample], seed: int) -> list[tuple[str, str, float]]:
    """Exact match and F1 of a random span of the context, as many words long as the answer."""
    pairs = [(_random_span(example, seed), example.item.answers) for example in examples]
    return [
        ("exact_match", "random_span", sum(exact_match(*pair) for pair in pairs) / len(pairs)),
        ("f1", "random_span", sum(f1(*pair) for pair in pairs) / len(pairs)),
    ]


def word_floors(examples: Sequence[TaskExample], seed: int) -> list[tuple[str, str, float]]:
    """ROUGE of random words of the article, as many as the reference summary has."""
    scores = []
    for example in examples:
        words, reference = example.item.source.split(), example.item.answers[0]
        generator = keyed_generator(seed, Purpose.RANDOM_WORDS, example.item.example_id)
        chosen = generator.choice(words, size=min(len(words), len(reference.split())))
        scores.append(rouge(" ".join(chosen), reference))
    return [
        (name, "random_words", sum(score[name] for score in scores) / len(scores)) for name in ROUGE
    ]


def _random_span(example: TaskExample, seed: int) -> str:
    words = example.item.source.split()
    length = min(len(words), len(example.item.answers[0].split()))
    generator = keyed_generator(seed, Purpose.RANDOM_SPAN, example.item.example_id)
    first = int(generator.integers(len(words) - length + 1))
    return " ".join(words[first : first + length])
