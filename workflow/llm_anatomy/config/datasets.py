"""Which data sets are read, from where, and what their columns and labels mean."""

import re
from typing import Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from llm_anatomy.config.base import Settings
from llm_anatomy.config.labels import Filter, Label
from llm_anatomy.config.models import NAME_PATTERN
from llm_anatomy.config.templates import ColumnsTemplate, placeholders

TextsBuiltin = Literal["harmful_responses", "toxicity_types", "domains", "refusals"]
RelationBuiltin = Literal["capitals", "languages", "currencies", "continents", "months", "numbers"]
Kind = Literal["texts", "relation", "completions", "qa", "articles", "inserts", "prompts"]
# Kinds that every study of facts takes: their rows are prompts, made or given, with answers.
FACT_KINDS: tuple[Kind, ...] = ("relation", "completions")
FILE_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
PROMPT_ROLES = ("request", "related", "unrelated")
# Keys that only some kinds of data sets read.
KEYS_OF_KINDS: dict[str, tuple[Kind, ...]] = {
    "text": ("texts", "prompts"),
    "template": ("texts",),
    "group": ("texts",),
    "id": ("texts", *FACT_KINDS, "qa", "articles", "inserts"),
    "labels": ("texts",),
    "balance": ("texts",),
    "parts": ("texts",),
    "subject": FACT_KINDS,
    "answer": FACT_KINDS,
    "answers": (*FACT_KINDS, "qa"),
    "prompt": FACT_KINDS,
    "counterfactual_prompt": ("completions",),
    "counterfactual_answer": ("completions",),
    "context": ("qa",),
    "question": ("qa",),
    "article": ("articles",),
    "summary": ("articles",),
    "document": ("inserts",),
    "insert": ("inserts",),
    "category": ("prompts",),
    "role": ("prompts",),
    "duplicates": ("texts", "qa", "articles"),
    # A sample of sentences would tear prompts apart.
    "max_rows": ("texts", *FACT_KINDS, "qa", "articles", "inserts"),
}


class Part(Settings):
    """The texts of another data set, as one part of a mixture, with labels of their own."""

    dataset: str = Field(description="Name of the data set of texts.", pattern=NAME_PATTERN)
    keep: Literal["all", "any_label", "no_label"] = Field(
        "all",
        description="Which of its texts: all, those with at least one label, or those with none.",
    )
    positive: list[str] = Field(
        [], description="Labels of the mixture that hold for every text of this part."
    )
    negative: list[str] = Field(
        [], description="Labels of the mixture that hold for no text of this part."
    )
    insert: str | None = Field(
        None,
        description="Data set of which one text, drawn anew, is put into every text of this part, "
        "at a random break between words (the paper's toxic-pile).",
    )

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        both = sorted(set(self.positive) & set(self.negative))
        if both:
            raise ValueError(
                f"the part '{self.dataset}' has the label '{both[0]}' under 'positive' and "
                "'negative'; give one of them"
            )
        return self


