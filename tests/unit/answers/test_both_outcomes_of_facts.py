"""Facts of a model that knows some: used and set aside, and answers that units take away."""

from pathlib import Path

import pandas as pd
import pytest
from llm_anatomy.config.facts import CaseStudy, FactFilter, KnockOut, Queries
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.fact_case import TABLES as CASE_TABLES

from tests.answering import CAPITALS, RIGHT, SECOND, TEMPLATE, UNKNOWN
from tests.unit.answers.columns import unexplained
from tests.unit.facts.study import attribute, later_stages

ROWS = [(country, [city]) for country, city, _ in CAPITALS]
SAID = {country: cities[0] for country, _, cities in CAPITALS}
CITY = {country: city for country, city, _ in CAPITALS}
QUERIES = Queries(value_neurons=5, attention_value_neurons=5, query_neurons=10)
KNOCK_OUTS = KnockOut(neurons=8, value_neurons=(8, 8), head_share=0.1, layers=2)
# Where a column holds one value, and why.
CONSTANT = {
    "facts/case_study.through": "of neurons that act through one head, of which four are shown",
    "facts/certificates.certified": "the bound always proves that no better unit is left",
    "facts/curve.facts": "one number per relation",
    "facts/facts.answer_tokens": "every city is one token",
    **dict.fromkeys(
        [f"facts/facts.counterfactual_{what}" for what in ("prompt", "token", "tokens")],
        "a relation's rows name no counterfactual",
    ),
    "facts/facts.contrast_token": "no contrast is asked for",
    "facts/facts.rank": "the filter leaves answers that are first among their relation's",
    "facts/facts.relation": "one relation's table",
    "facts/intake.answer_tokens": "every city is one token",
    "facts/intake.chosen": "one template is asked",
    "facts/intake.template": "one template is asked",
    "facts/knock_out.operation": "one operation per run",
    "facts/query_layers.left_out": "no inner products cancel",
    "facts/query_layers.neurons": "as many are traced of every fact",
    "facts/sums.example_id": "the first fact alone is summed",
    "facts/sums.kind": "100 attention neurons are not kept",
}


@pytest.fixture(scope="module")
def root(answering: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("facts")
    homes = [
        attribute(answering, folder, "capitals", ROWS, FactFilter(), (TEMPLATE,)),
        attribute(answering, folder, "cities", ROWS[:3], FactFilter(), (TEMPLATE,)),
    ]
    case = CaseStudy(relation="capitals", subject="France", units=4, tokens=3)
    return later_stages(answering, homes, QUERIES, KNOCK_OUTS, case)


def test_a_fact_is_used_where_the_model_knows_it(root: Path) -> None:
    intake = read_table(root / "capitals/intake.parquet", tables.FACTS_INTAKE)
    found = intake.set_index("subject")
    expected = dict.fromkeys(RIGHT, "used") | {
        UNKNOWN: "the answer is not in the top 10",
        SECOND: "another answer of the relation is as likely",
    }
    assert found["outcome"].to_dict() == expected
    assert found["predicted"].to_dict() == {country: f" {city}" for country, city in SAID.items()}
    ranks = found["rank"].to_dict()
    assert {country for country, rank in ranks.items() if rank == 1} == RIGHT
    assert ranks[SECOND] == 2
    assert ranks[UNKNOWN] > 10
    # The most likely other answer of the relation.
    assert found.loc[SECOND, "rival"] == "Paris"
    assert found.loc[UNKNOWN, "rival"] == "Rome"
    facts = read_table(root / "capitals/facts.parquet", tables.FACTS)
    assert set(facts["subject"]) == RIGHT
    assert (facts["probability"] > 0.9).all()


def test_the_layers_bring_the_answer_about_and_their_best_neurons_hold_it(root: Path) -> None:
    facts = read_table(root / "capitals/facts.parquet", tables.FACTS)
    assert (facts["final_logprob"] > facts["start_logprob"] + 2).all()
    answers = read_table(root / "knock_out.parquet", tables.KNOCK_OUT)
    chance = answers.groupby(["selection", "method"])["probability"].mean()
    whole = chance["original", ""]
    assert whole > 0.9
    # What was found to bring the answer about is what takes it away; as many random units less.
    for selection in ("ffn", "value_neurons", "heads"):
        own = answers[answers["selection"] == selection]
        best = own.loc[own["method"] == "log_prob_increase", "logprob"].mean()
        random = own.loc[own["method"] == "random", "logprob"].mean()
        assert best < random
    assert answers["rank"].max() > 1
    assert (answers.loc[answers["selection"] == "original", "rank"] == 1).all()


def test_decreases_are_those_of_the_answers(root: Path) -> None:
    answers = read_table(root / "knock_out.parquet", tables.KNOCK_OUT)
    summary = read_table(root / "knock_out_summary.parquet", tables.KNOCK_OUT_SUMMARY)
    whole = answers[answers["selection"] == "original"].groupby("relation")
    for row in summary.itertuples():
        own = answers[
            (answers["relation"] == row.relation)
            & (answers["selection"] == row.selection)
            & (answers["method"] == row.method)
            & (answers["heads_of"].fillna("") == ("" if pd.isna(row.heads_of) else row.heads_of))
        ]
        before = whole.get_group(row.relation)
        drop = 100 * (1 - own["probability"].mean() / before["probability"].mean())
        assert row.prob_decrease == pytest.approx(drop)
        drop = 100 * (1 - (1 / own["rank"]).mean() / (1 / before["rank"]).mean())
        assert row.mrr_decrease == pytest.approx(drop)
    assert summary["mrr_decrease"].max() > 0


def test_no_column_is_constant_where_it_should_vary(root: Path) -> None:
    found: dict[str, pd.DataFrame] = {}
    for schema in (*tables.TABLES, *CASE_TABLES):
        name = Path(schema.path).name
        place = root / "capitals" / name if "{relation}" in schema.path else root / name
        found[schema.name] = read_table(place, schema)
    assert unexplained(found, CONSTANT) == {"constant": [], "varies": []}
