"""Tables of the data, one for each kind of data set, and what was set aside."""

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
            "group",
            pa.string(),
            "What the text belongs to, such as a prompt, an author or a thread; there where the "
            "data set names a column of groups, and missing where a row has none.",
            nullable=True,
            pattern="group",
        ),
        Column(
            "label_{name}",
            pa.bool_(),
            "Whether the label applies; missing where the source does not say.",
            nullable=True,
            pattern=r"label_\S+",
        ),
    ),
)

INTAKE = TableSchema(
    name="data/intake",
    path="results/data/{dataset}.intake.parquet",
    rule="build_dataset",
    description="What became of every row of a data set: `in` = `used` + all that was `set aside`; "
    "and what may be a mistake, such as a configured value that never occurs.",
    columns=(
        Column("outcome", pa.string(), "`in`, `used`, `set aside`, or `warning`, with 0 rows."),
        Column(
            "reason",
            pa.string(),
            "Why rows were set aside, or the warning; empty for `in` and `used`.",
        ),
        Column("rows", pa.int64(), "Number of rows.", unit="rows"),
        Column("examples", pa.string(), "Where the first three of these rows stand."),
    ),
)

RELATION = TableSchema(
    name="data/relation",
    path="results/data/{relation}.parquet",
    rule="build_dataset",
    description="One row per subject of a relation, such as a country and its capital, or per "
    "prompt of a data set of completions.",
    columns=(
        Column("example_id", pa.string(), "Unique id of the example."),
        Column("subject", pa.string(), "The subject, such as `France`; empty where none is named."),
        Column("answer", pa.string(), "The canonical answer, such as `Paris`."),
        Column("answers", pa.list_(pa.string()), "Accepted spellings, the canonical one first."),
        Column("relation", pa.string(), "Name of the relation."),
        Column(
            "prompt",
            pa.string(),
            "A ready prompt for this example; missing where the studies' templates apply.",
            nullable=True,
        ),
        Column(
            "counterfactual_prompt",
            pa.string(),
            "The prompt that it is held against; missing where a study takes another example's.",
            nullable=True,
        ),
        Column("counterfactual_answer", pa.string(), "The answer of that prompt.", nullable=True),
    ),
)

QUESTIONS = TableSchema(
    name="data/questions",
    path="results/data/{dataset}.parquet",
    rule="build_dataset",
    description="One row per question about a passage.",
    columns=(
        Column("example_id", pa.string(), "Unique id of the question."),
        Column("context", pa.string(), "The passage."),
        Column("question", pa.string(), "The question."),
        Column(
            "answers",
            pa.list_(pa.string()),
            "Accepted answers, the canonical one first; none where the passage holds none.",
        ),
    ),
)

ARTICLES = TableSchema(
    name="data/articles",
    path="results/data/{dataset}.parquet",
    rule="build_dataset",
    description="One row per article with a summary.",
    columns=(
        Column("example_id", pa.string(), "Unique id of the article."),
        Column("article", pa.string(), "The article."),
        Column("summary", pa.string(), "Its reference summary."),
    ),
)

INSERTS = TableSchema(
    name="data/inserts",
    path="results/data/{dataset}.parquet",
    rule="build_dataset",
    description="One row per document with a passage to put into it.",
    columns=(
        Column("name", pa.string(), "Unique short name."),
        Column("document", pa.string(), "The clean document."),
        Column("insert", pa.string(), "The passage that is put into it, at a sentence break."),
    ),
)

PROMPT_TEXTS = TableSchema(
    name="data/prompt_texts",
    path="results/data/{dataset}.parquet",
    rule="build_dataset",
    description="One row per sentence that prompts are built from, in the order of its source.",
    columns=(
        Column(
            "category",
            pa.string(),
            "Which request it belongs to; missing for unrelated sentences.",
            nullable=True,
        ),
        Column("role", pa.string(), "`request`, `related` or `unrelated`."),
        Column("text", pa.string(), "The sentence."),
    ),
)

# What a data set is read into, by its kind.
TABLE_OF_KIND: dict[str, TableSchema] = {
    "texts": TEXTS,
    "relation": RELATION,
    "completions": RELATION,
    "qa": QUESTIONS,
    "articles": ARTICLES,
    "inserts": INSERTS,
    "prompts": PROMPT_TEXTS,
}

TABLES: tuple[TableSchema, ...] = (INTAKE, *dict.fromkeys(TABLE_OF_KIND.values()))
