"""Tables of the facts study."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

_FOLDER = "results/facts/{model}/{relation}"
_MODEL = "results/facts/{model}"

_EXAMPLE = Column("example_id", pa.string(), "The fact.")
_RELATION = Column("relation", pa.string(), "Relation of the fact.")
LAYER = Column("layer", pa.int64(), "Layer, from 0.")
KIND = Column("kind", pa.string(), "`attention` or `ffn`.")
HEAD = Column("head", pa.int64(), "Query head, from 0.")
_NEURON = Column("neuron", pa.int64(), "FFN neuron k: column of the down projection, from 0.")
RANK = Column("rank", pa.int64(), "Place among the fact's units, from 1 for the most important.")
POSITION = Column("position", pa.int64(), "Source position, from 0.")
TOKEN = Column("position_token", pa.string(), "Token at the source position.")


def importance(unit: str) -> Column:
    """The column with a unit's importance."""
    return Column(
        "importance",
        pa.float64(),
        f"Log-probability increase of the target by {unit} (Eq. 13).",
        unit="nat",
    )


FACTS = TableSchema(
    name="facts/facts",
    path=f"{_FOLDER}/facts.parquet",
    rule="attribute_facts",
    description="One fact that is studied.",
    columns=(
        _EXAMPLE,
        _RELATION,
        Column("subject", pa.string(), "Its subject."),
        Column(
            "answer",
            pa.string(),
            "Its canonical answer, or the first spelling that can be written.",
        ),
        Column("prompt", pa.string(), "Text of the prompt."),
        Column("tokens", pa.list_(pa.int64()), "Token ids of the prompt."),
        Column("gold_token", pa.int64(), "First token of the answer."),
        Column("answer_tokens", pa.int64(), "Tokens of the answer."),
        Column("target_token", pa.int64(), "Token that is explained."),
        Column("contrast_token", pa.int64(), "Token it is contrasted with.", nullable=True),
        Column("target", pa.string(), "Text of the explained token."),
        Column("rank", pa.int64(), "Rank of the answer's first token among all tokens."),
        Column("probability", pa.float64(), "Its probability."),
        Column("rival", pa.string(), "Most likely other answer of the relation.", nullable=True),
        Column(
            "counterfactual_prompt",
            pa.string(),
            "The prompt that the data hold it against; missing where they name none.",
            nullable=True,
        ),
        Column(
            "counterfactual_tokens",
            pa.list_(pa.int64()),
            "Token ids of that prompt.",
            nullable=True,
        ),
        Column(
            "counterfactual_token",
            pa.int64(),
            "First token of that prompt's answer; missing where it cannot be written behind it.",
            nullable=True,
        ),
        Column("start_logprob", pa.float64(), "Score of the target at h^0.", unit="nat"),
        Column("final_logprob", pa.float64(), "Score of the target at h^L.", unit="nat"),
        Column("attention", pa.float64(), "Summed importance of all attention layers.", unit="nat"),
        Column("ffn", pa.float64(), "Summed importance of all FFN layers.", unit="nat"),
        Column(
            "telescoping_error",
            pa.float64(),
            "|attention + ffn - (log p of the model itself - log p at h^0)|; with a norm mode "
            "other than `frozen`, of the score at h^L instead of the model's.",
            unit="nat",
        ),
    ),
)

FACTS_INTAKE = TableSchema(
    name="facts/intake",
    path=f"{_FOLDER}/intake.parquet",
    rule="attribute_facts",
    description="What became of one row of the relation under one template.",
    columns=(
        _EXAMPLE,
        Column("subject", pa.string(), "Its subject."),
        Column("template", pa.string(), "Template that it was asked with."),
        Column("chosen", pa.bool_(), "Whether this template is the one in use."),
        Column("outcome", pa.string(), "`used`, `not sampled`, or why it was set aside."),
        Column("prompt", pa.string(), "Text of the prompt."),
        Column(
            "answer",
            pa.string(),
            "Canonical answer, or the first spelling that can be written.",
            nullable=True,
        ),
        Column("answer_tokens", pa.int64(), "Tokens of that spelling.", nullable=True),
        Column("rank", pa.int64(), "Rank of its first token.", nullable=True),
        Column("probability", pa.float64(), "Probability of its first token.", nullable=True),
        Column("rival", pa.string(), "Most likely other answer.", nullable=True),
        Column("predicted", pa.string(), "The model's most likely token.", nullable=True),
    ),
)

LAYER_IMPORTANCE = TableSchema(
    name="facts/layer_importance",
    path=f"{_FOLDER}/layer_importance.parquet",
    rule="attribute_facts",
    description="Importance of the attention or the FFN of one layer for one fact.",
    columns=(
        _EXAMPLE,
        LAYER,
        KIND,
        importance("the layer's output"),
        Column("logprob", pa.float64(), "Score of the target after adding it.", unit="nat"),
        Column("prob_increase", pa.float64(), "Increase of the target's probability."),
        Column("top_token", pa.string(), "Most likely token after adding it (logit lens)."),
        Column("top_probability", pa.float64(), "Its probability."),
    ),
)

