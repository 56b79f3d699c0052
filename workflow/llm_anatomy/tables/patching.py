"""Tables of the patching study."""

import pyarrow as pa

from llm_anatomy.tables.core import Column, TableSchema

_FOLDER = "results/patching/{model}/{task}"

_EXAMPLE = Column("example_id", pa.string(), "Example of the task.")
_MANIPULATION = Column("manipulation", pa.string(), "Name of the manipulation.")
_STRENGTH = Column(
    "strength", pa.float64(), "Angle, for an angle manipulation.", unit="degrees", nullable=True
)
_SUBSET = Column(
    "subset", pa.string(), "`all` examples, or `clean_correct`: those the clean model gets right."
)
_METRIC = Column("metric", pa.string(), "What is averaged; see the study's page.")

EXAMPLES = TableSchema(
    name="patching/examples",
    path=f"{_FOLDER}/examples.parquet",
    rule="build_tasks",
    description="One example of a task, as the model reads it.",
    columns=(
        _EXAMPLE,
        Column("prompt", pa.string(), "Text of the prompt."),
        Column("tokens", pa.list_(pa.int64()), "Token ids of the prompt."),
        Column("subject", pa.string(), "Subject named in the prompt.", nullable=True),
        Column("span_start", pa.int64(), "First token of the subject, from 0.", nullable=True),
        Column("span_end", pa.int64(), "One past the subject's last token.", nullable=True),
        Column("answer", pa.string(), "Canonical answer."),
        Column("answers", pa.list_(pa.string()), "Accepted answers, the canonical one first."),
        Column("gold_token", pa.int64(), "First token of the canonical answer after the prompt."),
        Column("first_tokens", pa.list_(pa.int64()), "First tokens of all accepted answers."),
        Column("answer_tokens", pa.int64(), "Tokens of the canonical answer."),
    ),
)

PAIRS = TableSchema(
    name="patching/pairs",
    path=f"{_FOLDER}/pairs.parquet",
    rule="build_tasks",
    description="One switch: an example, the donor of its subject's states, and their alignment.",
    columns=(
        _EXAMPLE,
        Column(
            "donor_id",
            pa.string(),
            "Example whose subject is switched in; `ID counterfactual` for the one of the data.",
        ),
        Column("donor_prompt", pa.string(), "Text of the donor's prompt."),
        Column("donor_tokens", pa.list_(pa.int64()), "Token ids of the donor's prompt."),
        Column(
            "donor_positions",
            pa.list_(pa.int64()),
            "Donor position whose state goes to each switched position.",
        ),
        Column("donor_answers", pa.list_(pa.string()), "Accepted answers of the donor."),
        Column("donor_gold_token", pa.int64(), "First token of its canonical answer."),
        Column("donor_first_tokens", pa.list_(pa.int64()), "First tokens of all its answers."),
        Column("start", pa.int64(), "First switched position of the example's prompt."),
        Column("target_span", pa.int64(), "Tokens of the example's subject."),
        Column("donor_span", pa.int64(), "Tokens of the donor's subject."),
        Column(
            "alignment",
            pa.string(),
            "`equal` spans, or the policy for unequal ones: `last_token`, `pad_left_with_first`.",
        ),
    ),
)

INTAKE = TableSchema(
    name="patching/intake",
    path=f"{_FOLDER}/intake.parquet",
    rule="build_tasks",
    description="What became of one example that was read, for the task or for the switch.",
    columns=(
        _EXAMPLE,
        Column("subject", pa.string(), "Its subject.", nullable=True),
        Column(
            "scope",
            pa.string(),
            "`task`, `switch`, `subject`: manipulations of the subject's positions, or "
            "`positions`: of other positions.",
        ),
        Column("used", pa.bool_(), "Whether it is used."),
        Column(
            "category",
            pa.string(),
            "Why not: unequal_spans, answer_unreachable, prompt_too_long, subject_not_in_prompt, "
            "no_donor, unanswerable, demonstration, not_sampled, no_position; `truncated` ones and "
            "those with `fewer_positions` or `control_tokens` are used.",
            nullable=True,
        ),
        Column("reason", pa.string(), "The same in words, with the numbers.", nullable=True),
    ),
)

FLOORS = TableSchema(
    name="patching/floors",
    path=f"{_FOLDER}/floors.parquet",
    rule="build_tasks",
    description="What a metric reaches by chance.",
    columns=(
        _METRIC,
        Column(
            "floor",
            pa.string(),
            "`uniform` guess among the answers, `majority` answer, `random_span` of the context or "
            "`random_words` of the article.",
        ),
        Column("value", pa.float64(), "The metric's value by that chance."),
    ),
)


def _score(name: str, meaning: str) -> Column:
    return Column(name, pa.float64(), meaning, nullable=True)


