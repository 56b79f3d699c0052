"""The experiments called as in a notebook: a loaded model and frames in, the stages' tables out."""

from pathlib import Path

import pandas as pd
import pytest
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.facts import Attribution, CaseStudy, FactRelation, KnockOut, Queries
from llm_anatomy.facts.case import find_case, read_case
from llm_anatomy.facts.experiment import attribute_facts, trace_queries
from llm_anatomy.facts.interventions import knock_out
from llm_anatomy.facts.selections import UnitTables
from llm_anatomy.facts.summary import summarise
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import TableSchema, read_table
from llm_anatomy.tables.fact_case import TABLES as CASE_TABLES

from tests.unit.facts.conftest import loaded_once
from tests.unit.facts.study import CAPITALS, OPEN, attribute, later_stages

# Against the alphabet, so that the order of relations is the one that is given.
RELATIONS = {"letters": [("A", ["B"]), ("C", ["D"])], "capitals": CAPITALS}
SETTINGS = Attribution(neurons=30, attention_neurons=20, head_positions=5, sums=1)
QUERIES = Queries(value_neurons=10, attention_value_neurons=10, query_neurons=20)
KNOCK_OUTS = KnockOut(neurons=5, value_neurons=(10, 10), head_share=0.1)
RANKED = (
    tables.HEAD_POSITION_IMPORTANCE,
    tables.NEURON_IMPORTANCE,
    tables.ATTENTION_NEURON_IMPORTANCE,
)
CASE = CaseStudy(units=4, tokens=3)


def relation_frame(name: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "example_id": [f"{name}-{row}" for row in range(len(RELATIONS[name]))],
            "subject": [subject for subject, _ in RELATIONS[name]],
            "answers": [answers for _, answers in RELATIONS[name]],
            "prompt": None,
        }
    )


def study(path: Path) -> dict[TableSchema, pd.DataFrame]:
    """Every table of the study, computed without a file; those of relations in one frame."""
    loaded = loaded_once(path, Precision(), Compute())
    template = "The capital of {subject} is"
    parts = []
    for name in RELATIONS:
        relation = FactRelation(relation=name, templates=[template])
        result = attribute_facts(
            loaded, relation_frame(name), relation, OPEN, SETTINGS, seed=0, batch_tokens=2048
        )
        assert result.template == template
        assert result.outcomes == {"used": len(RELATIONS[name])}
        parts.append({key: part.assign(relation=name) for key, part in result.frames.items()})
    found = {schema: pd.concat([part[schema] for part in parts]) for schema in parts[0]}
    facts = found[tables.FACTS]
    neurons = found[tables.NEURON_IMPORTANCE]
    attention = found[tables.ATTENTION_NEURON_IMPORTANCE]
    found |= trace_queries(loaded, facts, neurons, attention, QUERIES, batch_tokens=2048)
    layers, heads = found[tables.LAYER_IMPORTANCE], found[tables.HEAD_IMPORTANCE]
    queries = found[tables.QUERY_NEURONS]
    units = UnitTables(layers, heads, neurons, attention, queries)
    found |= knock_out(loaded, facts, units, Attribution(), KNOCK_OUTS, seed=0, batch_tokens=2048)
    answers, query_layers = found[tables.KNOCK_OUT], found[tables.QUERY_LAYERS]
    found |= summarise(layers, heads, neurons, query_layers, queries, answers)
    fact = find_case(facts, CASE)
    return found | read_case(loaded, fact, queries, Attribution(), CASE, batch_tokens=2048)


def test_experiments_give_what_the_stages_write(model: Path, tmp_path: Path) -> None:
    homes = [attribute(model, tmp_path, name, rows) for name, rows in RELATIONS.items()]
    root = later_stages(model, homes, QUERIES, KNOCK_OUTS, CASE)
    found = study(model)
    assert set(found) == {*tables.TABLES, *CASE_TABLES}
    for schema, frame in found.items():
        name = Path(schema.path).name
        if "{relation}" in schema.path:
            parts = [read_table(home / name, schema).assign(relation=home.name) for home in homes]
            written = pd.concat(parts)
        else:
            written = read_table(root / name, schema)
        assert len(written)
        if schema is tables.QUERY_LAYERS:
            check_layers(written)
        if schema in RANKED:
            check_ranks(written)
        if "tokens" in written:
            frame, written = (
                part.assign(tokens=part["tokens"].map(list)) for part in (frame, written)
            )
        pd.testing.assert_frame_equal(
            frame.reset_index(drop=True)[list(written)],
            written.reset_index(drop=True),
            check_dtype=False,
            check_exact=True,
        )


def check_layers(queries: pd.DataFrame) -> None:
    """Of each fact the embedding, then attention and FFN of every layer, in the model's order."""
    for (_, _, values), own in queries.groupby(["relation", "example_id", "values"]):
        places = list(zip(own["layer"], own["kind"], strict=True))
        parts = [(layer, kind) for layer in range(3) for kind in ("attention", "ffn")]
        assert places == [(-1, "embedding"), *parts][: len(places)], values
        assert len(places) > 4


def check_ranks(units: pd.DataFrame) -> None:
    """Units of a fact are counted from the most important one, which is the first."""
    for _, own in units.groupby(["relation", "example_id"]):
        assert own["rank"].tolist() == list(range(1, len(own) + 1))
        assert own["importance"].is_monotonic_decreasing


def test_a_case_that_is_not_studied_is_no_row(caplog: pytest.LogCaptureFixture) -> None:
    facts = pd.DataFrame({"relation": ["capitals"], "subject": ["Peru"]})
    assert find_case(facts, None).empty
    assert not caplog.messages
    assert len(find_case(facts, CaseStudy(subject="Peru"))) == 1
    assert find_case(facts, CaseStudy(subject="Chile")).empty
    assert "'Chile' is not among the studied facts of 'capitals'" in caplog.text
