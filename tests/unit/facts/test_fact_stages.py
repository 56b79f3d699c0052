"""The stages on a tiny model, from a relation to claims and figures."""

import functools
import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.facts import (
    Attribution,
    CaseStudy,
    FactFilter,
    FactRelation,
    FactsSettings,
    KnockOut,
    Queries,
)
from llm_anatomy.facts.prompts import Question, ask, judge
from llm_anatomy.model.loading import LoadedModel, load_model
from llm_anatomy.model.record import write_record
from llm_anatomy.stages import (
    attribute_facts,
    claims_facts,
    figures_facts,
    knock_out,
    read_case,
    summarise_facts,
    trace_queries,
)
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.data import RELATION

from tests.tiny import save_tiny_model

CAPITALS = [("France", ["Paris"]), ("Italy", ["Rome"]), ("Spain", ["Madrid"]), ("Peru", ["Lima"])]
LETTERS = [("A", ["B"]), ("B", ["C"])]
NONE: list[tuple[str, list[str]]] = [("x", ["Rome"])]
# The tiny tokenizer writes most words letter by letter, behind the same space.
OPEN = FactFilter(top=None, above_others=False, ambiguous="keep")
METHODS = [
    "log_prob_increase",
    "log_prob",
    "prob_increase",
    "norm",
    "coefficient",
    "inverse_rank",
    "coefficient_norm",
    "coefficient_rank",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    weights = save_tiny_model(folder / "weights")
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in weights.iterdir()}
    record = {"model": "tiny", "revision": "", "weights_sha256": "", "files": files}
    write_record(folder, record, {})
    return folder / "provenance.json"


@functools.cache
def loaded_once(path: Path, precision: Precision, compute: Compute) -> LoadedModel:
    return load_model(path, precision, compute)


@pytest.fixture(autouse=True)
def _load_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in (attribute_facts, trace_queries, knock_out, read_case):
        monkeypatch.setattr(stage, "load_model", loaded_once)


def relation_file(folder: Path, name: str, rows: list[tuple[str, list[str]]]) -> Path:
    path = folder / f"{name}.parquet"
    data = {
        "example_id": [f"{name}-{i}" for i in range(len(rows))],
        "subject": [subject for subject, _ in rows],
        "answer": [answers[0] for _, answers in rows],
        "answers": [answers for _, answers in rows],
        "relation": [name] * len(rows),
        "prompt": [None] * len(rows),
    }
    write_table(path, RELATION, data, {})
    return path


def attribute(
    model: Path,
    folder: Path,
    name: str,
    rows: list[tuple[str, list[str]]],
    rules: FactFilter = OPEN,
    templates: tuple[str, ...] = ("The capital of {subject} is",),
    **asked: object,
) -> Path:
    home = folder / "tiny" / name
    settings = {"neurons": 30, "attention_neurons": 20, "head_positions": 5, "sums": 1} | asked
    attribute_facts.run(
        attribute_facts.AttributionStage(
            seed=0,
            precision=Precision(),
            relation=FactRelation(relation=name, templates=list(templates)),
            filter=rules,
            attribution=Attribution.model_validate(settings),
        ),
        model=model,
        relation=relation_file(folder, name, rows),
        facts=home / "facts.parquet",
        intake=home / "intake.parquet",
        layers=home / "layer_importance.parquet",
        heads=home / "head_importance.parquet",
        head_positions=home / "head_position_importance.parquet",
        positions=home / "position_importance.parquet",
        neurons=home / "neuron_importance.parquet",
        attention_neurons=home / "attention_neuron_importance.parquet",
        certificates=home / "certificates.parquet",
        curve=home / "curve.parquet",
        sums=home / "sums.parquet",
    )
    return home


