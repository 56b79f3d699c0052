"""Scores of answers, tokens of answers, and the alignment of spans."""

import pytest
from llm_anatomy.config.patching import (
    ArithmeticTask,
    Demonstration,
    Donors,
    PatchingSettings,
    RelationTask,
)
from llm_anatomy.model.run.alignment import align
from llm_anatomy.patching.metrics import exact_match, f1, rouge, starts_with_answer
from llm_anatomy.patching.pairs import make_pairs
from llm_anatomy.patching.prompts import Limits, TaskExample, make_example, sample
from llm_anatomy.patching.tasks import TaskItem, arithmetic_items, relation_items
from pydantic import ValidationError

from tests.tiny import tiny_tokenizer

LIMITS = Limits(context=200, max_new_tokens=1, whole_answer=False)
CAPITALS = {
    "France": ["Paris"],
    "Italy": ["Rome", "Roma"],
    "Chad": ["N'Djamena"],
    "Spain": ["Madrid"],
}
ROWS = [
    {"example_id": subject, "subject": subject, "answers": answers, "prompt": None}
    for subject, answers in CAPITALS.items()
]


def examples_of(task: RelationTask) -> list[TaskExample]:
    made = [make_example(tiny_tokenizer(), i, LIMITS) for i in relation_items(task, ROWS).items]
    assert all(isinstance(example, TaskExample) for example in made)
    return [example for example in made if isinstance(example, TaskExample)]


def test_squad_scores_follow_the_official_normalisation() -> None:
    assert exact_match("The Eiffel  Tower!", ["eiffel tower"]) == 1
    assert exact_match("Eiffel", ["eiffel tower"]) == 0
    assert f1("a big Eiffel tower", ["the Eiffel tower", "x"]) == pytest.approx(0.8)
    assert f1("nothing", ["eiffel tower"]) == 0


def test_rouge_of_a_known_pair() -> None:
    scores = rouge("the cat sat", "the cat sat down")
    assert scores["rouge1"] == pytest.approx(2 * 3 / 7)
    assert scores["rouge2"] == pytest.approx(2 * 2 / 5)


@pytest.mark.parametrize(
    ("text", "right"),
    [(" paris, France", True), ("Parisian", False), ("in Paris", False), ("PARIS.", True)],
)
def test_a_continuation_must_begin_with_the_whole_answer(text: str, right: bool) -> None:
    assert starts_with_answer(text, ["Paris"]) is right


def test_the_paper_prompt_can_be_written_with_its_stray_spaces() -> None:
    task = RelationTask(
        name="capitals",
        relation="capitals",
        prompt="Q: What is the capital of {subject}? \n A:",
        demonstrations=[Demonstration(subject="Spain", answer="Madrid")],
        demonstration="{prompt} {answer} \n ",
    )
    made = relation_items(task, ROWS)
    assert made.items[0].prompt == (
        "Q: What is the capital of Spain? \n A: Madrid \n Q: What is the capital of France? \n A:"
    )
    assert [entry.example_id for entry in made.set_aside] == ["Spain"]
    item = made.items[0]
    assert item.subject_at is not None
    assert item.prompt[item.subject_at :].startswith("France?")


def test_spans_and_first_tokens() -> None:
    tokenizer = tiny_tokenizer()
    for example in examples_of(RelationTask(name="c", relation="c")):
        assert example.span is not None
        words = tokenizer.decode(example.tokens[slice(*example.span)])
        assert words.strip() == example.item.subject
        whole = tokenizer(f"{example.item.prompt} {example.item.answers[0]}")["input_ids"]
        assert whole[len(example.tokens)] == example.gold_token
        assert example.gold_token in example.first_tokens


def test_the_space_before_a_number_belongs_to_the_prompt() -> None:
    tokenizer = tiny_tokenizer()
    limits = Limits(context=200, max_new_tokens=3, whole_answer=True)
    for item in arithmetic_items(ArithmeticTask(name="sums", shots=1), 0).items[:5]:
        example = make_example(tokenizer, item, limits)
        assert isinstance(example, TaskExample)
        assert tokenizer.decode([example.gold_token]) == item.answers[0][0]
        assert tokenizer.decode(example.tokens) == item.prompt + " "


@pytest.mark.parametrize(
    ("unequal", "expected"),
    [
        ("skip_pair", None),
        ("last_token", (6, (3,), "last_token")),
        ("pad_left_with_first", (4, (2, 2, 3), "pad_left_with_first")),
    ],
)
def test_unequal_spans_follow_the_policy(unequal: str, expected: object) -> None:
    assert align((4, 7), (2, 4), unequal) == expected
    assert align((4, 6), (2, 4), unequal) == (4, (2, 3), "equal")


def test_a_longer_donor_loses_its_first_tokens() -> None:
    assert align((4, 6), (1, 5), "pad_left_with_first") == (4, (3, 4), "pad_left_with_first")


@pytest.mark.parametrize("pairing", ["same_length", "shift", "all"])
def test_every_pair_has_another_answer(pairing: str) -> None:
    task = RelationTask(name="c", relation="c", donors=Donors.model_validate({"pairing": pairing}))
    examples = examples_of(task)
    pairs, aside = make_pairs(tiny_tokenizer(), task, examples, seed=0)
    assert not aside
    assert len(pairs) == (12 if pairing == "all" else 4)
    for pair in pairs:
        assert not set(pair.target.first_tokens) & set(pair.donor.first_tokens)


def test_a_sample_keeps_the_subjects_asked_for_and_counts_the_rest() -> None:
    examples = examples_of(RelationTask(name="c", relation="c"))
    for seed in range(5):
        used, left = sample(examples, 2, ["Italy"], seed, "c")
        assert len(used) == 2
        assert len(left) == 2
        assert "Italy" in [example.item.subject for example in used]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tasks": [{"kind": "relation", "name": "c"}]}, "Field required"),
        (
            {"tasks": [{"kind": "relation", "name": "c", "relation": "c", "prompt": "x"}]},
            "no {subject}",
        ),
        ({"manipulations": [{"kind": "noise", "name": "none"}]}, "the clean run"),
        (
            {"tasks": [{"kind": "arithmetic", "name": "a", "manipulations": ["switch"]}]},
            "only relation tasks",
        ),
        (
            {"tasks": [{"kind": "arithmetic", "name": "a", "manipulations": ["nose"]}]},
            "not in `manipulations`",
        ),
    ],
)
def test_settings_that_contradict_themselves(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PatchingSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("answer", "firsts"),
    # "Paris" and "Pa" without the space are several tokens, of which P is the first.
    [("Paris", {"ĠParis"}), ("Pa", {"ĠPa"}), ("P", {"ĠP", "P"})],
)
def test_without_its_space_only_a_whole_answer_counts(answer: str, firsts: set[str]) -> None:
    tokenizer = tiny_tokenizer()
    item = TaskItem("e", "Its capital is", (answer,))
    example = make_example(tokenizer, item, Limits(None, 1, False))
    assert isinstance(example, TaskExample)
    assert set(tokenizer.convert_ids_to_tokens(list(example.first_tokens))) == firsts
