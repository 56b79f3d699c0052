"""Tables of the neuron study."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

_LAYER = Column("layer", pa.int16(), "Layer, from 0.")
_NEURON = Column("neuron", pa.int32(), "MLP neuron within the layer, from 0.")
_MATRIX = Column("matrix", pa.string(), "`up` or `gate` (rows) or `down` (columns).")
_SIGN = Column(
    "sign",
    pa.int8(),
    "+1: tokens the weight vector w points to; -1: tokens it points away from (those of -w).",
)
_NULLABLE_TOKEN = Column(
    "token",
    pa.string(),
    "The token's text as it stands inside a sentence; missing for ids the tokenizer lacks.",
    nullable=True,
)
_CONCEPT = Column("concept", pa.string(), "Name of the concept.")
_PROMPT = Column("prompt", pa.string(), "The text whose next token is observed.")
_SITE = Column(
    "site",
    pa.string(),
    "Clamped tensor: `up` output, `gate` output before the non-linearity, or `activation` that "
    "enters the down projection.",
)

_VOCABULARY = (
    _LAYER,
    _NEURON,
    _MATRIX,
    _SIGN,
    Column("rank", pa.int16(), "1 is the most probable token of this sign."),
    Column("token_id", pa.int32(), "Row of the LM head."),
    _NULLABLE_TOKEN,
    Column("logit", pa.float32(), "u . w, negative at the far end of most neurons."),
    Column("probability", pa.float64(), "softmax(sign * U w) at this token."),
)
_STATISTICS = (
    _LAYER,
    _NEURON,
    _MATRIX,
    Column("norm", pa.float32(), "Euclidean length of the decoded vector."),
    Column("mean", pa.float32(), "Mean logit over the vocabulary."),
    Column("std", pa.float32(), "Standard deviation of the logits over the vocabulary."),
    Column("skew", pa.float32(), "Skewness of the logits over the vocabulary."),
    Column("kurtosis", pa.float32(), "Kurtosis of the logits over the vocabulary; 3 is Gaussian."),
    Column("logsumexp_positive", pa.float64(), "log sum exp(U w)."),
    Column("logsumexp_negative", pa.float64(), "log sum exp(-U w)."),
    Column("entropy_positive", pa.float32(), "Entropy of softmax(U w).", "nat"),
    Column("entropy_negative", pa.float32(), "Entropy of softmax(-U w).", "nat"),
    Column("margin_positive", pa.float32(), "Largest minus second largest logit."),
    Column("margin_negative", pa.float32(), "Second smallest minus smallest logit."),
    Column("cosine_positive", pa.float32(), "Largest cosine of w with a row of the head."),
    Column("cosine_negative", pa.float32(), "Largest cosine of -w with a row of the head."),
)

VOCABULARY_PART = TableSchema(
    name="neurons/vocabulary_part",
    path="results/neurons/{model}/map/{part}.vocabulary.parquet",
    rule="map_neurons",
    description="A part of the layers of `neurons/vocabulary`.",
    columns=_VOCABULARY,
)
STATISTICS_PART = TableSchema(
    name="neurons/statistics_part",
    path="results/neurons/{model}/map/{part}.statistics.parquet",
    rule="map_neurons",
    description="A part of the layers of `neurons/statistics`.",
    columns=_STATISTICS,
)
VOCABULARY = TableSchema(
    name="neurons/vocabulary",
    path="results/neurons/{model}/vocabulary.parquet",
    rule="map_neurons",
    description="One of the k tokens at one end of one neuron's weight vector, decoded through "
    "the LM head; the normalisation is in the file's provenance. "
    "`join_neurons` joins a map in several parts.",
    columns=_VOCABULARY,
)
STATISTICS = TableSchema(
    name="neurons/statistics",
    path="results/neurons/{model}/statistics.parquet",
    rule="map_neurons",
    description="One neuron's weight vector: the distribution of its logits over the vocabulary.",
    columns=_STATISTICS,
)
CONCEPTS = TableSchema(
    name="neurons/concepts",
    path="results/neurons/{model}/concepts.parquet",
    rule="find_concepts",
    description="One of the most specific neurons of a concept.",
    columns=(
        _CONCEPT,
        Column(
            "rank",
            pa.int16(),
            "1 is the most specific neuron that has the concept (`best_rank`); others follow.",
        ),
        _LAYER,
        _NEURON,
        _MATRIX,
        _SIGN,
        Column(
            "specificity",
            pa.float32(),
            "cosine - hubness: high for a neuron that is close to the concept and to little else.",
        ),
        Column("cosine", pa.float32(), "Largest sign * cosine with a token of the concept."),
        Column(
            "hubness",
            pa.float32(),
            "Mean sign * cosine with the nearest of a seeded sample of other words and word "
            "fragments.",
        ),
        Column("token_id", pa.int32(), "The concept's token with that cosine."),
        Column("token", pa.string(), "Its text."),
        Column("logit", pa.float32(), "u . w of that token."),
        Column("probability", pa.float64(), "softmax(sign * U w) at that token."),
        Column("z_score", pa.float32(), "sign * (logit - mean) / std over the neuron's logits."),
        Column(
            "token_rank",
            pa.int32(),
            "Rank of that token among all tokens of this sign; 1 is the top.",
        ),
        Column(
            "best_rank",
            pa.int32(),
            "Rank of the best placed of the concept's tokens, for `neurons.search.token_rank`.",
        ),
    ),
)
CONCEPT_TOKENS = TableSchema(
    name="neurons/concept_tokens",
    path="results/neurons/{model}/concept_tokens.parquet",
    rule="find_concepts",
    description="One spelling of a concept's word that was looked up.",
    columns=(
        _CONCEPT,
        Column("text", pa.string(), "The spelling, with its leading space if it has one."),
        Column(
            "token_id",
            pa.int32(),
            "Its token; missing when it takes more than one token and is set aside.",
            nullable=True,
        ),
    ),
)
CLAMPING = TableSchema(
    name="neurons/clamping",
    path="results/neurons/{model}/clamping.parquet",
    rule="clamp_neurons",
    description="The next token of one prompt with one neuron clamped to one value.",
    columns=(
        _CONCEPT,
        _PROMPT,
        _LAYER,
        _NEURON,
        Column(
            "role",
            pa.string(),
            "`concept` for the concept's neuron, `control` for a random neuron of its layer.",
        ),
        _SITE,
        Column("operation", pa.string(), "`set`, `add`, `scale`, or `none` for the clean model."),
        Column("positions", pa.string(), "Clamped positions: `all` or `last`."),
        Column("value", pa.float64(), "Value of the operation; missing when clean.", nullable=True),
        Column(
            "kl_target",
            pa.float64(),
            "KL divergence that the value was calibrated to; missing for swept values and where "
            "no value within the bound reaches it.",
            "nat",
            nullable=True,
        ),
        Column("probability", pa.float64(), "Next-token probability of all the concept's tokens."),
        Column("logprob", pa.float64(), "Its logarithm.", "nat"),
        Column("rank", pa.int32(), "Best rank of a token of the concept; 1 is the top."),
        Column(
            "token_probability", pa.float64(), "Next-token probability of the concept's main token."
        ),
        Column("token", pa.string(), "The main token: first word of the concept, as it continues."),
        Column("kl", pa.float64(), "KL(clean || clamped) of the next token.", "nat"),
        Column(
            "perplexity",
            pa.float64(),
            "Perplexity of the held text under the same clamp (at all its positions).",
        ),
        Column("top_tokens", pa.list_(pa.string()), "Most probable next tokens."),
        Column("top_probabilities", pa.list_(pa.float64()), "Their probabilities."),
    ),
)
FAVOURITE = TableSchema(
    name="neurons/favourite",
    path="results/neurons/{model}/favourite.parquet",
    rule="clamp_neurons",
    description="One answer to one paraphrase of the favourite question, clamped or not.",
    columns=(
        Column("question", pa.string(), "The question, asked through the chat template."),
        Column(
            "condition",
            pa.string(),
            "`clean`, `concept` (its neuron clamped) or `control` (a random neuron of the layer).",
        ),
        _LAYER,
        _NEURON,
        _SITE,
        Column("positions", pa.string(), "Clamped positions."),
        Column("value", pa.float64(), "Clamped value; missing when clean.", nullable=True),
        Column("sample", pa.int16(), "0 is the greedy answer; others are sampled, a seed each."),
        Column("answer", pa.string(), "The generated text."),
        Column("mentions", pa.bool_(), "Whether the answer holds a word of the concept."),
        Column(
            "distinct_tokens",
            pa.float64(),
            "Share of the answer's tokens that are distinct: low for degenerate repetition.",
        ),
        Column(
            "answer_logprob",
            pa.float64(),
            "Mean log-probability per token of the answer under the clean model, its fluency; "
            "missing for an empty answer.",
            "nat",
            nullable=True,
        ),
        Column(
            "prefill_probability",
            pa.float64(),
            "Probability of the concept's tokens after the question and the prefilled beginning "
            "of the answer.",
        ),
    ),
)
VALIDATION = TableSchema(
    name="neurons/validation",
    path="results/neurons/{model}/validation.parquet",
    rule="validate_neurons",
    description="One sampled neuron, one site and prompt: does the clamp raise the decoded token?",
    columns=(
        _LAYER,
        _NEURON,
        Column("matrix", pa.string(), "Matrix whose decoding is tested, and clamp site."),
        _PROMPT,
        Column(
            "direction",
            pa.int8(),
            "+1: the site is raised and the token is that of w; -1: lowered, that of -w.",
        ),
        Column("value", pa.float64(), "What was added to the site at the last position."),
        Column("token_id", pa.int32(), "Token that the matrix decodes to at this sign."),
        Column("token", pa.string(), "Its text.", nullable=True),
        Column("logprob_change", pa.float64(), "Of that token: clamped minus clean.", "nat"),
        Column("rank_change", pa.int32(), "Of that token; negative when it moves up."),
        Column(
            "control_logprob_change",
            pa.float64(),
            "Of another sampled neuron's decoded token under the same clamp.",
            "nat",
        ),
    ),
)
SIGN_TESTS = TableSchema(
    name="neurons/sign_tests",
    path="results/neurons/{model}/sign_tests.parquet",
    rule="validate_neurons",
    description="Sign test over the sampled neurons of a layer.",
    columns=(
        _LAYER,
        _MATRIX,
        Column("neurons", pa.int32(), "Neurons x directions with an effect that is not 0."),
        Column("raised", pa.int32(), "Of these, decoded token raised on average."),
        Column("share", pa.float64(), "raised / neurons; 0.5 is chance.", nullable=True),
        Column("low", pa.float64(), "Lower end, 95 % Clopper-Pearson.", nullable=True),
        Column("high", pa.float64(), "Upper end, 95 % Clopper-Pearson.", nullable=True),
        Column("p_value", pa.float64(), "Two-sided exact sign test.", nullable=True),
        Column(
            "control_share",
            pa.float64(),
            "The same share for tokens of other sampled neurons.",
            nullable=True,
        ),
        Column("mean_change", pa.float64(), "Mean log-probability change.", "nat", nullable=True),
    ),
)
ACTIVATION = TableSchema(
    name="neurons/activation",
    path="results/neurons/{model}/activation.parquet",
    rule="validate_neurons",
    description="One sampled neuron and sign: decoded tokens against tokens on which it fires.",
    columns=(
        _LAYER,
        _NEURON,
        _MATRIX,
        _SIGN,
        Column("positions", pa.int32(), "Strongest positions of this sign that were looked at."),
        Column("here", pa.float64(), "Share of them whose token is among the decoded tokens."),
        Column("next", pa.float64(), "Share of them whose next token is among the decoded tokens."),
        Column(
            "here_chance",
            pa.float64(),
            "Share of all positions whose token is among the decoded tokens.",
        ),
        Column(
            "next_chance",
            pa.float64(),
            "Share of all positions whose next token is among the decoded tokens.",
        ),
        Column("strongest", pa.string(), "Text around the strongest position, its token in [ ]."),
        Column("mean", pa.float64(), "Mean of the tensor over these positions, times the sign."),
    ),
)
AGREEMENT = TableSchema(
    name="neurons/agreement",
    path="results/neurons/{model_a}-vs-{model_b}/agreement.parquet",
    rule="compare_models",
    description="How alike the neurons of a layer decode in two models.",
    columns=(
        Column("matrix", pa.string(), "The compared matrix."),
        Column("head", pa.string(), "`own`: each its own head; `first`: both the first's."),
        Column("layer", pa.int16(), "Layer, from 0; missing for all together.", nullable=True),
        Column("neurons", pa.int32(), "Compared neurons."),
        Column("same_top", pa.float64(), "Share with the same most probable token."),
        Column("low", pa.float64(), "Lower end of it, 95 % Wilson."),
        Column("high", pa.float64(), "Upper end of it, 95 % Wilson."),
        Column("jaccard", pa.float64(), "Mean Jaccard index of the top k token sets."),
        Column("weight_cosine", pa.float64(), "Mean cosine between the two weight vectors."),
    ),
)
CHANGED = TableSchema(
    name="neurons/changed",
    path="results/neurons/{model_a}-vs-{model_b}/changed.parquet",
    rule="compare_models",
    description="One of the neurons whose weights differ most between two models.",
    columns=(
        Column("matrix", pa.string(), "The compared matrix."),
        Column("rank", pa.int32(), "1 is the lowest weight cosine."),
        _LAYER,
        _NEURON,
        Column("weight_cosine", pa.float64(), "Cosine between the two weight vectors."),
        Column("jaccard", pa.float64(), "Jaccard index of the top k token sets, own heads."),
        Column("token_a", pa.string(), "Top token in the first model.", nullable=True),
        Column("token_b", pa.string(), "Top token in the second model.", nullable=True),
    ),
)
TRAINING = TableSchema(
    name="neurons/training",
    path="results/models/{model}/training.parquet",
    rule="fine_tune",
    description="One optimiser step of the fine-tune.",
    columns=(
        Column("step", pa.int32(), "Step, from 1."),
        Column("loss", pa.float64(), "Mean cross-entropy of the step's batch, before it.", "nat"),
        Column("learning_rate", pa.float64(), "Rate of the step."),
        Column("gradient_norm", pa.float64(), "Norm of the gradient before clipping."),
        Column("tokens", pa.int32(), "Predicted tokens in the batch."),
        Column(
            "held_loss",
            pa.float64(),
            "Mean cross-entropy of texts kept out of training; first and last step only.",
            "nat",
            nullable=True,
        ),
    ),
)
EDITS = TableSchema(
    name="neurons/edits",
    path="results/neurons/{model}/edits.parquet",
    rule="clamp_neurons",
    description="A concept after the rows closest to it were reversed.",
    columns=(
        _CONCEPT,
        Column("rows", pa.int32(), "Weight vectors reversed; 0 is the untouched model."),
        _PROMPT,
        Column("probability", pa.float64(), "Next-token probability of all the concept's tokens."),
        Column("kl", pa.float64(), "KL(before || after) of the prompt's next token.", "nat"),
        Column("held_kl", pa.float64(), "Median KL(before || after) over the held text.", "nat"),
        Column("smallest_cosine", pa.float64(), "Of the reversed vectors.", nullable=True),
        Column("edited", pa.list_(pa.string()), "The vectors, as matrix:layer:neuron."),
    ),
)

TABLES: tuple[TableSchema, ...] = (
    VOCABULARY_PART,
    STATISTICS_PART,
    VOCABULARY,
    STATISTICS,
    CONCEPTS,
    CONCEPT_TOKENS,
    CLAMPING,
    FAVOURITE,
    VALIDATION,
    SIGN_TESTS,
    ACTIVATION,
    AGREEMENT,
    CHANGED,
    TRAINING,
    EDITS,
)
