"""A case study looks at a relation that is studied."""

from typing import Any

import pytest
from llm_anatomy.config.facts import FactsSettings
from pydantic import ValidationError

CURRENCIES = {"relations": [{"relation": "currencies"}, {"relation": "languages"}]}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        # The default case is of capitals; nobody asked for it, so nobody is at fault.
        CURRENCIES,
        CURRENCIES | {"case_study": None},
        CURRENCIES | {"case_study": {"relation": "currencies"}},
        CURRENCIES | {"case_study": {"relation": "languages", "subject": "Peru"}},
    ],
)
def test_a_case_of_a_studied_relation_or_none_is_valid(settings: dict[str, Any]) -> None:
    made = FactsSettings(**settings)
    given = settings.get("case_study")
    if given is not None:
        assert made.case_study is not None
        assert made.case_study.relation == given["relation"]
    if "case_study" in settings and given is None:
        assert made.case_study is None


@pytest.mark.parametrize("case", [{}, {"relation": "capitals"}, {"relation": "currency"}])
def test_a_case_of_another_relation_is_one_sentence(case: dict[str, str]) -> None:
    relation = case.get("relation", "capitals")
    words = (
        rf"case_study\.relation is '{relation}', which is none of the relations "
        r"\(currencies, languages\)"
    )
    with pytest.raises(ValidationError, match=words):
        FactsSettings(**CURRENCIES, case_study=case)  # type: ignore[arg-type]


def test_a_relation_is_named_once() -> None:
    twice = [{"relation": "currencies"}, {"relation": "languages"}, {"relation": "currencies"}]
    with pytest.raises(ValidationError, match="the relation 'currencies' appears twice"):
        FactsSettings(relations=twice)  # type: ignore[arg-type]
