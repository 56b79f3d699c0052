"""What a manipulation has no token for is refused where that is every prompt, and else counted."""

import pandas as pd
import pytest
from llm_anatomy.config.patching import (
    Angle,
    ArithmeticTask,
    Freeze,
    Manipulation,
    Noise,
    RelationTask,
    Skip,
)
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.tokenizer import TextTokenizer
from llm_anatomy.patching.cases import cases_for
from llm_anatomy.patching.examples import BuiltTask, build_task

from tests.tiny import tiny_tokenizer

# One token for each letter: subjects of 1, 2 and 3 tokens. Answers are one token each.
SUBJECTS = {"x": "Paris", "yy": "Rome", "zzz": "France"}


def built(prompt: str, *manipulations: Manipulation) -> BuiltTask:
    task = RelationTask(name="letters", relation="letters", prompt=prompt)
    records = [
        {"example_id": subject, "subject": subject, "answers": [answer], "prompt": None}
        for subject, answer in SUBJECTS.items()
    ]
    return build_task(task, records, tiny_tokenizer(), manipulations=manipulations)


def counted(task: BuiltTask) -> dict[str, tuple[bool, str]]:
    rows = task.intake[task.intake["scope"] == "positions"]
    return {row.example_id: (row.used, row.category) for row in rows.itertuples()}


def swept(manipulation: Manipulation, task: BuiltTask) -> list[str]:
    return [case.example_id for case in cases_for(manipulation, task.examples, pd.DataFrame())]


def test_positions_that_no_prompt_has_are_one_sentence() -> None:
    with pytest.raises(UserError) as caught:
        built("{subject}!", Noise(name="far", positions=[40, 41]))
    for part in ("'far'", "'letters'", "[40, 41]", "the longest prompt has 4 tokens"):
        assert part in str(caught.value)


def test_the_last_token_is_no_previous_one() -> None:
    # The longest prompt has the tokens z z z !, of which position 3 is the current token.
    with pytest.raises(UserError, match="manipulates no token"):
        built("{subject}!", Freeze(name="f", positions=[3]))
    freeze = Freeze(name="f", positions=[2])
    task = built("{subject}!", freeze)
    assert counted(task) == {"x": (False, "no_position"), "yy": (False, "no_position")}
    assert swept(freeze, task) == ["zzz"]


def test_a_listed_position_that_some_prompts_lack_is_counted() -> None:
    angle = Angle(name="turn", positions=[0, 2])
    task = built("{subject}!", angle)
    assert counted(task) == {"x": (True, "fewer_positions"), "yy": (True, "fewer_positions")}
    assert swept(angle, task) == ["x", "yy", "zzz"]


def test_a_subject_that_is_the_current_token_cannot_be_manipulated() -> None:
    freeze = Freeze(name="f", positions="subject")
    task = built("A {subject}", freeze)
    # The tokens of " x" are a space and a letter; the letter is the current token.
    assert counted(task) == {"x": (False, "no_position")}
    assert swept(freeze, task) == ["yy", "zzz"]


def test_a_prompt_that_is_all_subject_has_no_other_position() -> None:
    with pytest.raises(UserError, match="not_subject"):
        built("{subject}", Noise(name="n", positions="not_subject"))


def test_a_prompt_of_one_token_has_no_previous_token() -> None:
    noise = Noise(name="n")
    task = built("{subject}", noise)
    assert counted(task) == {"x": (False, "no_position")}
    assert swept(noise, task) == ["yy", "zzz"]
    # Without its own first position, a prompt of two tokens has none either.
    spared = Noise(name="n", keep_first=True)
    assert swept(spared, built("{subject}", spared)) == ["zzz"]


def test_what_edits_no_states_of_previous_tokens_is_not_asked() -> None:
    task = built("{subject}", Skip(name="s"))
    assert counted(task) == {}
    assert swept(Skip(name="s"), task) == list(SUBJECTS)


def test_questions_without_a_subject_are_asked_by_their_positions() -> None:
    task = ArithmeticTask(name="sums", first=(1, 2), second=(1, 2), shots=1)
    with pytest.raises(UserError, match="'sums'"):
        build_task(task, [], tiny_tokenizer(), manipulations=[Freeze(name="f", positions=[99])])
    build_task(task, [], tiny_tokenizer(), manipulations=[Freeze(name="f", positions=[0])])


def test_prompts_with_control_tokens_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    task = RelationTask(name="letters", relation="letters", prompt="{subject} is")
    subjects = ("x", "y <|end|>")
    records = [
        {"example_id": subject, "subject": subject, "answers": ["Paris"], "prompt": None}
        for subject in subjects
    ]
    intake = build_task(task, records, TextTokenizer.of(tiny_tokenizer())).intake
    assert intake["used"].all()
    counted = intake.dropna(subset=["category"])
    assert counted[["example_id", "category"]].to_numpy().tolist() == [
        ["y <|end|>", "control_tokens"]
    ]
    assert "1 of 2 prompts of the task 'letters' hold characters of control tokens" in caplog.text
