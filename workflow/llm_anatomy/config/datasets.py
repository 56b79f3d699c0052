"""Which data sets are read, from where, and what their columns and labels mean."""

import re
from typing import Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from llm_anatomy.config.base import Settings
from llm_anatomy.config.models import NAME_PATTERN

TextsBuiltin = Literal["harmful_responses", "toxicity_types", "domains", "refusals"]
RelationBuiltin = Literal["capitals", "languages", "currencies", "continents", "months", "numbers"]
Value = bool | int | float | str
Kind = Literal["texts", "relation", "qa", "articles", "inserts", "prompts"]
FILE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
# Questions may come in the format of SQuAD, whose objects lie inside each other.
SQUAD_SUFFIX = ".json"
PROMPT_ROLES = ("request", "related", "unrelated")
# Keys that only some kinds of data sets read.
KEYS_OF_KINDS: dict[str, tuple[Kind, ...]] = {
    "text": ("texts", "prompts"),
    "id": ("texts", "relation", "qa", "articles", "inserts"),
    "labels": ("texts",),
    "balance": ("texts",),
    "parts": ("texts",),
    "subject": ("relation",),
    "answer": ("relation",),
    "answers": ("relation", "qa"),
    "prompt": ("relation",),
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
    "max_rows": ("texts", "relation", "qa", "articles", "inserts"),
}


class Label(Settings):
    """One label, or with `every_value` one label for each value of a column.

    Without further keys the column holds booleans: true/false, yes/no, 1/0. Where a value is
    missing, or meets neither condition, the label is missing; a row without any label is set aside.
    """

    name: str = Field(
        description="The label's name in tables and figures; its column is `label_{name}`.",
        pattern=r"^[A-Za-z0-9_]+$",
    )
    column: str | None = Field(
        None,
        description="Column to read; the label's name when left out. `a.b` reaches into a.",
        min_length=1,
    )
    positive: list[Value] | None = Field(
        None, description="Values that make the label true, for a column of classes.", min_length=1
    )
    negative: list[Value] | None = Field(
        None,
        description="Values that make it false; all others when left out.",
        min_length=1,
    )
    at_least: float | None = Field(
        None, description="The label is true at this score or above, for a column of scores."
    )
    below: float | None = Field(
        None,
        description="The label is false below this score, `at_least` when left out.",
    )
    contains: Value | None = Field(
        None, description="The label is true where a list column contains this value."
    )
    every_value: bool = Field(
        False, description="One label for each value (or list member) that the column holds."
    )
    separator: str | None = Field(
        None,
        description="What separates the members of a list in a CSV column, such as `|`.",
        min_length=1,
    )

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        ways = [
            key
            for key, given in (
                ("positive", self.positive is not None),
                ("at_least", self.at_least is not None),
                ("contains", self.contains is not None),
                ("every_value", self.every_value),
            )
            if given
        ]
        if len(ways) > 1:
            raise ValueError(f"the label '{self.name}' has {' and '.join(ways)}; give one of them")
        if self.negative is not None and self.positive is None:
            raise ValueError(f"the label '{self.name}' has 'negative' without 'positive'")
        if self.below is not None and (self.at_least is None or self.below > self.at_least):
            raise ValueError(f"the label '{self.name}' needs 'at_least' no smaller than 'below'")
        if self.separator is not None and not (self.every_value or self.contains is not None):
            raise ValueError(
                f"the label '{self.name}' has 'separator', which needs 'contains' or 'every_value'"
            )
        return self

    @property
    def source_column(self) -> str:
        """The column that is read."""
        return self.column or self.name


class Filter(Settings):
    """Keep rows by the value of one column; what does not match is set aside and counted."""

    column: str = Field(description="Column to look at.", min_length=1)
    keep: list[Value] | None = Field(None, description="Values to keep.", min_length=1)
    drop: list[Value] | None = Field(None, description="Values to set aside.", min_length=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.keep is None) == (self.drop is None):
            raise ValueError(f"the filter on '{self.column}' needs either 'keep' or 'drop'")
        return self


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
        description="`texts` with labels, a `relation` of subjects and answers, `qa` (questions "
        "about passages), `articles` with summaries, `inserts` (documents with passages to put "
        "into them), or `prompts` (requests with sentences that may stand before them).",
    )
    builtin: TextsBuiltin | RelationBuiltin | None = Field(
        None, description="A data set that comes with the project (docs/data.md)."
    )
    path: str | None = Field(
        None,
        description="CSV, TSV, JSONL or Parquet file, by its suffix, or for `qa` SQuAD's JSON; "
        "text may be gzipped.",
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
    study: bool = Field(
        True,
        description="Whether the studies run on it; false for data that only serve as a part of a "
        "mixture or to train the classifiers of answers.",
    )

    text: str = Field(
        "text", description="Column with the text, for `texts` and `prompts`.", min_length=1
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
        "subject", description="Column with the subject, for a `relation`.", min_length=1
    )
    answer: str = Field(
        "answer", description="Column with the answer, for a `relation`.", min_length=1
    )
    answers: str | None = Field(
        None,
        description="Column with accepted answers: a list, text separated by `|`, or SQuAD's "
        "`{text: [...]}`. For a `relation`, those beside `answer`; for `qa` the column `answers` "
        "when left out.",
        min_length=1,
    )
    prompt: str | None = Field(
        None,
        description="Column with a ready prompt per example, in place of a study's templates.",
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
        known = (*FILE_SUFFIXES, *([SQUAD_SUFFIX] if self.kind == "qa" else []))
        if self.path and self.file_suffix not in known:
            raise ValueError(
                f"the data set '{self.name}' has the path '{self.path}', whose suffix is not "
                f"known; known are {', '.join(known)}"
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
            if self.labels or self.filters:
                raise ValueError(
                    f"the data set '{self.name}' is builtin and brings its labels and rows; "
                    "'labels' and 'filters' belong to 'path' and 'hub'"
                )
        if self.parts and (self.labels or self.filters or self.kind == "relation"):
            raise ValueError(
                f"the data set '{self.name}' mixes 'parts', which bring their labels and rows; "
                "'labels', 'filters' and kind: relation do not go with them"
            )
        if self.kind == "relation" and (self.labels or self.balance):
            raise ValueError(
                f"the relation '{self.name}' has answers, not labels to list or balance"
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
    def answers_column(self) -> str:
        """The column with the accepted answers of questions."""
        return self.answers or "answers"

    @property
    def has_labels(self) -> bool:
        """Whether texts bring labels, as far as the configuration says."""
        mixed = any(part.positive or part.negative for part in self.parts)
        return bool(self.builtin or self.labels or mixed)

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
