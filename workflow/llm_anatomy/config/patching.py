"""Settings of the patching study: manipulations of previous tokens at layer k, and their tasks.

Source: Ben-Artzy and Schwartz, "Attend First, Consolidate Later: On the Importance of Attention in
Different LLM Layers" (arXiv 2409.03621).
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from llm_anatomy.config.base import Settings, Unequal
from llm_anatomy.config.datasets import Kind
from llm_anatomy.config.ranges import Layers, check_distinct
from llm_anatomy.config.templates import (
    OpenSubjectTemplate,
    SubjectTemplate,
    check_end,
    check_template,
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
Positions = (
    Literal["previous", "subject", "not_subject"]
    | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
)

# Stands for the clean run where tables name a manipulation.
CONTROL = "none"


class Demonstration(Settings):
    """A solved example that stands before every prompt and leaves the test set."""

    subject: str = Field(min_length=1, description="Subject of the solved example.")
    answer: str = Field(min_length=1, description="Its answer.")


class Donors(Settings):
    """Where a switch takes the other prompt's states from."""

    prompt: SubjectTemplate | None = Field(
        None,
        description="Donor prompt with `{subject}`, such as the paper's `The country {subject}`; "
        "null uses the task's own prompt with the donor's subject.",
    )
    pairing: Literal["same_length", "shift", "all"] = Field(
        "same_length",
        description="Which examples exchange subjects: a fixed random cycle among subjects of "
        "equal token length (a subject alone in its length takes any donor), a fixed random cycle "
        "over all, or every ordered pair.",
    )
    unequal: Unequal = Field(
        "last_token",
        description="What to do when the two subjects differ in token length: set the pair aside, "
        "switch the last token only, or align right and repeat the donor's first state to the "
        "left.",
    )


class TaskSettings(Settings):
    """What every task has."""

    name: Name = Field(description="Name of the task; its results lie in a folder of this name.")
    manipulations: list[Name] | None = Field(
        None,
        description="Names of the manipulations to run; null runs all (switch only where the "
        "task's examples have a subject).",
    )
    max_examples: int | None = Field(
        None, ge=1, description="Examples to use, a seeded sample; null uses all."
    )
    max_new_tokens: int = Field(
        1,
        ge=1,
        description="Greedily generated tokens of an answer. With 1, an answer is right when it is "
        "the first token of an accepted answer.",
    )

    @property
    def data(self) -> tuple[Kind, str] | None:
        """Kind and name of the data set that the task reads; None where it makes its examples."""
        return None


class RelationTask(TaskSettings):
    """Subjects with an answer each, such as countries and capitals."""

    kind: Literal["relation"] = Field("relation", description="Selects this kind.")
    relation: str = Field(
        description="Name of a relation of `datasets`, such as `capitals`; prompts that it brings "
        "replace `prompt`."
    )
    prompt: OpenSubjectTemplate = Field(
        "The capital city of {subject} is", description="Prompt with `{subject}`."
    )
    demonstrations: list[Demonstration] = Field(
        [], description="Solved examples, put before the prompt in order."
    )
    demonstration: str = Field(
        "{prompt} {answer}\n", description="How a solved example is written before the prompt."
    )
    keep: list[str] = Field(
        [], description="Subjects that a sample of `max_examples` always contains."
    )
    donors: Donors = Field(default_factory=lambda: Donors())

    @property
    def data(self) -> tuple[Kind, str]:
        """A relation."""
        return "relation", self.relation

    @field_validator("demonstration")
    @classmethod
    def _shows_prompt_and_answer(cls, demonstration: str) -> str:
        return check_template(demonstration, ["prompt", "answer"])


class ArithmeticTask(TaskSettings):
    """Generated sums, differences, products or powers."""

    kind: Literal["arithmetic"] = Field("arithmetic", description="Selects this kind.")
    max_new_tokens: int = Field(3, ge=1, description="Most tokens of a result.")
    operation: Literal["add", "subtract", "multiply", "power"] = Field(
        "add", description="What to compute; differences are never negative."
    )
    first: tuple[int, int] = Field((1, 9), description="Smallest and largest first operand.")
    second: tuple[int, int] = Field((1, 9), description="Smallest and largest second operand.")
    shots: int = Field(4, ge=0, description="Solved examples before each question, never asked.")
    prompt: str = Field("{a} {operator} {b} =", description="A question, with its placeholders.")

    @field_validator("prompt")
    @classmethod
    def _asks(cls, prompt: str) -> str:
        return check_end(check_template(prompt, ["a", "b"], ["operator"]))

    @field_validator("first", "second")
    @classmethod
    def _ordered(cls, bounds: tuple[int, int]) -> tuple[int, int]:
        if bounds[0] > bounds[1] or bounds[0] < 0:
            raise ValueError("operand bounds must be two numbers >= 0, the smaller one first")
        return bounds


