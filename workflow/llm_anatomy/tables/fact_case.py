"""Tables of the facts study's case: one fact read closely."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema
from llm_anatomy.tables.facts import HEAD, KIND, LAYER, POSITION, RANK, TOKEN, importance

CASE_STUDY = TableSchema(
    name="facts/case_study",
    path="results/facts/{model}/case_study.parquet",
    rule="read_case",
    description="One of the units that matter most for the case study's fact, read in tokens.",
    columns=(
        Column(
            "unit",
            pa.string(),
            "`attention` or `ffn` layer, `head`, `head_position`, `position`, `ffn_neuron`, "
            "`attention_neuron`, `query_neuron`, or `query_neuron_through_head`.",
        ),
        RANK,
        LAYER,
        Column("index", pa.int64(), "Head or neuron; missing for layers.", nullable=True),
        Column("dimension", pa.int64(), "Dimension inside the head.", nullable=True),
        Column("position_token", pa.string(), "Source token.", nullable=True),
        Column(
            "through",
            pa.string(),
            "Head, as layer_head, through which the neuron's vector is read.",
            nullable=True,
        ),
        Column("attention", pa.float64(), "Attention weight to it.", nullable=True),
        Column("coefficient", pa.float64(), "Coefficient of a neuron.", nullable=True),
        importance("the unit"),
        Column("top_tokens", pa.string(), "Tokens that its vector promotes."),
        Column("bottom_tokens", pa.string(), "Tokens that its vector suppresses."),
    ),
)

CASE_CONTRASTS = TableSchema(
    name="facts/case_contrasts",
    path="results/facts/{model}/case_contrasts.parquet",
    rule="read_case",
    description="What one layer adds to log p(answer) - log p(contrast) in the case study.",
    columns=(
        Column("contrast", pa.string(), "Token that the answer is contrasted with."),
        LAYER,
        KIND,
        importance("the layer"),
    ),
)

CASE_ATTENTION = TableSchema(
    name="facts/case_attention",
    path="results/facts/{model}/case_attention.parquet",
    rule="read_case",
    description="Attention of one of the case study's best heads to one position.",
    columns=(
        LAYER,
        HEAD,
        POSITION,
        TOKEN,
        Column("attention", pa.float64(), "Attention weight from the last position."),
        importance("the head from this position"),
        Column("top_tokens", pa.string(), "Tokens that the head writes from this position."),
    ),
)

TABLES: tuple[TableSchema, ...] = (CASE_STUDY, CASE_CONTRASTS, CASE_ATTENTION)
