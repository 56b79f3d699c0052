"""The table of a model's anatomy: what each layer does, in one table for all studies."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

ANATOMY = TableSchema(
    name="anatomy/layers",
    path="results/anatomy/{model}/layers.parquet",
    rule="summarise_layers",
    description="One number of one layer of a model, by the study that it comes from.",
    columns=(
        Column("study", pa.string(), "`geometry`, `neurons`, `patching` or `facts`."),
        Column(
            "series",
            pa.string(),
            "What is told apart within the study: a data set, a matrix, a manipulation, or "
            "`attention` and `ffn`.",
        ),
        Column("layer", pa.int32(), "Layer, from 0; of patching the layer k that is manipulated."),
        Column(
            "value",
            pa.float64(),
            "geometry: mean intrinsic dimension at the last token, relative threshold, over texts; "
            "neurons: mean over neurons of the largest cosine of the weight vector with a row of "
            "the head; patching: mean score of all examples under the manipulation; facts: mean "
            "importance over the facts of all relations.",
            "column unit",
        ),
        Column(
            "low",
            pa.float64(),
            "geometry: 5 % quantile over texts; patching: lower end of the 95 % interval.",
            "column unit",
            nullable=True,
        ),
        Column(
            "high",
            pa.float64(),
            "geometry: 95 % quantile over texts; patching: upper end of the same interval.",
            "column unit",
            nullable=True,
        ),
        Column("unit", pa.string(), "Unit of the value; empty for a pure number."),
        Column("about", pa.string(), "What it was measured on: data sets, task or relations."),
    ),
)

TABLES = (ANATOMY,)
