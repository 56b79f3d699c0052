"""Settings of the comparison of detectors, and of detectors on other data than their own."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from llm_anatomy.config.base import Settings

MethodName = Literal[
    "first_token", "attention_probe", "max_probe", "spline_and_state", "spline_extended"
]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class DetectorComparison(Settings):
    """Detectors beside each other, with thresholds, calibration and cost."""

    datasets: list[str] = Field(
        [],
        description="Labelled data sets on which detectors are compared; the first that is "
        "configured when left out.",
    )
    max_labels: int = Field(
        1,
        ge=1,
        description="Most labels of a dataset that are tried, those with most positive texts "
        "first.",
    )
    methods: list[MethodName] = Field(
        list(get_args(MethodName)),
        description="Detectors beside the spline features and `baselines`: a sparse model on the "
        "first token of the model's own answer (MULI); attention-pooled and max-pooled probes on "
        "token states; spline features and mean state together; further statistics of the same "
        "traces, which are not the paper's.",
    )
    max_length: int = Field(
        1024,
        ge=1,
        description="Tokens of a text that the model is asked with, for `first_token` and the "
        "probes; the rest is cut.",
    )
    depth: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Layer whose token states the probes read, as a share of the model's depth.",
    )
    answer_tokens: int | None = Field(
        2048,
        ge=1,
        description="Tokens that `first_token` looks at, those which the training texts make "
        "likeliest to begin an answer; all of the vocabulary when null (the paper), which takes "
        "far longer.",
    )
    penalties: list[Share] = Field(
        [0.3, 0.1, 0.03],
        min_length=1,
        description="Penalties of `first_token` that inner folds choose from, as shares of the "
        "least one that leaves every token without a weight.",
    )
    probe_penalties: list[Positive] = Field(
        [3e-3, 1e-1],
        min_length=1,
        description="L2 penalties of the probes that inner folds choose from.",
    )
    steps: int = Field(40, ge=1, description="Steps of the optimiser that trains a probe.")
    false_positive_rates: list[Share] = Field(
        [0.001, 0.01, 0.05],
        min_length=1,
        description="Rates of false positives that thresholds are set for.",
    )
    bins: int = Field(10, ge=2, description="Bins of the reliability curve, of equal count.")

    @property
    def asks(self) -> bool:
        """Whether the model is asked the texts, as some detectors need."""
        return bool({"first_token", "attention_probe", "max_probe"} & set(self.methods))


class Shift(Settings):
    """Train on one labelled data set, test on another: all pairs with a label in common."""

    same: dict[str, str] = Field(
        {},
        description="For each data set, the label that counts as the same thing in all of them, "
        "such as `{tweets: offensive, comments: toxic}`; labels of the same name when left out.",
    )