HEAD_IMPORTANCE = TableSchema(
    name="facts/head_importance",
    path=f"{_FOLDER}/head_importance.parquet",
    rule="attribute_facts",
    description="Importance of one attention head for one fact.",
    columns=(_EXAMPLE, LAYER, HEAD, importance("the head's output")),
)

HEAD_POSITION_IMPORTANCE = TableSchema(
    name="facts/head_position_importance",
    path=f"{_FOLDER}/head_position_importance.parquet",
    rule="attribute_facts",
    description="One of the most important pairs of head and source position of a fact.",
    columns=(
        _EXAMPLE,
        RANK,
        LAYER,
        HEAD,
        POSITION,
        TOKEN,
        Column("attention", pa.float64(), "Attention weight from the last position."),
        importance("the head's output from this position"),
    ),
)

POSITION_IMPORTANCE = TableSchema(
    name="facts/position_importance",
    path=f"{_FOLDER}/position_importance.parquet",
    rule="attribute_facts",
    description="Importance of one source position, summed over the heads of a layer, for a fact.",
    columns=(_EXAMPLE, LAYER, POSITION, TOKEN, importance("attention to this position")),
)

NEURON_IMPORTANCE = TableSchema(
    name="facts/neuron_importance",
    path=f"{_FOLDER}/neuron_importance.parquet",
    rule="attribute_facts",
    description="One of the most important FFN neurons of a fact.",
    columns=(
        _EXAMPLE,
        RANK,
        LAYER,
        _NEURON,
        importance("the neuron's subvalue"),
        Column("coefficient", pa.float64(), "Its coefficient m (Eq. 6) at the last position."),
        Column("top_tokens", pa.string(), "Tokens that its subvalue ranks highest (v, not m v)."),
        Column("bottom_tokens", pa.string(), "Tokens that its subvalue ranks lowest."),
    ),
)

ATTENTION_NEURON_IMPORTANCE = TableSchema(
    name="facts/attention_neuron_importance",
    path=f"{_FOLDER}/attention_neuron_importance.parquet",
    rule="attribute_facts",
    description="One of the most important attention neurons of a fact at one source position.",
    columns=(
        _EXAMPLE,
        RANK,
        LAYER,
        HEAD,
        Column("dimension", pa.int64(), "Dimension k inside the head."),
        POSITION,
        TOKEN,
        importance("the neuron's subvalue"),
    ),
)

CERTIFICATES = TableSchema(
    name="facts/certificates",
    path=f"{_FOLDER}/certificates.parquet",
    rule="attribute_facts",
    description="Why one list of most important units is complete.",
    columns=(
        _EXAMPLE,
        Column("units", pa.string(), "`ffn_neuron`, `attention_neuron` or `head_position`."),
        Column("kept", pa.int64(), "Units kept, K."),
        Column("in_all", pa.int64(), "Units in all."),
        Column("evaluated", pa.int64(), "Units evaluated exactly."),
        Column("kth_value", pa.float64(), "Exact importance of the K-th best.", unit="nat"),
        Column(
            "next_bound",
            pa.float64(),
            "Highest upper bound among units that were not evaluated; missing when none is left.",
            unit="nat",
            nullable=True,
        ),
        Column("certified", pa.bool_(), "Whether `kth_value` is at least `next_bound`."),
    ),
)

CURVE = TableSchema(
    name="facts/curve",
    path=f"{_FOLDER}/curve.parquet",
    rule="attribute_facts",
    description="Mean over facts at one point between h^0 and h^L (Fig. 3).",
    columns=(
        Column("share", pa.float64(), "How far from h^0 (0) to h^L (1)."),
        Column("logprob", pa.float64(), "Mean log-probability of the target.", unit="nat"),
        Column("probability", pa.float64(), "Mean probability of the target."),
        Column("facts", pa.int64(), "Facts averaged over."),
    ),
)

SUMS = TableSchema(
    name="facts/sums",
    path=f"{_FOLDER}/sums.parquet",
    rule="attribute_facts",
    description="Summed importance of a fact's neurons (Table 5).",
    columns=(
        _EXAMPLE,
        KIND,
        Column("subset", pa.string(), "`all`, `positive`, `top100` or `top200` neurons."),
        importance("each of them, summed,"),
    ),
)

QUERY_LAYERS = TableSchema(
    name="facts/query_layers",
    path=f"{_MODEL}/query_layers.parquet",
    rule="trace_queries",
    description="How much one earlier layer activates the value neurons of one fact.",
    columns=(
        _RELATION,
        _EXAMPLE,
        Column("values", pa.string(), "Value neurons: `ffn` or `attention`."),
        Column("layer", pa.int64(), "Layer of the query, from 0; -1 for the embedding h^0."),
        Column("kind", pa.string(), "`attention`, `ffn` or `embedding`."),
        Column(
            "score",
            pa.float64(),
            "Its share of the inner products with the value neurons' subkeys, each weighted by the "
            "neuron's importance, summed.",
            unit="nat",
        ),
        Column("neurons", pa.int64(), "Value neurons traced."),
        Column("left_out", pa.int64(), "Value neurons left out: inner products cancel."),
    ),
)

