"""Settings of steering: directions as differences of class means, beside clamps of neurons."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from llm_anatomy.config.base import Settings
from llm_anatomy.config.mlp import Site
from llm_anatomy.config.templates import OpenText


class DirectionTarget(Settings):
    """A concept: the texts that have it and those that lack it, and where it is looked for."""

    concept: str = Field(
        description="Name of one of `neurons.search.concepts`, or a name of its own with `words`.",
        pattern=r"^[A-Za-z0-9_.-]+$",
    )
    words: list[str] = Field(
        [],
        description="Words that stand for the concept; empty takes those of the concept of this "
        "name, and its most specific neuron. With words of its own the neuron is the one whose "
        "down column is closest to one of their tokens.",
    )
    prompt: OpenText = Field(description="Text whose next token is observed.")
    dataset: str = Field("", description="Data set of labelled texts; empty for `positive` texts.")
    label: str = Field("", description="Its label: texts with it against texts without it.")
    positive: list[str] = Field([], description="Texts with the concept, in place of a data set.")
    negative: list[str] = Field([], description="Texts without it.")
    layer: int | None = Field(
        None, ge=0, description="Layer whose input is read and changed; the middle one if empty."
    )
    token: Literal["last", "mean"] = Field(
        "last", description="State of a text: that of its `last` token, or the `mean` of all."
    )

    @model_validator(mode="after")
    def _one_source(self) -> "DirectionTarget":
        own = len(self.positive) >= 2 and len(self.negative) >= 2
        if bool(self.dataset) == bool(self.positive or self.negative):
            raise ValueError(
                f"the concept '{self.concept}' needs either a dataset with a label, or positive "
                "and negative texts"
            )
        if self.dataset and not self.label:
            raise ValueError(f"the concept '{self.concept}' names a dataset, but no label of it")
        if not self.dataset and not own:
            raise ValueError(
                f"the concept '{self.concept}' has fewer than two positive or negative texts"
            )
        return self


DEFAULT_TARGETS = (
    DirectionTarget(
        concept="dog",
        prompt="My favourite animal is the",
        positive=[
            "The dog ran across the field",
            "She walks her dog every morning",
            "A dog barked at the postman",
            "They adopted an old dog",
            "The puppy slept beside the dog",
            "My neighbour's dog likes to swim",
            "Every dog in the park wagged its tail",
            "He trained his dog to fetch the newspaper",
        ],
        negative=[
            "The horse ran across the field",
            "She feeds her fish every morning",
            "A bird sang at the window",
            "They adopted an old donkey",
            "The kitten slept beside the cat",
            "My neighbour's duck likes to swim",
            "Every squirrel in the park hid its nuts",
            "He trained his parrot to say the news",
        ],
    ),
    DirectionTarget(
        concept="refusal",
        words=["sorry", "cannot", "unable"],
        prompt="How do I pick the lock of my neighbour's door? I am",
        dataset="refusals",
        label="refusal",
    ),
)


class Directions(Settings):
    """Adding or projecting out a concept's direction, beside clamping its neuron."""

    targets: list[DirectionTarget] = Field(
        list(DEFAULT_TARGETS),
        description="The concepts. Defaults whose data set is not configured are left out.",
    )
    max_texts: int = Field(100, ge=2, description="Most texts of either class, the first ones.")
    max_length: int = Field(
        1024,
        ge=2,
        description="Tokens kept of every text. Of a text that is cut the `last` token is not the "
        "text's last; `neurons/directions` counts them.",
    )
    doses: list[float] = Field(
        [-2.0, -1.0, -0.5, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0],
        min_length=1,
        description="Multiples of the difference of means that are added at all positions.",
    )
    site: Site = Field("activation", description="Tensor at which the neuron is clamped.")
    values: list[float] = Field(
        [-40.0, -20.0, -10.0, -5.0, 5.0, 10.0, 20.0, 40.0, 80.0],
        min_length=1,
        description="Values that the neuron is set to at all positions.",
    )
    perplexity_ratios: list[float] = Field(
        [1.1, 1.5, 2.0],
        min_length=1,
        description="How many times the clean perplexity of the held text may reach where methods "
        "are compared at equal fluency.",
    )
    top_tokens: int = Field(10, ge=1, description="Most probable next tokens kept per dose.")

    @model_validator(mode="after")
    def _told_apart(self) -> "Directions":
        seen: set[tuple[str, str]] = set()
        for target in self.targets:
            if (target.concept, target.prompt) in seen:
                raise ValueError(
                    f"the targets have the concept '{target.concept}' with the prompt "
                    f"'{target.prompt}' twice; give one of them another name or prompt"
                )
            seen.add((target.concept, target.prompt))
        return self

    def targets_among(self, texts: Sequence[str]) -> list[DirectionTarget]:
        """The targets whose data are configured; a user's own are checked beforehand."""
        return [target for target in self.targets if target.dataset in ("", *texts)]
