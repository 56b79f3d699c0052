"""Every row of a relation is used, or set aside with a reason."""

import re
from pathlib import Path
from typing import Any

import torch
from llm_anatomy.config.facts import FactFilter
from llm_anatomy.facts.prompts import Question, ask, judge
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import read_table

from tests.unit.facts.study import CAPITALS, attribute


def test_every_row_is_accounted_for(model: Path, tmp_path: Path) -> None:
    rows = [("France", ["Paris"]), ("Texas", ["Parma"]), ("Utah", ["Parka"]), ("Italy", ["Rome"])]

    def outcomes(**rules: object) -> dict[str, str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        home = attribute(model, folder, "capitals", rows, FactFilter.model_validate(rules))
        intake = read_table(home / "intake.parquet", tables.FACTS_INTAKE)
        facts = read_table(home / "facts.parquet", tables.FACTS)
        assert set(facts["subject"]) == set(intake[intake["outcome"] == "used"]["subject"])
        return dict(zip(intake["subject"], intake["outcome"], strict=True))

    open_ = {"top": None, "above_others": False}
    found = outcomes(**open_)
    assert found["France"] == found["Italy"] == "used"
    assert found["Texas"] == "the answer's first token begins another answer too"
    found = outcomes(**open_, multi_token="set_aside")
    assert found["Texas"] == found["Utah"] == "the answer has several tokens"
    assert found["France"] == found["Italy"] == "used"
    assert set(outcomes(**open_, ambiguous="keep").values()) == {"used"}
    assert "used" not in outcomes(top=1).values()


def test_a_prompt_longer_than_the_context_is_set_aside(model: Path, tmp_path: Path) -> None:
    rows = [*CAPITALS, ("France " * 200, ["Paris"])]
    home = attribute(model, tmp_path, "capitals", rows)
    intake = read_table(home / "intake.parquet", tables.FACTS_INTAKE)
    assert intake["outcome"].tolist() == [
        *["used"] * 4,
        "the prompt is longer than the model's context",
    ]
    assert len(read_table(home / "facts.parquet", tables.FACTS)) == 4


def test_only_an_answer_above_its_rivals_is_used() -> None:
    questions = [
        Question(name, name, (answer,), name, (0,), {answer: (token, 1)})
        for name, answer, token in (
            ("France", "Paris", 1),
            ("Italy", "Rome", 2),
            ("Fiji", "Suva", 3),
        )
    ]
    logs = torch.tensor([[0.0, 5, 4, 1], [0, 5, 4, 1], [9, 1, 1, 2]]).log_softmax(-1)
    found = judge(questions, logs, FactFilter(top=1))
    assert [item.outcome for item in found] == [
        "used",
        "the answer is not in the top 1",
        "the answer is not in the top 1",
    ]
    found = judge(questions, logs, FactFilter(top=2))
    assert [(item.outcome, item.rank, item.rival) for item in found] == [
        ("used", 1, "Rome"),
        ("another answer of the relation is as likely", 2, "Paris"),
        ("used", 2, "Paris"),
    ]


def test_an_answer_outside_the_vocabulary_is_set_aside() -> None:
    class Words:
        """Knows the words of the prompt and one answer."""

        unk_token_id = 0
        all_special_ids = (0,)

        def __call__(self, text: str, return_offsets_mapping: bool) -> dict[str, list[Any]]:
            known = {"capital": 1, "of": 2, "France": 3, "Paris": 4}
            words = list(re.finditer(r"\S+", text))
            return {
                "input_ids": [known.get(word[0], 0) for word in words],
                "offset_mapping": [word.span() for word in words],
            }

    row = {"example_id": "x", "subject": "France", "answers": ["Lutetia", "Paris"], "prompt": None}
    question = ask(Words(), row, "capital of {subject}")
    assert question.options == {"Paris": (4, 1)}
    lost = ask(Words(), row | {"answers": ["Lutetia"]}, "capital of {subject}")
    logs = torch.zeros(2, 5).log_softmax(-1)
    found = judge([question, lost], logs, FactFilter())
    assert [item.outcome for item in found] == [
        "used",
        "the answer cannot be written behind the prompt",
    ]
