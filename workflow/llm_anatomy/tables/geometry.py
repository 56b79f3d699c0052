"""Tables of the geometry study. Layers, heads and positions count from 0."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

_SHARD = "results/activations/{model}/{dataset}/{shard}-of-{shards}"
_GEOMETRY = "results/geometry/{model}/{dataset}"
_PROMPTS = "results/geometry/{model}/prompts"

_TEXT_ID = Column("text_id", pa.string(), "The text, as in the dataset's table")
_LAYER = Column("layer", pa.int32(), "Block of the model")
_N_TOKENS = Column(
    "n_tokens", pa.int32(), "Tokens that were read, special tokens included", "tokens"
)
_TRUNCATED = Column("truncated", pa.bool_(), "Whether the text was longer and lost its end")
_CONTROLS = Column("control_tokens", pa.int32(), "Control tokens whose characters it holds")
_POSITION = Column("position", pa.int32(), "Position of the token whose attention is counted")
_THRESHOLD = Column(
    "threshold",
    pa.string(),
    "Attention above a share of the head's largest (`relative`) or above a value (`absolute`)",
)

TRACES = TableSchema(
    "geometry/traces",
    f"{_SHARD}/traces.parquet",
    "extract_activations",
    "One text: two numbers for every token and layer, from which all spline features follow",
    (
        _TEXT_ID,
        _N_TOKENS,
        _TRUNCATED,
        _CONTROLS,
        Column("has_bos", pa.bool_(), "Whether the first token marks the beginning of sequence"),
        Column(
            "l{layer}_active",
            pa.list_(pa.float32()),
            "Per token: share of the MLP's units whose pre-activation is above zero",
            "share",
            pattern=r"l\d+_active",
        ),
        Column(
            "l{layer}_distance",
            pa.list_(pa.float32()),
            "Per token: distance of the MLP's input to the nearest boundary, min |w x + b| / |w|",
            "length in the MLP's input space",
            pattern=r"l\d+_distance",
        ),
    ),
)

STATES = TableSchema(
    "geometry/states",
    f"{_SHARD}/states.parquet",
    "extract_activations",
    "One text: two summaries of the residual stream behind every stored layer",
    (
        _TEXT_ID,
        Column(
            "l{layer}_last",
            pa.list_(pa.float32()),
            "State of the last token behind the layer",
            pattern=r"l\d+_last",
        ),
        Column(
            "l{layer}_mean",
            pa.list_(pa.float32()),
            "Mean over all tokens of the state behind the layer",
            pattern=r"l\d+_mean",
        ),
    ),
)

ATTENTION_COUNTS = TableSchema(
    "geometry/attention_counts",
    f"{_SHARD}/attention_counts.parquet",
    "extract_activations",
    "One token of one text (the last one, or every one): how many tokens each head attends to",
    (
        _TEXT_ID,
        _POSITION,
        Column(
            "l{layer}_relative",
            pa.list_(pa.int32()),
            "Per head: tokens with attention above the relative threshold",
            "tokens",
            pattern=r"l\d+_relative",
        ),
        Column(
            "l{layer}_absolute",
            pa.list_(pa.int32()),
            "Per head: tokens with attention above the absolute threshold",
            "tokens",
            pattern=r"l\d+_absolute",
        ),
    ),
)

SPLINE_FEATURES = TableSchema(
    "geometry/spline_features",
    f"{_GEOMETRY}/spline_features.parquet",
    "spline_features",
    "One text: the seven spline features of every layer",
    (
        _TEXT_ID,
        _N_TOKENS,
        _TRUNCATED,
        Column(
            "l{layer}_f{n}",
            pa.float64(),
            "Over the text's tokens: f1 mean, f2 minimum, f3 maximum, f4 standard deviation of the "
            "share of active units; f5 minimum, f6 mean, f7 standard deviation of the distance to "
            "the nearest boundary (standard deviations with n - 1; 0 for a single token)",
            pattern=r"l\d+_f[1-7]",
        ),
    ),
)

INTRINSIC_DIMENSION = TableSchema(
    "geometry/intrinsic_dimension",
    f"{_GEOMETRY}/intrinsic_dimension.parquet",
    "intrinsic_dimension",
    "One token of one text, layer and threshold: the attention's intrinsic dimension",
    (
        _TEXT_ID,
        _POSITION,
        Column("n_tokens", pa.int32(), "Tokens up to this one, itself included", "tokens"),
        _LAYER,
        _THRESHOLD,
        Column("count", pa.int64(), "Sum over heads of the tokens above the threshold", "tokens"),
        Column("dimension", pa.int64(), "The same sum, clipped as the provenance's `clip` says"),
    ),
)

HULL_CHECKS = TableSchema(
    "geometry/hull_checks",
    f"{_GEOMETRY}/hull_checks.parquet",
    "check_geometry",
    "One text and layer: the convex-hull and Minkowski-sum statement at the last token (Lemma 3.1, "
    "Theorem 3.2)",
    (
        _TEXT_ID,
        _LAYER,
        _N_TOKENS,
        Column("head_dim", pa.int32(), "Dimension of a head"),
        Column("n_heads", pa.int32(), "Query heads"),
        Column(
            "count", pa.int64(), "Tokens with attention above zero, summed over heads: the bound"
        ),
        Column(
            "rank",
            pa.int64(),
            "Numerical rank of the value vectors, sent through the output projection, that have "
            "attention above zero in any head",
        ),
        Column(
            "largest_head_rank",
            pa.int64(),
            "Largest numerical rank, over heads, of one head's value vectors",
        ),
        Column(
            "weight_sum_error",
            pa.float64(),
            "Largest |sum of a head's weights - 1|: how far the weights are from a convex "
            "combination",
        ),
        Column(
            "hull_error",
            pa.float64(),
            "Relative error of the attention output, rebuilt as the weighted value vectors of all "
            "heads",
        ),
        Column(
            "relative_error",
            pa.float64(),
            "The same with only the tokens above the relative threshold kept: what the soft "
            "dimension leaves out",
        ),
        Column("relative_count", pa.int64(), "Tokens kept for `relative_error`, over all heads"),
    ),
)

REGION_CHECKS = TableSchema(
    "geometry/region_checks",
    f"{_GEOMETRY}/region_checks.parquet",
    "check_geometry",
    "One text, layer and activation: is the MLP the affine map of its region at the last token?",
    (
        _TEXT_ID,
        _LAYER,
        Column(
            "activation",
            pa.string(),
            "`model`: the MLP as it is; `relu`: the same weights with ReLU as activation",
        ),
        Column("gated", pa.bool_(), "Whether the MLP multiplies a gate with an up projection"),
        Column("active_units", pa.int64(), "Units above zero: the ones that the region keeps"),
        Column(
            "reconstruction_error",
            pa.float64(),
            "Relative error of the region's map (inactive units 0, active units passed on) against "
            "the MLP's output",
        ),
        Column(
            "neighbour_error",
            pa.float64(),
            "The same map at a point inside the region, halfway to its nearest boundary",
        ),
        Column(
            "regions_to_next_text",
            pa.int64(),
            "Regions on the straight line from this text's MLP input to the next text's",
        ),
        Column(
            "log10_regions_bound",
            pa.float64(),
            "log10 of the most regions that the layer's hyperplanes can cut a space of the text's "
            "intrinsic dimension (relative) into",
        ),
    ),
)

PREFIX_FEATURES = TableSchema(
    "geometry/prefix_features",
    "results/geometry/{model}/inserts/prefix_features.parquet",
    "check_geometry",
    "One document, prefix and layer: the seven features of the tokens up to this one",
    (
        Column("document", pa.string(), "Name of the document"),
        _POSITION,
        Column("token", pa.string(), "The token, as text"),
        Column("inserted", pa.bool_(), "Whether the token belongs to the inserted passage"),
        _LAYER,
        Column(
            "f{n}",
            pa.float64(),
            "Feature n of the prefix that ends here, as in spline_features",
            pattern=r"f[1-7]",
        ),
    ),
)

INSERT_STARTS = TableSchema(
    "geometry/insert_starts",
    "results/geometry/{model}/inserts/insert_starts.parquet",
    "check_geometry",
    "One document and feature: does the feature of growing prefixes jump where the passage begins?",
    (
        Column("document", pa.string(), "Name of the document"),
        Column("feature", pa.int32(), "Number of the spline feature, 1 to 7"),
        Column("start", pa.int32(), "Position of the passage's first token"),
        Column("end", pa.int32(), "Position behind the passage's last token"),
        Column("n_tokens", pa.int32(), "Tokens of the whole document", "tokens"),
        Column(
            "start_score",
            pa.float64(),
            "Largest z-score, over the passage's first tokens, of the change between neighbouring "
            "prefixes, averaged over layers",
        ),
        Column(
            "rank",
            pa.int32(),
            "Rank of that score among all windows of the same width (1: the largest jump)",
        ),
        Column("windows", pa.int32(), "Number of windows ranked"),
    ),
)

PROMPTS = TableSchema(
    "geometry/prompts",
    f"{_PROMPTS}/prompts.parquet",
    "check_geometry",
    "One prompt and the model's greedy answer",
    (
        Column("prompt_id", pa.string(), "category.condition.step.format"),
        Column("category", pa.string(), "Which request"),
        Column("condition", pa.string(), "What stands before the request"),
        Column("step", pa.int32(), "How many related or unrelated sentences stand before it"),
        Column("format", pa.string(), "`raw` text or the model's `chat` template"),
        Column("prompt", pa.string(), "The prompt as the model reads it"),
        Column(
            "context_length", pa.int32(), "Tokens of the prompt, special ones included", "tokens"
        ),
        Column("prefix_length", pa.int32(), "Tokens that stand before the request", "tokens"),
        Column("answer", pa.string(), "Greedy continuation"),
        Column("answer_tokens", pa.int32(), "Tokens of the answer", "tokens"),
    ),
)

PROMPT_DIMENSION = TableSchema(
    "geometry/prompt_dimension",
    f"{_PROMPTS}/prompt_dimension.parquet",
    "check_geometry",
    "One prompt, layer and threshold: intrinsic dimension at the prompt's last token",
    (
        Column("prompt_id", pa.string(), "As in prompts"),
        _LAYER,
        _THRESHOLD,
        Column(
            "dimension", pa.int64(), "Tokens above the threshold, summed over heads, not clipped"
        ),
    ),
)

PROMPT_OUTCOMES = TableSchema(
    "geometry/prompt_outcomes",
    f"{_PROMPTS}/prompt_outcomes.parquet",
    "prompt_outcomes",
    "One prompt and outcome: the trained classifier's judgement of the answer",
    (
        Column("prompt_id", pa.string(), "As in prompts"),
        Column("outcome", pa.string(), "Name of the score"),
        Column("score", pa.float64(), "Probability that the answer has the outcome"),
        Column(
            "positive",
            pa.bool_(),
            "Whether the score reaches the threshold that is best, out of fold, on the "
            "classifier's training data",
        ),
    ),
)

SCORERS = TableSchema(
    "geometry/answer_scorers",
    f"{_PROMPTS}/answer_scorers.parquet",
    "prompt_outcomes",
    "One answer classifier: what it was trained on and how well it does, out of fold",
    (
        Column("outcome", pa.string(), "Name of the score"),
        Column("dataset", pa.string(), "Training dataset"),
        Column("label", pa.string(), "Training label"),
        Column("n_rows", pa.int32(), "Rows in the dataset"),
        Column("n_used", pa.int32(), "Rows with the label set: the ones used"),
        Column("n_positive", pa.int32(), "Positive rows"),
        Column("roc_auc", pa.float64(), "Out-of-fold ROC-AUC, over pairs of texts inside a fold"),
        Column("threshold", pa.float64(), "Score from which an answer is called positive"),
        Column("balanced_accuracy", pa.float64(), "Out-of-fold balanced accuracy at the threshold"),
    ),
)

PROMPT_CORRELATIONS = TableSchema(
    "geometry/prompt_correlations",
    f"{_PROMPTS}/prompt_correlations.parquet",
    "prompt_outcomes",
    "One format, threshold, layer and variable: how it goes with intrinsic dimension over prompts",
    (
        Column("format", pa.string(), "`raw` or `chat`"),
        _THRESHOLD,
        _LAYER,
        Column(
            "variable",
            pa.string(),
            "`context_length`, `related` (prefix on the topic or not), or an outcome's score",
        ),
        Column("n", pa.int32(), "Prompts"),
        Column("pearson", pa.float64(), "Pearson correlation", nullable=True),
        Column("spearman", pa.float64(), "Spearman correlation", nullable=True),
        Column(
            "partial",
            pa.float64(),
            "Pearson correlation with context length held fixed (residuals of both)",
            nullable=True,
        ),
    ),
)

TABLES: tuple[TableSchema, ...] = (
    TRACES,
    STATES,
    ATTENTION_COUNTS,
    SPLINE_FEATURES,
    INTRINSIC_DIMENSION,
    HULL_CHECKS,
    REGION_CHECKS,
    PREFIX_FEATURES,
    INSERT_STARTS,
    PROMPTS,
    PROMPT_DIMENSION,
    PROMPT_OUTCOMES,
    SCORERS,
    PROMPT_CORRELATIONS,
)