QUERY_NEURONS = TableSchema(
    name="facts/query_neurons",
    path=f"{_MODEL}/query_neurons.parquet",
    rule="trace_queries",
    description="One of the FFN neurons that most activate a fact's attention value neurons.",
    columns=(
        _RELATION,
        _EXAMPLE,
        RANK,
        LAYER,
        _NEURON,
        Column("score", pa.float64(), "Query score, summed over value neurons.", unit="nat"),
        Column("also_value", pa.bool_(), "Whether it is among the fact's value neurons too."),
    ),
)

KNOCK_OUT = TableSchema(
    name="facts/knock_out",
    path=f"{_MODEL}/knock_out.parquet",
    rule="knock_out",
    description="One fact with a selection of units switched off.",
    columns=(
        _RELATION,
        _EXAMPLE,
        Column(
            "selection",
            pa.string(),
            "`original`; `ffn` neurons by a method; `value_neurons` (attention and FFN); "
            "`query_neurons`; `heads` of a relation; its best `attention_layers`, `ffn_layers` and "
            "`layers` (both), whole.",
        ),
        Column(
            "method",
            pa.string(),
            "How they were selected; `random` is a control of equal size; empty for `original`.",
        ),
        Column("heads_of", pa.string(), "Relation whose heads were switched off.", nullable=True),
        Column("units", pa.int64(), "Units switched off."),
        Column("operation", pa.string(), "`zero`, `scale` or `replace`."),
        Column("logprob", pa.float64(), "Log-probability of the answer's token.", unit="nat"),
        Column("probability", pa.float64(), "Its probability."),
        Column("rank", pa.int64(), "Its rank, from 1."),
    ),
)

KNOCK_OUT_SUMMARY = TableSchema(
    name="facts/knock_out_summary",
    path=f"{_MODEL}/knock_out_summary.parquet",
    rule="summarise_facts",
    description="A relation's mean over facts with a selection of units switched off.",
    columns=(
        _RELATION,
        *KNOCK_OUT.columns[2:5],
        Column("facts", pa.int64(), "Facts averaged over."),
        Column("mrr", pa.float64(), "Mean of 1 / rank."),
        Column("probability", pa.float64(), "Mean probability."),
        Column("logprob", pa.float64(), "Mean log-probability.", unit="nat"),
        Column("mrr_decrease", pa.float64(), "100·(original - now) / original.", unit="%"),
        Column("prob_decrease", pa.float64(), "100·(original - now) / original.", unit="%"),
    ),
)

METHOD_LAYERS = TableSchema(
    name="facts/method_layers",
    path=f"{_MODEL}/method_layers.parquet",
    rule="knock_out",
    description="How many of the FFN neurons that a method ranks best lie in a layer (Fig. 2).",
    columns=(
        _RELATION,
        Column("method", pa.string(), "How they were selected."),
        LAYER,
        Column("share", pa.float64(), "Share of the selected neurons of all facts."),
    ),
)

SHARED_NEURONS = TableSchema(
    name="facts/shared_neurons",
    path=f"{_MODEL}/shared_neurons.parquet",
    rule="summarise_facts",
    description="An FFN neuron that is among the best of more than half of a relation's facts.",
    columns=(
        _RELATION,
        Column("role", pa.string(), "`value` or `query`."),
        LAYER,
        _NEURON,
        Column("facts", pa.int64(), "Facts that it is among the best of."),
        Column("share", pa.float64(), "As a share of the relation's facts."),
    ),
)

LAYER_SUMMARY = TableSchema(
    name="facts/layer_summary",
    path=f"{_MODEL}/layer_summary.parquet",
    rule="summarise_facts",
    description="A relation's mean over facts of one layer's or head's importance.",
    columns=(
        _RELATION,
        Column("unit", pa.string(), "`attention`, `ffn`, `head` or `query_{value neurons}`."),
        Column("layer", pa.int64(), "Layer, from 0; -1 for the embedding."),
        Column("head", pa.int64(), "Head; missing for whole layers.", nullable=True),
        Column("kind", pa.string(), "`attention`, `ffn` or `embedding`."),
        Column("importance", pa.float64(), "Mean importance or query score.", unit="nat"),
        Column("facts", pa.int64(), "Facts averaged over."),
    ),
)

TABLES: tuple[TableSchema, ...] = (
    FACTS,
    FACTS_INTAKE,
    LAYER_IMPORTANCE,
    HEAD_IMPORTANCE,
    HEAD_POSITION_IMPORTANCE,
    POSITION_IMPORTANCE,
    NEURON_IMPORTANCE,
    ATTENTION_NEURON_IMPORTANCE,
    CERTIFICATES,
    CURVE,
    SUMS,
    QUERY_LAYERS,
    QUERY_NEURONS,
    KNOCK_OUT,
    KNOCK_OUT_SUMMARY,
    METHOD_LAYERS,
    SHARED_NEURONS,
    LAYER_SUMMARY,
)
