"""Tables of the data: texts with labels, what was set aside, relations with answers."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

TEXTS = TableSchema(
    name="data/texts",
    path="results/data/{dataset}.parquet",
    rule="build_dataset",
    description="One row per text that is used, in the order of its source.",
    columns=(
        Column("text_id", pa.string(), "The row's id: the source's own, or `row-N` by position."),
        Column(
            "text", pa.string(), "The text, unchanged; studies cut it by tokens and count that."
        ),
        Column(
            "label_{name}",
            pa.bool_(),
            "Whether the label applies; missing where the source does not say.",
            nullable=True,
            pattern=r"label_[A-Za-z0-9_]+",
        ),
    ),
)

INTAKE = TableSchema(
    name="data/intake",
    path="results/data/{dataset}.intake.parquet",
    rule="build_dataset",
    description="What became of every row of a data set: `in` = `used` + all that was `set aside`.",
    columns=(
        Column("outcome", pa.string(), "`in`, `used`, or `set aside`."),
        Column("reason", pa.string(), "Why rows were set aside; empty for `in` and `used`."),
        Column("rows", pa.int64(), "Number of rows.", unit="rows"),
        Column("examples", pa.string(), "Where the first three of these rows stand."),
    ),
)

RELATION = TableSchema(
    name="data/relation",
    path="results/data/{relation}.parquet",
    rule="build_relation",
    description="One row per subject of a relation, such as a country and its capital.",
    columns=(
        Column("example_id", pa.string(), "Unique id of the example."),
        Column("subject", pa.string(), "The subject, such as `France`."),
        Column("answer", pa.string(), "The canonical answer, such as `Paris`."),
        Column("answers", pa.list_(pa.string()), "Accepted spellings, the canonical one first."),
        Column("relation", pa.string(), "Name of the relation."),
        Column(
            "prompt",
            pa.string(),
            "A ready prompt for this example; missing where the studies' templates apply.",
            nullable=True,
        ),
    ),
)

RELATION_INTAKE = TableSchema(
    name="data/relation_intake",
    path="results/data/{relation}.intake.parquet",
    rule="build_relation",
    description="What became of every row of a relation: `in` = `used` + all that was `set aside`.",
    columns=INTAKE.columns,
)

TABLES: tuple[TableSchema, ...] = (TEXTS, INTAKE, RELATION, RELATION_INTAKE)
