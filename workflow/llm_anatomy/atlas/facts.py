"""The facts of a model, as the atlas shows them: one fact with everything that was found of it."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from llm_anatomy.atlas.chunks import Chunk, columns, packed
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import TableSchema
from llm_anatomy.tables.facts import (
    ATTENTION_NEURON_IMPORTANCE,
    FACTS,
    FACTS_INTAKE,
    HEAD_IMPORTANCE,
    HEAD_POSITION_IMPORTANCE,
    KNOCK_OUT,
    LAYER_IMPORTANCE,
    LAYER_SUMMARY,
    NEURON_IMPORTANCE,
    POSITION_IMPORTANCE,
    QUERY_LAYERS,
    QUERY_NEURONS,
)

# One table of every relation, and one of every model that names the relation in a column.
OF_RELATIONS: dict[str, TableSchema] = {
    "layers": LAYER_IMPORTANCE,
    "heads": HEAD_IMPORTANCE,
    "positions": POSITION_IMPORTANCE,
    "head_positions": HEAD_POSITION_IMPORTANCE,
    "neurons": NEURON_IMPORTANCE,
    "attention_neurons": ATTENTION_NEURON_IMPORTANCE,
}
OF_MODELS: dict[str, TableSchema] = {
    "query_layers": QUERY_LAYERS,
    "query_neurons": QUERY_NEURONS,
    "knock_out": KNOCK_OUT,
}
# A fact's best units that are listed; its tables hold all that were kept.
LISTED = {"neurons": 50, "attention_neurons": 50, "query_neurons": 50}
_FACT_COLUMNS = [
    "example_id",
    "subject",
    "answer",
    "prompt",
    "target",
    "rank",
    "probability",
    "rival",
    "start_logprob",
    "final_logprob",
    "attention",
    "ffn",
]


def fact_chunks(tables: Collection, model: str, relations: Sequence[str]) -> Iterator[Chunk]:
    """Everything that the atlas shows of a model's facts.

    Args:
        tables: The study's tables of the model.
        model: The model.
        relations: The relations, in the order shown.

    Yields:
        `facts-NNNN` with facts and `facts` with the chunk of each, `roles-LL` with the facts in
        which neurons of a layer are among the best, and last `index`: relations, their facts, what
        was set aside, and means over facts.

    Raises:
        UserError: A table is missing or damaged.
    """
    roles: dict[int, dict[str, list[list[Any]]]] = {}
    listed: dict[str, Any] = {}
    documents: list[tuple[str, Any]] = []
    summary = _of_model(tables, LAYER_SUMMARY, model)
    for relation in relations:
        facts = _named(tables.frame(FACTS, model=model, relation=relation))
        intake = _named(tables.frame(FACTS_INTAKE, model=model, relation=relation))
        listed[relation] = {
            "facts": columns(facts[_FACT_COLUMNS]),
            "intake": columns(intake),
            "summary": columns(
                summary[(summary["relation"] == relation) & (summary["unit"] != "head")].drop(
                    columns=["relation", "head"]
                )
            ),
        }
        found = _tables_of(tables, model, relation)
        _add_roles(roles, relation, facts, found)
        documents.extend(_documents(relation, facts, found))
    yield from packed("facts", documents)
    for layer, of_layer in sorted(roles.items()):
        yield f"roles-{layer:02d}", of_layer
    yield "index", {"model": model, "relations": listed, "roles": sorted(roles)}


def _named(facts: pd.DataFrame) -> pd.DataFrame:
    """Facts by their subjects, or by their ids where a prompt says everything and has none."""
    subjects = facts["subject"]
    return facts.assign(subject=subjects.mask(subjects.fillna("") == "", facts["example_id"]))


def _of_model(tables: Collection, schema: TableSchema, model: str) -> pd.DataFrame:
    return (
        tables.frame(schema, model=model) if tables.has(schema, model=model) else schema.frame([])
    )


def _tables_of(tables: Collection, model: str, relation: str) -> dict[str, pd.DataFrame]:
    """The tables of one relation's facts by name, best units first."""
    found = {
        name: tables.frame(schema, model=model, relation=relation)
        for name, schema in OF_RELATIONS.items()
    }
    for name, schema in OF_MODELS.items():
        frame = _of_model(tables, schema, model)
        found[name] = frame[frame["relation"] == relation].drop(columns=["relation"])
    return found


def _documents(
    relation: str, facts: pd.DataFrame, found: dict[str, pd.DataFrame]
) -> Iterator[tuple[str, Any]]:
    """One document for every fact, by `relation/example`."""
    grouped = {name: dict(list(frame.groupby("example_id"))) for name, frame in found.items()}
    for fact in facts["example_id"]:
        document = {}
        for name, frame in found.items():
            own = grouped[name].get(fact, frame.iloc[:0]).drop(columns=["example_id"])
            if name in LISTED:
                own = own[own["rank"] <= LISTED[name]]
            document[name] = columns(own)
        yield f"{relation}/{fact}", document


def _add_roles(
    roles: dict[int, dict[str, list[list[Any]]]],
    relation: str,
    facts: pd.DataFrame,
    found: dict[str, pd.DataFrame],
) -> None:
    """Add the facts in which a neuron is among the listed: role, relation, fact, rank, score."""
    names = dict(zip(facts["example_id"], facts["subject"], strict=True))
    for role, name, score in (
        ("value", "neurons", "importance"),
        ("query", "query_neurons", "score"),
    ):
        frame = found[name]
        own = columns(frame[frame["rank"] <= LISTED[name]])
        for layer, neuron, fact, rank, value in zip(
            *(own[column] for column in ("layer", "neuron", "example_id", "rank", score)),
            strict=True,
        ):
            of_neuron = roles.setdefault(layer, {}).setdefault(str(neuron), [])
            of_neuron.append([role, relation, fact, names.get(fact, ""), rank, value])