def test_from_relations_to_figures(model: Path, tmp_path: Path) -> None:
    homes = [
        attribute(model, tmp_path, "capitals", CAPITALS),
        attribute(model, tmp_path, "letters", LETTERS[:1]),
        attribute(model, tmp_path, "nothing", NONE, FactFilter(top=1)),
    ]
    root = tmp_path / "tiny"
    each = {
        name: tuple(home / f"{name}.parquet" for home in homes)
        for name in (
            "facts",
            "layer_importance",
            "head_importance",
            "neuron_importance",
            "attention_neuron_importance",
            "curve",
        )
    }
    facts = read_table(each["facts"][0], tables.FACTS)
    assert len(facts) == 4
    assert facts["telescoping_error"].max() < 1e-4
    layers = read_table(each["layer_importance"][0], tables.LAYER_IMPORTANCE)
    assert layers.groupby("example_id")["importance"].sum().tolist() == pytest.approx(
        (facts["final_logprob"] - facts["start_logprob"]).tolist(), abs=1e-4
    )
    assert read_table(homes[0] / "certificates.parquet", tables.CERTIFICATES)["certified"].all()
    assert read_table(each["facts"][2], tables.FACTS).empty

    trace_queries.run(
        trace_queries.QueryStage(
            precision=Precision(),
            queries=Queries(value_neurons=10, attention_value_neurons=10, query_neurons=20),
        ),
        model=model,
        facts=each["facts"],
        neurons=each["neuron_importance"],
        attention_neurons=each["attention_neuron_importance"],
        query_layers=root / "query_layers.parquet",
        neuron_queries=root / "query_neurons.parquet",
    )
    knock_out.run(
        knock_out.KnockOutStage(
            seed=0,
            precision=Precision(),
            attribution=Attribution(),
            knock_out=KnockOut.model_validate(
                {"methods": METHODS, "neurons": 5, "value_neurons": (10, 10), "head_share": 0.1}
            ),
        ),
        model=model,
        facts=each["facts"],
        layers=each["layer_importance"],
        heads=each["head_importance"],
        neurons=each["neuron_importance"],
        attention_neurons=each["attention_neuron_importance"],
        query_neurons=root / "query_neurons.parquet",
        knock_out=root / "knock_out.parquet",
        method_layers=root / "method_layers.parquet",
    )
    answers = read_table(root / "knock_out.parquet", tables.KNOCK_OUT)
    original = answers[answers["selection"] == "original"].set_index("example_id")
    assert original.loc[facts["example_id"], "logprob"].tolist() == pytest.approx(
        facts["final_logprob"].tolist(), abs=1e-4
    )
    assert set(answers["method"]) == {"", "random", "inner_product", *METHODS}
    summarise_facts.run(
        summarise_facts.SummaryStage(),
        layers=each["layer_importance"],
        heads=each["head_importance"],
        neurons=each["neuron_importance"],
        query_layers=root / "query_layers.parquet",
        query_neurons=root / "query_neurons.parquet",
        knock_out=root / "knock_out.parquet",
        layer_summary=root / "layer_summary.parquet",
        knock_out_summary=root / "knock_out_summary.parquet",
        shared_neurons=root / "shared_neurons.parquet",
    )
    summary = read_table(root / "knock_out_summary.parquet", tables.KNOCK_OUT_SUMMARY)
    zero = summary[summary["selection"] == "original"]
    assert (zero["prob_decrease"] == 0).all()
    mean = original["probability"].groupby(original["relation"]).mean()
    assert zero.set_index("relation")["probability"].to_dict() == pytest.approx(mean.to_dict())
    shared = read_table(root / "shared_neurons.parquet", tables.SHARED_NEURONS)
    assert (shared["share"] > 0.5).all()
    assert "letters" not in set(shared["relation"]), "one fact shares nothing"

    read_case.run(
        read_case.CaseStage(
            precision=Precision(),
            attribution=Attribution(),
            case_study=CaseStudy(units=4, tokens=3),
        ),
        model=model,
        facts=each["facts"],
        query_neurons=root / "query_neurons.parquet",
        case_study=root / "case_study.parquet",
        contrasts=root / "case_contrasts.parquet",
        attention=root / "case_attention.parquet",
    )
    case = read_table(root / "case_study.parquet", tables.CASE_STUDY)
    assert set(case["unit"]) == {
        "attention",
        "ffn",
        "head",
        "position",
        "head_position",
        "ffn_neuron",
        "attention_neuron",
        "query_neuron",
    }
    claims_facts.run(
        claims_facts.ClaimsStage(),
        facts=each["facts"],
        layer_summary=(root / "layer_summary.parquet",),
        knock_out_summary=(root / "knock_out_summary.parquet",),
        query_neurons=(root / "query_neurons.parquet",),
        claims=tmp_path / "claims.parquet",
    )
    claims = read_table(tmp_path / "claims.parquet", CLAIMS)
    assert claims.loc[claims["claim"].str.contains("sums to"), "holds"].all()
    figures_facts.run(
        figures_facts.FigureStage(),
        facts=each["facts"],
        curves=each["curve"],
        layer_summary=(root / "layer_summary.parquet",),
        knock_out_summary=(root / "knock_out_summary.parquet",),
        method_layers=(root / "method_layers.parquet",),
        shared_neurons=(root / "shared_neurons.parquet",),
        query_neurons=(root / "query_neurons.parquet",),
        case_study=(root / "case_study.parquet",),
        case_contrasts=(root / "case_contrasts.parquet",),
        case_attention=(root / "case_attention.parquet",),
        figures=tmp_path / "figures",
    )
    exhibits = json.loads((tmp_path / "figures" / "exhibits.json").read_text())["exhibits"]
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
    assert set(outcomes(**open_, ambiguous="keep").values()) == {"used"}
    assert "used" not in outcomes(top=1).values()


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
        eos_token_id = None

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            known = {"capital": 1, "of": 2, "France": 3, "Paris": 4}
            return {"input_ids": [known.get(word, 0) for word in text.split()]}

    row = {"example_id": "x", "subject": "France", "answers": ["Lutetia", "Paris"], "prompt": None}
    question = ask(Words(), row, "capital of {subject}")
    assert question.options == {"Paris": (4, 1)}
    lost = ask(Words(), row | {"answers": ["Lutetia"]}, "capital of {subject}")
    logs = torch.zeros(2, 5).log_softmax(-1)
    found = judge([question, lost], logs, FactFilter())
    assert [item.outcome for item in found] == [
        "used",
        "the answer cannot be written in the vocabulary",
    ]


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
    root = tmp_path / "tiny"
    facts, curve = (home / "facts.parquet",), (home / "curve.parquet",)
    heads, layers = (home / "head_importance.parquet",), (home / "layer_importance.parquet",)
    neurons = (home / "neuron_importance.parquet",)
    attention = (home / "attention_neuron_importance.parquet",)
    queries, answers = root / "query_neurons.parquet", root / "knock_out.parquet"
    trace_queries.run(
        trace_queries.QueryStage(precision=Precision(), queries=Queries()),
        model=model,
        facts=facts,
        neurons=neurons,
        attention_neurons=attention,
        query_layers=root / "query_layers.parquet",
        neuron_queries=queries,
    )
    knock_out.run(
        knock_out.KnockOutStage(
            seed=0, precision=Precision(), attribution=Attribution(), knock_out=KnockOut()
        ),
        model=model,
        facts=facts,
        layers=layers,
        heads=heads,
        neurons=neurons,
        attention_neurons=attention,
        query_neurons=queries,
        knock_out=answers,
        method_layers=root / "method_layers.parquet",
    )
    summarise_facts.run(
        summarise_facts.SummaryStage(),
        layers=layers,
        heads=heads,
        neurons=neurons,
        query_layers=root / "query_layers.parquet",
        query_neurons=queries,
        knock_out=answers,
        layer_summary=root / "layer_summary.parquet",
        knock_out_summary=root / "knock_out_summary.parquet",
        shared_neurons=root / "shared_neurons.parquet",
    )
    read_case.run(
        read_case.CaseStage(
            precision=Precision(), attribution=Attribution(), case_study=CaseStudy()
        ),
        model=model,
        facts=facts,
        query_neurons=queries,
        case_study=root / "case_study.parquet",
        contrasts=root / "case_contrasts.parquet",
        attention=root / "case_attention.parquet",
    )
    claims_facts.run(
        claims_facts.ClaimsStage(),
        facts=facts,
        layer_summary=(root / "layer_summary.parquet",),
        knock_out_summary=(root / "knock_out_summary.parquet",),
        query_neurons=(queries,),
        claims=tmp_path / "claims.parquet",
    )
    claims = read_table(tmp_path / "claims.parquet", CLAIMS)
    assert len(claims) > 5
    assert claims["holds"].isna().all(), "nothing measured, nothing judged"
    figures_facts.run(
        figures_facts.FigureStage(),
        facts=facts,
        curves=curve,
        layer_summary=(root / "layer_summary.parquet",),
        knock_out_summary=(root / "knock_out_summary.parquet",),
        method_layers=(root / "method_layers.parquet",),
        shared_neurons=(root / "shared_neurons.parquet",),
        query_neurons=(queries,),
        case_study=(root / "case_study.parquet",),
        case_contrasts=(root / "case_contrasts.parquet",),
        case_attention=(root / "case_attention.parquet",),
        figures=tmp_path / "figures",
    )
    assert json.loads((tmp_path / "figures" / "exhibits.json").read_text())["exhibits"] == []
