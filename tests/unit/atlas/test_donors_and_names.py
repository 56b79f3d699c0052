"""Donors of patching as the atlas shows them, and facts whose prompt says everything."""

from pathlib import Path
from typing import Any

import pytest
from llm_anatomy.atlas.facts import OF_MODELS, OF_RELATIONS, fact_chunks
from llm_anatomy.atlas.patching import patching_chunks
from llm_anatomy.tables import facts, patching
from llm_anatomy.tables.collection import Collection

from tests.browser.made import filled
from tests.unit.atlas.made import write

OWNER = {"model": "m", "relation": "pairs", "task": "pairs"}


def shown_patching(folder: Path, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Documents of the examples by their ids."""
    rows = {
        patching.EXAMPLES: [
            filled(patching.EXAMPLES, example_id=example, subject=subject, answer="own")
            for example, subject in (("a", "Peru"), ("b", "Chad"), ("c", "Oslo"))
        ],
        patching.SWEEPS: [
            filled(
                patching.SWEEPS,
                example_id="a",
                manipulation=name,
                donor_id=donor,
                prediction="x",
            )
            for name, donor in (("none", None), ("switch", "b"), ("switch", "c"))
        ],
        patching.PAIRS: [filled(patching.PAIRS, **pair) for pair in pairs],
        patching.CURVES: [],
        patching.DEPTHS: [],
    }
    paths = [
        write(folder, schema, own, **{name: OWNER[name] for name in schema.wildcards})
        for schema, own in rows.items()
    ]
    chunks = dict(patching_chunks(Collection(paths, patching.TABLES), "m", ["pairs"]))
    return {
        key: document
        for name, chunk in chunks.items()
        if name.startswith("examples-")
        for key, document in chunk.items()
    }


def test_every_donor_of_an_example_is_shown_and_each_row_names_its_own(tmp_path: Path) -> None:
    found = shown_patching(
        tmp_path,
        [
            {
                "example_id": "a",
                "donor_id": donor,
                "donor_prompt": f"Where is {donor}",
                "donor_answers": [answer, "also"],
            }
            for donor, answer in (("b", "Africa"), ("c", "Europe"))
        ],
    )["pairs/a"]
    assert found["donors"] == [
        {"donor": "b", "prompt": "Where is b", "subject": "Chad", "answer": "Africa"},
        {"donor": "c", "prompt": "Where is c", "subject": "Oslo", "answer": "Europe"},
    ]
    assert found["sweeps"]["switch"]["donor_id"] == ["b", "c"]


def test_the_datas_own_counterfactual_is_shown_with_its_prompt_and_answer(tmp_path: Path) -> None:
    found = shown_patching(
        tmp_path,
        [
            {
                "example_id": "a",
                "donor_id": "a counterfactual",
                "donor_prompt": "Where is Mali",
                "donor_answers": ["Bamako"],
            }
        ],
    )["pairs/a"]
    assert found["donors"] == [
        {
            "donor": "a counterfactual",
            "prompt": "Where is Mali",
            "subject": None,
            "answer": "Bamako",
        }
    ]


@pytest.mark.parametrize(("subject", "name"), [("", "row-7"), ("Peru", "Peru")])
def test_a_fact_without_a_subject_goes_by_its_id(tmp_path: Path, subject: str, name: str) -> None:
    one = {"example_id": "row-7"}
    rows: dict[Any, list[dict[str, Any]]] = {
        schema: [] for schema in (*OF_RELATIONS.values(), *OF_MODELS.values())
    }
    rows[facts.LAYER_SUMMARY] = []
    rows[facts.FACTS] = [filled(facts.FACTS, **one, subject=subject, answer="Lima")]
    rows[facts.FACTS_INTAKE] = [filled(facts.FACTS_INTAKE, **one, subject=subject)]
    rows[facts.NEURON_IMPORTANCE] = [
        filled(facts.NEURON_IMPORTANCE, **one, rank=1, layer=2, neuron=5)
    ]
    paths = [
        write(tmp_path, schema, own, **{name: OWNER[name] for name in schema.wildcards})
        for schema, own in rows.items()
    ]
    chunks = dict(fact_chunks(Collection(paths, facts.TABLES), "m", ["pairs"]))
    listed = chunks["index"]["relations"]["pairs"]
    assert listed["facts"]["subject"] == listed["intake"]["subject"] == [name]
    (role,) = chunks["roles-02"]["5"]
    assert role[:4] == ["value", "pairs", "row-7", name]
