"""Tables of steering: directions as differences of class means, beside clamps of neurons."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

_CONCEPT = Column("concept", pa.string(), "Name of the concept.")
_PROMPT = Column("prompt", pa.string(), "The text whose next token is observed.")
_METHOD = Column(
    "method",
    pa.string(),
    "`direction`: the difference of class means; `clamp`: the concept's best neuron; `none`: the "
    "clean model.",
)
_ROLE = Column(
    "role",
    pa.string(),
    "`concept`, or a control: `random` (a random direction of the same length, or a random neuron "
    "of the same layer), `permuted` (difference of means after the labels were shuffled).",
)

DIRECTIONS = TableSchema(
    name="neurons/directions",
    path="results/neurons/{model}/directions.parquet",
    rule="steer_directions",
    description="One concept's direction in the residual stream, and the neuron beside it.",
    columns=(
        _CONCEPT,
        Column("layer", pa.int16(), "The direction is of what this block reads, from 0."),
        Column("token", pa.string(), "`last` token of every text, or `mean` over its tokens."),
        Column("source", pa.string(), "Data set and label, or `examples` of the configuration."),
        Column("positive", pa.int32(), "Texts with the concept."),
        Column("negative", pa.int32(), "Texts without it."),
        Column(
            "positive_cut",
            pa.int32(),
            "Texts with it that are longer than `neurons.directions.max_length` or than the model "
            "reads: their last token is not the text's last.",
        ),
        Column("negative_cut", pa.int32(), "The same of the texts without it."),
        Column("unlabelled", pa.int32(), "Texts of the data set left out: no value of the label."),
        Column(
            "unread",
            pa.int32(),
            "Labelled texts, or examples, beyond `neurons.directions.max_texts` of their class.",
        ),
        Column("norm", pa.float64(), "Length of the difference of means."),
        Column("state_norm", pa.float64(), "Mean length of the texts' states, for scale."),
        Column(
            "held_out_auc",
            pa.float64(),
            "ROC AUC of the projection on texts that the direction was not made from (two halves, "
            "mean of both ways; copies, groups and pairs stay in one half); missing with fewer "
            "than four texts of a class, or where a half lacks a class.",
            nullable=True,
        ),
        Column("neuron_layer", pa.int16(), "Layer of the concept's best neuron."),
        Column("neuron", pa.int32(), "That neuron within its layer."),
        Column("cosine_down", pa.float64(), "Cosine of the direction with its down column."),
    ),
)
STEERING = TableSchema(
    name="neurons/steering",
    path="results/neurons/{model}/steering.parquet",
    rule="steer_directions",
    description="The next token of one prompt under one dose of one intervention.",
    columns=(
        _CONCEPT,
        _PROMPT,
        _METHOD,
        _ROLE,
        Column(
            "operation",
            pa.string(),
            "`add` or `project_out` of a direction, `set` of a neuron, or `none`.",
        ),
        Column("layer", pa.int16(), "Layer of the intervention."),
        Column("neuron", pa.int32(), "The clamped neuron; missing elsewhere.", nullable=True),
        Column(
            "dose",
            pa.float64(),
            "Multiple of the difference of means that is added, or value that the neuron is set "
            "to; missing when projected out or clean.",
            nullable=True,
        ),
        Column("probability", pa.float64(), "Next-token probability of all the concept's tokens."),
        Column("logprob", pa.float64(), "Its logarithm.", "nat"),
        Column("rank", pa.int32(), "Best rank of a token of the concept; 1 is the top."),
        Column("kl", pa.float64(), "KL(clean || changed) of the next token.", "nat"),
        Column(
            "perplexity",
            pa.float64(),
            "Perplexity of the held text under the same intervention, at all its positions.",
        ),
        Column("top_tokens", pa.list_(pa.string()), "Most probable next tokens."),
        Column("top_probabilities", pa.list_(pa.float64()), "Their probabilities."),
    ),
)
EQUAL_FLUENCY = TableSchema(
    name="neurons/equal_fluency",
    path="results/neurons/{model}/equal_fluency.parquet",
    rule="steer_directions",
    description="The most that one method raises a concept while the held text stays fluent. Of "
    "directions only doses that are added count, not what is subtracted or projected out.",
    columns=(
        _CONCEPT,
        _PROMPT,
        _METHOD,
        _ROLE,
        Column(
            "perplexity_ratio",
            pa.float64(),
            "Largest perplexity of the held text that counts, in units of the clean model's.",
        ),
        Column(
            "dose",
            pa.float64(),
            "The dose with the largest log-probability within that bound; missing for the clean "
            "model, where none raises it.",
            nullable=True,
        ),
        Column("logprob_gain", pa.float64(), "Of the concept, over the clean model.", "nat"),
        Column("probability", pa.float64(), "Of the concept under that dose."),
        Column("perplexity", pa.float64(), "Of the held text under that dose."),
    ),
)

TABLES: tuple[TableSchema, ...] = (DIRECTIONS, STEERING, EQUAL_FLUENCY)