class ExtractiveQaTask(TaskSettings):
    """Questions whose answer is a span of a passage, such as SQuAD's."""

    kind: Literal["extractive_qa"] = Field("extractive_qa", description="Selects this kind.")
    dataset: str = Field(description="Name of one of `datasets` of kind `qa`.")
    prompt: str = Field(
        "Context: {context}\nQuestion: {question}\nAnswer:", description="Prompt of a question."
    )
    max_new_tokens: int = Field(20, ge=1, description="Longest answer; it is cut at a newline.")

    @field_validator("prompt")
    @classmethod
    def _asks(cls, prompt: str) -> str:
        return check_end(check_template(prompt, ["context", "question"]))

    @property
    def data(self) -> tuple[Kind, str]:
        """Questions."""
        return "qa", self.dataset


class SummarisationTask(TaskSettings):
    """Articles with a reference summary, such as CNN/Daily Mail's."""

    kind: Literal["summarisation"] = Field("summarisation", description="Selects this kind.")
    dataset: str = Field(description="Name of one of `datasets` of kind `articles`.")
    prompt: str = Field("{article}\nTL;DR:", description="Prompt of an article.")
    max_article_tokens: int = Field(
        900, ge=1, description="An article is cut to this many tokens; how many were is reported."
    )
    max_new_tokens: int = Field(96, ge=1, description="Longest summary.")

    @field_validator("prompt")
    @classmethod
    def _asks(cls, prompt: str) -> str:
        return check_end(check_template(prompt, ["article"]))

    @property
    def data(self) -> tuple[Kind, str]:
        """Articles."""
        return "articles", self.dataset


Task = Annotated[
    RelationTask | ArithmeticTask | ExtractiveQaTask | SummarisationTask,
    Field(discriminator="kind"),
]


class ManipulationSettings(Settings):
    """What every manipulation has."""

    name: Name = Field(description="Name of the manipulation in every table.")

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name == CONTROL:
            raise ValueError(f"'{name}' is the name of the clean run; choose another")
        return name


class StatesManipulation(ManipulationSettings):
    """What the manipulations of previous tokens' states share."""

    positions: Positions = Field(
        "previous",
        description="Manipulated positions: every token but the current one (paper), the subject's "
        "tokens, every previous token outside the subject, or a list of positions from 0.",
    )
    keep_first: bool = Field(
        False, description="Leave the first position, the attention sink, as it is (paper: false)."
    )

    @model_validator(mode="after")
    def _manipulates(self) -> "StatesManipulation":
        if isinstance(self.positions, list):
            check_distinct("positions", self.positions)
            if self.keep_first and self.positions == [0]:
                raise ValueError(
                    "`positions` is [0], which `keep_first` leaves as it is, so that nothing is "
                    "manipulated; name another position, or set `keep_first` to false"
                )
        return self


class RandomManipulation(StatesManipulation):
    """What the manipulations with random numbers share."""

    kind: Literal["noise", "shuffle", "angle"] = Field(description="Which manipulation this is.")
    seeds: int = Field(3, ge=1, description="Independent draws of every example and layer.")
    shared: bool = Field(
        False,
        description="Draw the same noise for every example; a prompt prefix that all examples "
        "share is then computed once.",
    )
    redraw: bool = Field(
        False,
        description="Draw again at each generated token, as the paper's code does; slow, because "
        "nothing can be kept between tokens.",
    )


class Noise(RandomManipulation):
    """Previous tokens' states are replaced by Gaussian vectors of equal norm."""

    kind: Literal["noise"] = Field("noise", description="Selects this kind.")


class Shuffle(RandomManipulation):
    """The coordinates of previous tokens' states are permuted."""

    kind: Literal["shuffle"] = Field("shuffle", description="Selects this kind.")


class Angle(RandomManipulation):
    """Previous tokens' states are turned by an angle towards a random direction, norm kept."""

    kind: Literal["angle"] = Field("angle", description="Selects this kind.")
    degrees: list[float] = Field(
        [15, 30, 45, 60, 90], min_length=1, description="Angles; 90 is close to `noise`."
    )

    @field_validator("degrees")
    @classmethod
    def _in_range(cls, degrees: list[float]) -> list[float]:
        if any(not 0 <= angle <= 180 for angle in degrees) or len(set(degrees)) < len(degrees):
            raise ValueError("angles must be distinct and lie between 0 and 180 degrees")
        return degrees


