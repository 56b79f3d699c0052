"""The facts stages on a tiny model, from a relation's rows to claims and figures."""

from pathlib import Path

from llm_anatomy.config.base import Precision
from llm_anatomy.config.facts import (
    Attribution,
    CaseStudy,
    FactFilter,
    FactRelation,
    KnockOut,
    Queries,
)
from llm_anatomy.facts.claims import FactsScope
from llm_anatomy.stages import (
    attribute_facts,
    conclude_facts,
    knock_out,
    read_case,
    summarise_facts,
    trace_queries,
)
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.data import RELATION

TABLES = (
    "facts",
    "intake",
    "layer_importance",
    "head_importance",
    "head_position_importance",
    "position_importance",
    "neuron_importance",
    "attention_neuron_importance",
    "certificates",
    "curve",
    "sums",
)
CAPITALS = [("France", ["Paris"]), ("Italy", ["Rome"]), ("Spain", ["Madrid"]), ("Peru", ["Lima"])]
NONE: list[tuple[str, list[str]]] = [("x", ["Rome"])]
# The tiny tokenizer writes most words letter by letter, behind the same space.
OPEN = FactFilter(top=None, above_others=False, ambiguous="keep")


def relation_file(folder: Path, name: str, rows: list[tuple[str, list[str]]]) -> Path:
    path = folder / f"{name}.parquet"
    data = {
        "example_id": [f"{name}-{i}" for i in range(len(rows))],
        "subject": [subject for subject, _ in rows],
        "answer": [answers[0] for _, answers in rows],
        "answers": [answers for _, answers in rows],
        "relation": [name] * len(rows),
        "prompt": [None] * len(rows),
        "counterfactual_prompt": [None] * len(rows),
        "counterfactual_answer": [None] * len(rows),
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
    home = folder / "results" / "facts" / "tiny" / name
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
        results=tuple(home / f"{table}.parquet" for table in TABLES),
    )
    return home


def later_stages(
    model: Path, homes: list[Path], queries: Queries, knock_outs: KnockOut, case: CaseStudy
) -> Path:
    """Run every stage after `attribute_facts` on some relations; return the model's folder."""
    root = homes[0].parent
    names = [home.name for home in homes]

    def of(*tables: str) -> tuple[Path, ...]:
        return tuple(home / f"{name}.parquet" for name in tables for home in homes)

    units = ("neuron_importance", "attention_neuron_importance")
    query_layers, query_neurons = root / "query_layers.parquet", root / "query_neurons.parquet"
    answers, methods = root / "knock_out.parquet", root / "method_layers.parquet"
    summaries = {
        name: root / f"{name}.parquet"
        for name in ("layer_summary", "knock_out_summary", "shared_neurons")
    }
    trace_queries.run(
        trace_queries.QueryStage(precision=Precision(), relations=names, queries=queries),
        model=model,
        tables=of("facts", *units),
        results=(query_layers, query_neurons),
    )
    knock_out.run(
        knock_out.KnockOutStage(
            seed=0,
            precision=Precision(),
            relations=names,
            attribution=Attribution(),
            knock_out=knock_outs,
        ),
        model=model,
        tables=(*of("facts", "layer_importance", "head_importance", *units), query_neurons),
        results=(answers, methods),
    )
    summarise_facts.run(
        summarise_facts.FactSummaryStage(relations=names),
        tables=(
            *of("layer_importance", "head_importance", "neuron_importance"),
            *(query_layers, query_neurons, answers),
        ),
        results=tuple(summaries.values()),
    )
    cases = {
        name: root / f"{name}.parquet"
        for name in ("case_study", "case_contrasts", "case_attention")
    }
    read_case.run(
        read_case.CaseStage(precision=Precision(), attribution=Attribution(), case_study=case),
        model=model,
        tables=(*of("facts"), query_neurons),
        results=tuple(cases.values()),
    )
    conclude_facts.run(
        FactsScope(seed=0, models=["tiny"], relations=names),
        tables=(
            *of("facts", "curve", "neuron_importance"),
            *(answers, methods, query_neurons),
            *(*summaries.values(), *cases.values()),
        ),
        claims=root / "claims.parquet",
        figures=root / "figures",
    )
    return root