SWEEPS = TableSchema(
    name="patching/sweeps",
    path=f"{_FOLDER}/sweeps.parquet",
    rule="sweep_layers",
    description="One example under one manipulation at one layer with one seed.",
    columns=(
        Column(
            "manipulation",
            pa.string(),
            "Name of the manipulation; `none` for the clean model's answers, which come first.",
        ),
        _EXAMPLE,
        Column("donor_id", pa.string(), "Donor of the switched states.", nullable=True),
        Column(
            "layer",
            pa.int64(),
            "k: the input of block k is manipulated, in the paper's indexing from 0; the number of "
            "layers for `none`.",
        ),
        Column(
            "authors_layer",
            pa.int64(),
            "The same k as the authors' public code numbers it: k + 1 for freeze, else k.",
        ),
        Column("seed", pa.int64(), "Draw of the noise, from 0; 0 where nothing is random."),
        _STRENGTH,
        Column("prediction", pa.string(), "Greedy continuation of the prompt."),
        Column(
            "correct",
            pa.bool_(),
            "Whether it is an accepted answer; exact match for extractive answers; with "
            "`max_new_tokens: 1`, whether it is the first token of one.",
            nullable=True,
        ),
        Column(
            "donor_correct", pa.bool_(), "Whether it is the donor's answer instead.", nullable=True
        ),
        _score("exact_match", "SQuAD's exact match."),
        _score("f1", "SQuAD's F1 over normalised words."),
        _score("rouge1", "ROUGE-1 F."),
        _score("rouge2", "ROUGE-2 F."),
        _score("rougeL", "ROUGE-L F."),
        Column(
            "gold_logprob",
            pa.float64(),
            "Log-probability of the answer's first token after the prompt.",
            unit="nat",
        ),
        Column("gold_rank", pa.int64(), "Its rank among all tokens, from 1."),
        Column(
            "donor_logprob",
            pa.float64(),
            "Log-probability of the first token of the donor's answer.",
            unit="nat",
            nullable=True,
        ),
        Column("donor_rank", pa.int64(), "Its rank, from 1.", nullable=True),
        Column(
            "kl",
            pa.float64(),
            "Kullback-Leibler divergence of the next-token distribution from the clean one, "
            "KL(clean || manipulated).",
            unit="nat",
        ),
    ),
)

CURVES = TableSchema(
    name="patching/curves",
    path=f"{_FOLDER}/curves.parquet",
    rule="summarise_sweeps",
    description="One metric's mean at one layer.",
    columns=(
        _MANIPULATION,
        _STRENGTH,
        _SUBSET,
        _METRIC,
        Column("layer", pa.int64(), "k, in the paper's indexing."),
        Column("depth", pa.float64(), "k as a fraction of the number of layers."),
        Column("layers", pa.int64(), "Number of layers of the model."),
        Column("value", pa.float64(), "Mean over examples, after the mean over seeds."),
        Column("low", pa.float64(), "Lower end of the interval."),
        Column("high", pa.float64(), "Upper end of the interval."),
        Column(
            "interval",
            pa.string(),
            "`wilson` for a share of examples; `bootstrap` over examples for everything else.",
        ),
        Column("examples", pa.int64(), "Examples averaged over."),
        Column("seeds", pa.int64(), "Seeds averaged over."),
        Column(
            "baseline", pa.float64(), "The clean model's mean on the same examples.", nullable=True
        ),
        Column("chance", pa.float64(), "Highest chance floor of the metric.", nullable=True),
    ),
)

DEPTHS = TableSchema(
    name="patching/depths",
    path=f"{_FOLDER}/depths.parquet",
    rule="summarise_sweeps",
    description="A layer at which a curve changes.",
    columns=(
        _MANIPULATION,
        _STRENGTH,
        _SUBSET,
        _METRIC,
        Column(
            "quantity",
            pa.string(),
            "drop_free_{percent}: smallest k from which on the score stays within that relative "
            "drop of the clean score; chance: largest k whose interval reaches the chance floor; "
            "crossover: smallest k from which on the original answer is more frequent than the "
            "donor's; transition_width: layers between the last k with 90 % of the donor's highest "
            "share and the first with 90 % of the original's.",
        ),
        Column("layer", pa.float64(), "The layer k, or a number of layers.", nullable=True),
        Column("depth", pa.float64(), "As a fraction of the number of layers.", nullable=True),
        Column(
            "low",
            pa.float64(),
            "Lower end of the bootstrap interval; the number of layers where no layer will do.",
            "layer",
            nullable=True,
        ),
        Column(
            "high", pa.float64(), "Upper end of the bootstrap interval.", "layer", nullable=True
        ),
        Column("layers", pa.int64(), "Number of layers of the model."),
    ),
)

TABLES: tuple[TableSchema, ...] = (EXAMPLES, PAIRS, INTAKE, FLOORS, SWEEPS, CURVES, DEPTHS)