class Dataset(Settings):
    """A data set of one kind, from exactly one of `builtin`, `path`, `hub`, `parts`."""

    name: str = Field(
        description="Short name, used in paths, tables and figures.", pattern=NAME_PATTERN
    )
    kind: Kind = Field(
        "texts",
        description="`texts` with labels, a `relation` of subjects and answers, `completions` "
        "(prompts of your own with their answers and counterfactuals), `qa` (questions about "
        "passages), `articles` with summaries, `inserts` (documents with passages to put into "
        "them), or `prompts` (requests with sentences that may stand before them).",
    )
    builtin: TextsBuiltin | RelationBuiltin | None = Field(
        None, description="A data set that comes with the project (docs/data.md)."
    )
    path: str | None = Field(
        None,
        description="CSV, TSV, JSON, JSONL or Parquet file, by its suffix; text may be gzipped. "
        "JSON is a list of objects, or the format of SQuAD, LRE or CounterFact (docs/data.md).",
    )
    hub: str | None = Field(
        None,
        description="Hugging Face data set id; needs `revision`, `split` and the package datasets.",
    )
    revision: str | None = Field(
        None, description="Commit (best), tag or branch of the `hub` data."
    )
    subset: str | None = Field(
        None, description="Configuration of the `hub` data, where it has several."
    )
    split: str | None = Field(None, description="Split of the `hub` data, such as `train`.")

    parts: list[Part] = Field(
        [], description="Mix other data sets of texts into one, in this order."
    )
    licence: str | None = Field(
        None,
        description="Licence of your own or the hub's data, such as `CC-BY-4.0`; the report shows "
        "it.",
        min_length=1,
    )
    study: bool = Field(
        True,
        description="Whether the studies run on it; false for data that only serve as a part of a "
        "mixture or to train the classifiers of answers.",
    )

    text: str = Field(
        "text", description="Column with the text, for `texts` and `prompts`.", min_length=1
    )
    template: ColumnsTemplate | None = Field(
        None,
        description="Text made of several columns in place of `text`, such as `{prompt} {answer}`: "
        "a name in braces stands for the cell of that column. Rows that lack one are set aside.",
    )
    group: str | None = Field(
        None,
        description="Column that says which texts belong together, for `texts`: a prompt with "
        "several answers, an author, a thread. A group is in one fold and is drawn as a whole; a "
        "text without a value is on its own.",
        min_length=1,
    )
    id: str | None = Field(
        None,
        description="Column with unique ids (names, for `inserts`); without it rows are numbered.",
        min_length=1,
    )
    labels: list[Label] = Field(
        [],
        description="The labels, each a column name or a mapping; builtin data brings its own.",
    )
    subject: str = Field(
        "subject",
        description="Column with the subject, for a `relation`; of `completions`, if there is "
        "one, what a prompt asks about, as it stands in it.",
        min_length=1,
    )
    answer: str = Field(
        "answer",
        description="Column with the answer, or a list of accepted answers, for a `relation` and "
        "for `completions`.",
        min_length=1,
    )
    answers: str | None = Field(
        None,
        description="Column with accepted answers: a list, text separated by `|`, or SQuAD's "
        "`{text: [...]}`. For a `relation` or `completions`, those beside `answer`; for `qa` the "
        "column `answers` when left out.",
        min_length=1,
    )
    prompt: str | None = Field(
        None,
        description="Column with a ready prompt per example, in place of a study's templates; "
        "`{subject}` or `{}` in it stands for the subject. LRE and CounterFact bring their own. "
        "For `completions` the column `prompt` when left out.",
        min_length=1,
    )
    counterfactual_prompt: str = Field(
        "counterfactual_prompt",
        description="Column with another prompt that a prompt is held against, for `completions`; "
        "optional unless you name it here, and so are its cells.",
        min_length=1,
    )
    counterfactual_answer: str = Field(
        "counterfactual_answer",
        description="Column with the answer of that other prompt, for `completions`.",
        min_length=1,
    )
    context: str = Field("context", description="Column with the passage, for `qa`.", min_length=1)
    question: str = Field(
        "question", description="Column with the question, for `qa`.", min_length=1
    )
    article: str = Field(
        "article", description="Column with the article, for `articles`.", min_length=1
    )
    summary: str = Field(
        "summary", description="Column with its summary, for `articles`.", min_length=1
    )
    document: str = Field(
        "document", description="Column with the clean document, for `inserts`.", min_length=1
    )
    insert: str = Field(
        "insert", description="Column with the passage to insert, for `inserts`.", min_length=1
    )
    category: str = Field(
        "category",
        description="Column that says which request a sentence belongs to, for `prompts`.",
        min_length=1,
    )
    role: str = Field(
        "role",
        description="Column with `request`, `related` or `unrelated`, for `prompts`.",
        min_length=1,
    )

    encoding: str = Field(
        "utf-8", description="Text encoding of the file; a byte order mark is understood."
    )
    delimiter: str | None = Field(
        None,
        description="Field separator; comma for CSV and tab for TSV when left out.",
        min_length=1,
        max_length=1,
        pattern=r"^[^\r\n\"]$",
    )
    quotes: bool = Field(
        True,
        description="Whether double quotes enclose fields that hold separators or line breaks.",
    )
    filters: list[Filter] = Field([], description="Rows to keep or to set aside, by column values.")
    duplicates: Literal["set_aside", "keep"] = Field(
        "set_aside",
        description="What happens to later copies of a text, question or article; kept copies leak "
        "between folds.",
    )
    max_rows: int | None = Field(
        None, ge=1, description="Most rows to use; a seeded sample is drawn from what is usable."
    )
    balance: str | None = Field(
        None, description="Label of which as many true as false rows are drawn."
    )
    seed: int | None = Field(
        None, ge=0, description="Seed of the sample; the configuration's `seed` when left out."
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _plain_names(cls, labels: Any) -> Any:
        if isinstance(labels, list):
            return [{"name": label} if isinstance(label, str) else label for label in labels]
        return labels

    @field_validator("name")
    @classmethod
    def _no_intake(cls, name: str) -> str:
        if name.endswith(".intake"):
            raise ValueError(
                "a name that ends in '.intake' is taken by the table of set-aside rows"
            )
        return name

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [kind for kind in ("builtin", "path", "hub", "parts") if getattr(self, kind)]
        if len(given) != 1:
            found = f"has {' and '.join(given)}" if given else "has none of them"
            raise ValueError(
                f"the data set '{self.name}' {found}; give exactly one of 'builtin', 'path', "
                "'hub', 'parts'"
            )
        if self.hub and not (self.revision and self.split):
            lacking = " and ".join(k for k in ("revision", "split") if not getattr(self, k))
            raise ValueError(f"the data set '{self.name}' has 'hub' without {lacking}")
        if not self.hub and (self.revision or self.split or self.subset):
            raise ValueError(
                f"the data set '{self.name}' has revision, split or subset, which need 'hub'"
            )
        if self.path and self.file_suffix not in FILE_SUFFIXES:
            raise ValueError(
                f"the data set '{self.name}' has the path '{self.path}', whose suffix is not "
                f"known; known are {', '.join(FILE_SUFFIXES)}"
            )
        if self.licence and not (self.path or self.hub):
            raise ValueError(
                f"the data set '{self.name}' has 'licence', which belongs to 'path' and 'hub'; "
                "other data bring theirs"
            )
        return self

    @model_validator(mode="after")
    def _kind_fits(self) -> Self:
        if self.builtin:
            right = "relation" if self.builtin in get_args(RelationBuiltin) else "texts"
            if self.kind != right:
                raise ValueError(
                    f"the data set '{self.name}' has the builtin '{self.builtin}', which "
                    f"needs kind: {right}"
                )
            if self._own_columns:
                raise ValueError(
                    f"the data set '{self.name}' is builtin and brings its labels and rows; "
                    f"'{self._own_columns}' belongs to 'path' and 'hub'"
                )
        if self.parts and (self._own_columns or self.kind in FACT_KINDS):
            raise ValueError(
                f"the data set '{self.name}' mixes 'parts', which bring their labels and rows; "
                f"'{self._own_columns or 'kind: relation'}' does not go with them"
            )
        if self.template and self.text != "text":
            raise ValueError(
                f"the data set '{self.name}' has 'text' and 'template', which say the same in two "
                "ways; leave one of them out"
            )
        if self.kind in FACT_KINDS and (self.labels or self.balance):
            raise ValueError(
                f"the {self.kind} '{self.name}' has answers, not labels to list or balance"
            )
        for key, kinds in KEYS_OF_KINDS.items():
            default = type(self).model_fields[key].default
            if self.kind not in kinds and getattr(self, key) != default:
                raise ValueError(
                    f"the data set '{self.name}' has '{key}', which belongs to kind: "
                    f"{' or '.join(kinds)}, and is of kind: {self.kind}"
                )
        names = [label.name for label in self.labels]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"the data set '{self.name}' has two labels named '{twice}'")
        dynamic = any(label.every_value for label in self.labels)
        names += [name for part in self.parts for name in (*part.positive, *part.negative)]
        if self.balance and not self.builtin and not dynamic and self.balance not in names:
            raise ValueError(
                f"the data set '{self.name}' is balanced on '{self.balance}', which is none of "
                f"its labels ({', '.join(names) or 'none'})"
            )
        return self

    @property
    def _own_columns(self) -> str:
        """The first key that reads columns of a user's source; empty without any."""
        keys = ("labels", "filters", "template", "group")
        return next((key for key in keys if getattr(self, key)), "")

    @property
    def text_columns(self) -> list[str]:
        """The columns that a text is made of."""
        return placeholders(self.template) if self.template else [self.text]

    @property
    def answers_column(self) -> str:
        """The column with the accepted answers of questions."""
        return self.answers or "answers"

    @property
    def prompt_column(self) -> str | None:
        """The column with ready prompts; None where subjects are put into templates."""
        return self.prompt or ("prompt" if self.kind == "completions" else None)

    @property
    def has_labels(self) -> bool:
        """Whether texts bring labels, as far as the configuration says."""
        mixed = any(part.positive or part.negative for part in self.parts)
        return bool(self.builtin or self.labels or mixed)

    @property
    def filter_columns(self) -> list[str]:
        """Columns whose cells decide which rows are read."""
        return [rule.column for rule in self.filters]

    @property
    def file_suffix(self) -> str:
        """The suffix of `path` that says its format, in lower case and without `.gz`."""
        found = re.search(r"(\.[a-z]+)(\.gz)?$", (self.path or "").lower())
        return found.group(1) if found else ""


DEFAULT_DATASETS: tuple[Dataset, ...] = (
    Dataset(name="harmful_responses", builtin="harmful_responses"),
    Dataset(name="toxicity_types", builtin="toxicity_types"),
    Dataset(name="domains", builtin="domains"),
    Dataset(name="refusals", builtin="refusals", study=False),
    *(Dataset(name=name, kind="relation", builtin=name) for name in get_args(RelationBuiltin)),
)