class Freeze(StatesManipulation):
    """Previous tokens stop being updated at layer k."""

    kind: Literal["freeze"] = Field("freeze", description="Selects this kind.")


class Skip(ManipulationSettings):
    """The attention sublayer is left out from layer k on, or in a window that starts at k."""

    kind: Literal["skip"] = Field("skip", description="Selects this kind.")
    width: int | None = Field(
        None, ge=1, description="Blocks without attention, from k on; null means all up to the top."
    )


class Switch(ManipulationSettings):
    """The subject's states at layer k are replaced by those of another prompt's subject."""

    kind: Literal["switch"] = Field("switch", description="Selects this kind.")


Manipulation = Annotated[
    Noise | Shuffle | Angle | Freeze | Skip | Switch, Field(discriminator="kind")
]


def needs_subject(manipulation: "Manipulation | None") -> bool:
    """Whether a manipulation is defined by the subject's position in the prompt."""
    if isinstance(manipulation, StatesManipulation):
        return manipulation.positions in ("subject", "not_subject")
    return isinstance(manipulation, Switch)


class PatchingSummary(Settings):
    """How example records become curves and depths."""

    confidence: float = Field(0.95, gt=0, lt=1, description="Level of all intervals.")
    resamples: int = Field(1000, ge=100, description="Bootstrap resamples of examples.")
    drops: list[float] = Field(
        [0.01, 0.05, 0.10],
        description="Tolerated relative drops below the clean score, for the drop-free depth.",
    )


class PatchingSettings(Settings):
    """The patching study."""

    tasks: list[Task] = Field(
        default_factory=lambda: list(DEFAULT_TASKS), description="Tasks to run."
    )
    manipulations: list[Manipulation] = Field(
        default_factory=lambda: list(DEFAULT_MANIPULATIONS),
        description="Manipulations to sweep over the layers.",
    )
    layers: Annotated[Layers, Field(min_length=1)] | None = Field(
        None,
        description="Layers k to sweep, counted from 0 in the paper's convention (the input of "
        "block k is manipulated); null sweeps all.",
    )
    method: Literal["fast", "reference"] = Field(
        "fast",
        description="`reference` runs one full forward pass with hooks per layer, seed and "
        "example, which `fast` must equal.",
    )
    summary: PatchingSummary = Field(default_factory=lambda: PatchingSummary())

    @model_validator(mode="after")
    def _names(self) -> "PatchingSettings":
        for what, names in (
            ("tasks", [task.name for task in self.tasks]),
            ("manipulations", [manipulation.name for manipulation in self.manipulations]),
        ):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"the name '{twice}' appears twice in `{what}`; names are unique")
        of_subject = {m.name: needs_subject(m) for m in self.manipulations}
        for task in self.tasks:
            for name in task.manipulations or []:
                if name not in of_subject:
                    raise ValueError(
                        f"the task '{task.name}' names the manipulation '{name}', which is not in "
                        f"`manipulations` ({', '.join(of_subject)})"
                    )
                if of_subject[name] and not isinstance(task, RelationTask):
                    raise ValueError(
                        f"the task '{task.name}' names '{name}', which is defined by the subject's "
                        "tokens, but only relation tasks have a subject"
                    )
        return self

    def task(self, name: str) -> Task:
        """The task of this name."""
        return next(task for task in self.tasks if task.name == name)

    def task_manipulations(self, name: str) -> list[Manipulation]:
        """The manipulations that a task runs, in configuration order."""
        task = self.task(name)
        return [
            manipulation
            for manipulation in self.manipulations
            if (
                manipulation.name in task.manipulations
                if task.manipulations is not None
                else isinstance(task, RelationTask) or not needs_subject(manipulation)
            )
        ]


DEFAULT_TASKS: tuple[Task, ...] = (
    RelationTask(
        name="capitals",
        relation="capitals",
        max_examples=100,
        keep=["France", "Italy", "Germany", "Japan", "Spain"],
    ),
)

DEFAULT_MANIPULATIONS: tuple[Manipulation, ...] = (
    Noise(name="noise"),
    # One draw for each example and layer: a draw costs as much as one of `noise`.
    Shuffle(name="shuffle", seeds=1),
    Freeze(name="freeze"),
    Skip(name="skip"),
    Switch(name="switch"),
)
