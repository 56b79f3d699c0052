"""What chance reaches on a task's examples: floors of the scores in `metrics.py`."""

from collections import Counter
from collections.abc import Sequence

from llm_anatomy.patching.metrics import ROUGE, exact_match, f1, rouge
from llm_anatomy.patching.prompts import TaskExample
from llm_anatomy.statistics.random import Purpose, keyed_generator


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
