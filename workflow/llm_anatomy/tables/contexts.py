"""Tables of what makes neurons fire: contexts, activity, words against contexts, neighbours."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

_LAYER = Column("layer", pa.int16(), "Layer, from 0.")
_NEURON = Column("neuron", pa.int32(), "MLP neuron within the layer, from 0.")
_MATRIX = Column("matrix", pa.string(), "`up` or `gate` (rows) or `down` (columns).")
_SIGN = Column(
    "sign",
    pa.int8(),
    "+1: the neuron's largest activations; -1: its most negative ones.",
)

_CONTEXTS = (
    _LAYER,
    _NEURON,
    _SIGN,
    Column(
        "rank",
        pa.int16(),
        "1 is the strongest; of equal activations the text that is configured first comes first.",
    ),
    Column(
        "activation",
        pa.float32(),
        "The strongest activation of this sign in the text; the tensor is in the provenance.",
    ),
    Column("dataset", pa.string(), "Data set of the text."),
    Column("text_id", pa.string(), "The text; each stands once per neuron and sign."),
    Column("position", pa.int32(), "Token position of the activation, from 0."),
    Column("token_id", pa.int32(), "Token at that position."),
    Column("token", pa.string(), "Its text as it stands inside a sentence."),
    Column("before", pa.string(), "Text of the window in front of it."),
    Column("after", pa.string(), "Text of the window behind it."),
    Column("start", pa.int32(), "Position of the window's first token."),
    Column("token_ids", pa.list_(pa.int32()), "Tokens of the window."),
    Column(
        "values",
        pa.list_(pa.float32()),
        "The neuron's activation at each of them; that of left out first positions too.",
    ),
)
_ACTIVITY = (
    _LAYER,
    _NEURON,
    Column("tokens", pa.int64(), "Token positions that were counted."),
    Column("density", pa.float64(), "Share of them with an activation above the threshold."),
    Column(
        "negative_density",
        pa.float64(),
        "Share of them with an activation below the negative threshold.",
    ),
    Column("mean", pa.float64(), "Mean activation."),
    Column("std", pa.float64(), "Standard deviation of the activation."),
    Column("minimum", pa.float32(), "Smallest activation."),
    Column("maximum", pa.float32(), "Largest activation."),
)
_QUANTILES = tuple(
    Column(
        f"q{percent:02d}",
        pa.float32(),
        f"{percent} % quantile, from a histogram whose bins are an eighth of a power of two wide: "
        "within 6.3 % of the value at that rank; 0 where that value is below 2^-10 in size, and "
        "above 2^14 only known to lie there.",
    )
    for percent in (1, 10, 50, 90, 99)
)

CONTEXTS_PART = TableSchema(
    name="neurons/contexts_part",
    path="results/neurons/{model}/contexts/{shard}-of-{shards}.contexts.parquet",
    rule="find_contexts",
    description="The contexts of `neurons/contexts` in a part of the texts.",
    columns=(*_CONTEXTS, Column("place", pa.int64(), "The text's place among all texts.")),
)
ACTIVITY_PART = TableSchema(
    name="neurons/activity_part",
    path="results/neurons/{model}/contexts/{shard}-of-{shards}.activity.parquet",
    rule="find_contexts",
    description="Sums over a part of the texts, from which `neurons/activity` is made.",
    columns=(
        _LAYER,
        _NEURON,
        Column("tokens", pa.int64(), "Token positions that were counted."),
        Column("above", pa.int64(), "Activations above the threshold."),
        Column("below", pa.int64(), "Activations below the negative threshold."),
        Column("sum", pa.float64(), "Sum of the activations."),
        Column("squares", pa.float64(), "Sum of their squares."),
        Column("minimum", pa.float32(), "Smallest activation."),
        Column("maximum", pa.float32(), "Largest activation."),
        Column("bins", pa.list_(pa.int16()), "Bins of the histogram that hold something."),
        Column("counts", pa.list_(pa.int32()), "What they hold."),
    ),
)
CONTEXTS = TableSchema(
    name="neurons/contexts",
    path="results/neurons/{model}/contexts.parquet",
    rule="join_contexts",
    description="One of the texts on which a neuron's activation is strongest, with the words "
    "around the token. How many texts were read, left out and cut is in the provenance.",
    columns=_CONTEXTS,
)
ACTIVITY = TableSchema(
    name="neurons/activity",
    path="results/neurons/{model}/activity.parquet",
    rule="join_contexts",
    description="How one neuron's activation is distributed over all tokens that were read.",
    columns=(*_ACTIVITY, *_QUANTILES),
)

CONTEXT_WORDS = TableSchema(
    name="neurons/context_words",
    path="results/neurons/{model}/context_words.parquet",
    rule="compare_contexts",
    description="One neuron, matrix and sign: its decoded words against its contexts.",
    columns=(
        _LAYER,
        _NEURON,
        _MATRIX,
        _SIGN,
        Column(
            "end",
            pa.int8(),
            "Decoded end that goes with this sign: the same one, but +1 for a gate, which is open "
            "at either sign of the activation.",
        ),
        Column("contexts", pa.int16(), "Contexts of this neuron and sign."),
        Column("here", pa.float64(), "Share of them whose token is a decoded one of that end."),
        Column(
            "next",
            pa.float64(),
            "Share of them whose next token is a decoded one of it; one at the end of a text "
            "counts as without. In `neurons/context_overlap` such contexts are left out of `next`.",
        ),
        Column("opposite_here", pa.float64(), "`here`, for the other end's decoded tokens."),
        Column("opposite_next", pa.float64(), "`next`, for the other end's decoded tokens."),
        Column(
            "verdict",
            pa.string(),
            "`agree`: at least half of two or more contexts hold a decoded word of the end, here "
            "or next, and none one of the other; `contradict`: the other way round; else "
            "`neither`.",
        ),
    ),
)
CONTEXT_OVERLAP = TableSchema(
    name="neurons/context_overlap",
    path="results/neurons/{model}/context_overlap.parquet",
    rule="compare_contexts",
    description="All neurons of one layer: how often their decoded words are what they fire on, "
    "beside the words of other neurons of the layer.",
    columns=(
        Column("layer", pa.int16(), "Layer, from 0; missing for all together.", nullable=True),
        _MATRIX,
        Column("end", pa.int8(), "End of the weight vector whose decoded tokens are looked for."),
        _SIGN,
        Column(
            "place",
            pa.string(),
            "`here`: the token that is fired on; `next`: that after it. A context at the end of a "
            "text has none after it and counts for `here` alone.",
        ),
        Column(
            "neurons",
            pa.int32(),
            "Neurons with a context of this sign; for `next`, with one that a token follows.",
        ),
        Column("share", pa.float64(), "Mean share of a neuron's contexts with a decoded token."),
        Column("low", pa.float64(), "Lower end of it: 95 % bootstrap over neurons."),
        Column("high", pa.float64(), "Upper end of the same interval."),
        Column(
            "shuffled",
            pa.float64(),
            "The same with every neuron's words exchanged for another's of its layer; mean over "
            "the shuffles.",
        ),
        Column("shuffled_low", pa.float64(), "2.5 % quantile of the shuffles."),
        Column("shuffled_high", pa.float64(), "97.5 % quantile of the shuffles."),
        Column("difference", pa.float64(), "share - shuffled."),
        Column("difference_low", pa.float64(), "Lower end of it: 95 % bootstrap over neurons."),
        Column("difference_high", pa.float64(), "Upper end of the same interval."),
    ),
)
NEIGHBOURS = TableSchema(
    name="neurons/neighbours",
    path="results/neurons/{model}/neighbours.parquet",
    rule="find_neighbours",
    description="One of the neurons most like a neuron, by one measure.",
    columns=(
        _LAYER,
        _NEURON,
        Column(
            "measure",
            pa.string(),
            "`up`, `gate` or `down`: cosine of the stored weight vectors (rows, columns of down); "
            "`activation`: Pearson correlation of what enters the down projection, over sampled "
            "tokens.",
        ),
        Column("rank", pa.int16(), "1 is the largest."),
        Column("other_layer", pa.int16(), "Layer of the neighbour."),
        Column("other_neuron", pa.int32(), "The neighbour within its layer."),
        Column("similarity", pa.float32(), "Cosine or correlation, with its sign."),
    ),
)

TABLES: tuple[TableSchema, ...] = (
    CONTEXTS_PART,
    ACTIVITY_PART,
    CONTEXTS,
    ACTIVITY,
    CONTEXT_WORDS,
    CONTEXT_OVERLAP,
    NEIGHBOURS,
)
