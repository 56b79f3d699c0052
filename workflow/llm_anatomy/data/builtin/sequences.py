"""Relations that are generated: each month's and each number word's successor."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from llm_anatomy.data.intake import Intake
from llm_anatomy.data.relations import Example

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
NUMBERS = (
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
)


def months(paths: tuple[Path, ...], intake: Intake) -> Iterator[Example]:
    """Each month and the month after it; January follows December."""
    pairs = zip(MONTHS, (*MONTHS[1:], MONTHS[0]), strict=True)
    yield from _examples("months", pairs, intake)


def numbers(paths: tuple[Path, ...], intake: Intake) -> Iterator[Example]:
    """Each number word from one to nineteen and the next."""
    digits = {word: str(value) for value, word in enumerate(NUMBERS, start=1)}
    pairs = itertools.pairwise(NUMBERS)
    for example in _examples("numbers", pairs, intake):
        answers = (*example.answers, digits[example.answers[0]])
        yield Example(example.number, example.place, example.example_id, example.subject, answers)


def _examples(relation: str, pairs: Iterator[tuple[str, str]], intake: Intake) -> Iterator[Example]:
    for number, (subject, answer) in enumerate(pairs, start=1):
        intake.read()
        yield Example(number, subject, f"{relation}-{subject.lower()}", subject, (answer,))
