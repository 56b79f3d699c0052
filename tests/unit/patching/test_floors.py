"""What chance gives of written answers, on texts of which every draw is the same."""

import pytest
from llm_anatomy.patching.floors import span_floors, word_floors
from llm_anatomy.patching.prompts import TaskExample
from llm_anatomy.patching.tasks import TaskItem


def repeated(name: str, word: str, answer: str) -> TaskExample:
    item = TaskItem(name, "p", (answer,), source=f"{word} " * 6)
    return TaskExample(item, (1,), None, 1, (1,), 1)


EXAMPLES = [
    repeated("a", "yes", "yes yes"),
    repeated("b", "no", "yes yes"),
    repeated("c", "no", "no"),
    repeated("d", "no", "perhaps"),
]


def test_floors_are_means_over_examples() -> None:
    spans = {(metric, kind): value for metric, kind, value in span_floors(EXAMPLES, 0)}
    assert spans == {("exact_match", "random_span"): 0.5, ("f1", "random_span"): 0.5}
    found = word_floors(EXAMPLES, 0)
    assert {kind for _, kind, _ in found} == {"random_words"}
    values = {metric: value for metric, _, value in found}
    assert values["rouge1"] == values["rougeL"] == pytest.approx(0.5)
    # Of one word there is no pair.
    assert values["rouge2"] == pytest.approx(0.25)
