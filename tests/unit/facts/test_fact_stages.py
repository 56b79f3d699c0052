"""The stages on a tiny model, from a relation to claims and figures."""

import json
from pathlib import Path

import pandas as pd
import pytest
from llm_anatomy.config.facts import (
    CaseStudy,
    FactFilter,
    FactRelation,
    FactsSettings,
    KnockOut,
    Queries,
)
from llm_anatomy.facts.methods import METHODS
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import read_provenance, read_table
from llm_anatomy.tables.fact_case import CASE_STUDY

from tests.unit.facts.study import CAPITALS, NONE, attribute, later_stages
from tests.unit.verdicts import any_evidence

__all__ = ["any_evidence"]


@pytest.mark.usefixtures("any_evidence")
def test_from_relations_to_figures(model: Path, tmp_path: Path) -> None:
    homes = [
        attribute(model, tmp_path, "capitals", CAPITALS),
        attribute(model, tmp_path, "letters", [("A", ["B"])]),
        attribute(model, tmp_path, "nothing", NONE, FactFilter(top=1)),
    ]
    facts = read_table(homes[0] / "facts.parquet", tables.FACTS)
    assert len(facts) == 4
    assert facts["telescoping_error"].max() < 1e-4
    layers = read_table(homes[0] / "layer_importance.parquet", tables.LAYER_IMPORTANCE)
    assert layers.groupby("example_id")["importance"].sum().tolist() == pytest.approx(
        (facts["final_logprob"] - facts["start_logprob"]).tolist(), abs=1e-4
    )
    assert read_table(homes[0] / "certificates.parquet", tables.CERTIFICATES)["certified"].all()
    assert read_table(homes[2] / "facts.parquet", tables.FACTS).empty

    root = later_stages(
        model,
        homes,
        Queries(value_neurons=10, attention_value_neurons=10, query_neurons=20),
        KnockOut(methods=list(METHODS), neurons=5, value_neurons=(10, 10), head_share=0.1),
        CaseStudy(units=4, tokens=3),
    )
    recorded = read_provenance(root / "query_neurons.parquet")["inputs"]
    assert {Path(name).name for name in recorded} == {
        "facts.parquet",
        "neuron_importance.parquet",
        "attention_neuron_importance.parquet",
    }
    answers = read_table(root / "knock_out.parquet", tables.KNOCK_OUT)
    original = answers[answers["selection"] == "original"].set_index("example_id")
    assert original.loc[facts["example_id"], "logprob"].tolist() == pytest.approx(
        facts["final_logprob"].tolist(), abs=1e-4
    )
    assert set(answers["method"]) == {"", "random", "inner_product", *METHODS}
    whole = answers[answers["selection"].isin(["attention_layers", "ffn_layers", "layers"])]
    assert len(whole) == 2 * 3 * len(original)
    summary = read_table(root / "knock_out_summary.parquet", tables.KNOCK_OUT_SUMMARY)
    zero = summary[summary["selection"] == "original"]
    assert (zero["prob_decrease"] == 0).all()
    mean = original["probability"].groupby(original["relation"]).mean()
    assert zero.set_index("relation")["probability"].to_dict() == pytest.approx(mean.to_dict())
    shared = read_table(root / "shared_neurons.parquet", tables.SHARED_NEURONS)
    assert (shared["share"] > 0.5).all()
    assert "letters" not in set(shared["relation"]), "one fact shares nothing"
    case = read_table(root / "case_study.parquet", CASE_STUDY)
    assert set(case["unit"]) - {"query_neuron_through_head"} == {
        "attention",
        "ffn",
        "head",
        "position",
        "head_position",
        "ffn_neuron",
        "attention_neuron",
        "query_neuron",
    }
    claims = read_table(root / "claims.parquet", CLAIMS)
    assert claims.loc[claims["claim"].str.contains("sums to"), "holds"].all()
    ahead = (facts["attention"] - facts["ffn"]).to_numpy()
    row = claims[claims["claim"].str.startswith("For capitals, attention layers")].iloc[0]
    assert row["measured_value"] == pytest.approx(ahead.mean())
    assert ahead.min() <= row["low"] < ahead.mean() < row["high"] <= ahead.max()
    ranks = answers.assign(mrr=1 / answers["rank"])
    means = ranks.groupby(["selection", "method", "relation"])["mrr"].mean()
    for selection, method, words in (
        ("value_neurons", "random", "as many random neurons as value neurons"),
        ("value_neurons", "log_prob_increase", "best value neurons destroys"),
        ("ffn", "log_prob_increase", "hurts the answer more"),
    ):
        now, before = means[selection, method], means["original", ""]
        drop = float((100 * (before - now) / before).mean())
        (row,) = claims[claims["claim"].str.contains(words)].to_dict("records")
        assert row["measured_value"] == pytest.approx(drop), words
    exhibits = json.loads((root / "figures" / "exhibits.json").read_text())["exhibits"]
    assert sum(1 for exhibit in exhibits if exhibit["figure"]) >= 8


def test_exhaustive_search_writes_the_same_tables(model: Path, tmp_path: Path) -> None:
    fast = attribute(model, tmp_path / "fast", "capitals", CAPITALS)
    slow = attribute(model, tmp_path / "slow", "capitals", CAPITALS, search="exhaustive")
    for name, schema in (
        ("neuron_importance", tables.NEURON_IMPORTANCE),
        ("attention_neuron_importance", tables.ATTENTION_NEURON_IMPORTANCE),
        ("head_position_importance", tables.HEAD_POSITION_IMPORTANCE),
    ):
        found, expected = (read_table(home / f"{name}.parquet", schema) for home in (fast, slow))
        pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-6)


def test_of_several_templates_the_most_fruitful_is_used(model: Path, tmp_path: Path) -> None:
    templates = ("{subject}:", "The capital of {subject} is")
    home = attribute(
        model, tmp_path, "capitals", CAPITALS, FactFilter(top=100), templates=templates
    )
    intake = read_table(home / "intake.parquet", tables.FACTS_INTAKE)
    used = intake[intake["outcome"] == "used"].groupby("template").size()
    chosen = intake[intake["chosen"]]["template"].unique()
    assert len(intake) == 8
    assert used.get(chosen[0], 0) == used.max()


def test_a_relation_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="appears twice"):
        FactsSettings(relations=[FactRelation(relation="a"), FactRelation(relation="a")])


def test_a_model_that_knows_nothing_gives_empty_tables(model: Path, tmp_path: Path) -> None:
    home = attribute(model, tmp_path, "nothing", NONE, FactFilter(top=1))
    root = later_stages(model, [home], Queries(), KnockOut(), CaseStudy())
    claims = read_table(root / "claims.parquet", CLAIMS)
    assert len(claims) > 5
    assert claims["holds"].isna().all(), "nothing measured, nothing judged"
    exhibits = json.loads((root / "figures" / "exhibits.json").read_text())["exhibits"]
    assert not any(exhibit["figure"] for exhibit in exhibits)
    listed = [exhibit for exhibit in exhibits if exhibit["caption"].startswith("0 facts")]
    assert listed, "the report says that no fact is studied"
