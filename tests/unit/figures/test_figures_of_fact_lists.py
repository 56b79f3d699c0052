"""The report says which facts were asked, with which template, and why others were set aside."""

from pathlib import Path

import pytest
from llm_anatomy.facts.claims import FactsScope
from llm_anatomy.figures.exhibit import Exhibit
from llm_anatomy.figures.fact_lists import list_exhibits
from llm_anatomy.tables.facts import FACTS, FACTS_INTAKE

from tests.unit.figures.drawn import by_title, draws, rows_shown, says
from tests.unit.figures.tables import Made, collection, filled

FACT_ROWS = [
    {"example_id": "fr", "subject": "France", "answer": "Paris", "target": " Paris", "rank": 1},
    {"example_id": "it", "subject": "Italy", "answer": "Rome", "target": " Rome", "rank": 2},
]
# Template, chosen, subject, outcome.
ASKED = [
    ("A {subject}", False, "France", "used"),
    ("A {subject}", False, "Italy", "not known"),
    ("B {subject}", True, "France", "used"),
    ("B {subject}", True, "Italy", "used"),
    ("B {subject}", True, "Chile", "not sampled"),
    ("B {subject}", True, "Kenya", "not known"),
    ("B {subject}", True, "Peru", "ambiguous"),
    ("B {subject}", True, "Togo", "not known"),
]
INTAKE_ROWS = [
    {"template": template, "chosen": chosen, "subject": subject, "outcome": outcome}
    for template, chosen, subject, outcome in ASKED
]


@pytest.fixture
def shown(tmp_path: Path) -> dict[str, Exhibit]:
    owner = {"model": "m", "relation": "capitals"}
    made = [
        Made(FACTS, FACT_ROWS, owner),
        Made(FACTS_INTAKE, INTAKE_ROWS, owner),
        Made(FACTS, [], owner | {"relation": "months"}),
        Made(FACTS_INTAKE, [], owner | {"relation": "months"}),
    ]
    scope = FactsScope(seed=0, models=["m"], relations=["months", "capitals"])
    return by_title(list_exhibits(collection(tmp_path, made), "m", scope))


@draws(list_exhibits)
def test_every_fact_and_every_one_that_was_set_aside_is_listed(shown: dict[str, Exhibit]) -> None:
    facts, aside = shown.values()
    listed = rows_shown(facts, filled(FACTS, FACT_ROWS))
    assert listed[["subject", "answer", "target", "rank"]].to_numpy().tolist() == [
        ["France", "Paris", " Paris", 1],
        ["Italy", "Rome", " Rome", 2],
    ]
    listed = rows_shown(aside, filled(FACTS_INTAKE, INTAKE_ROWS))
    assert listed[["subject", "outcome"]].to_numpy().tolist() == [
        ["Chile", "not sampled"],
        ["Kenya", "not known"],
        ["Peru", "ambiguous"],
        ["Togo", "not known"],
    ]


@says(list_exhibits)
def test_captions_say_which_template_won_and_count_the_reasons(shown: dict[str, Exhibit]) -> None:
    facts, aside = shown.values()
    assert "2 facts are studied. The template in use is “B {subject}”." in facts.caption
    assert "“A {subject}” 1 of 2; “B {subject}” 3 of 6" in facts.caption
    assert "4 in all: 2 not known, 1 not sampled, 1 ambiguous." in aside.caption
