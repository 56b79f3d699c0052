"""What makes a label true, and which rows are kept: cells of a user's table by their values."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from llm_anatomy.config.base import Settings

Value = bool | int | Annotated[float, Field(allow_inf_nan=False)] | str


class Label(Settings):
    """One label, or with `every_value` one label for each value of a column.

    Without further keys the column holds booleans: true/false, yes/no, 1/0. Where a value is
    missing, or meets neither condition, the label is missing; a row without any label is set aside.
    A configured value that never occurs is a warning.
    """

    name: str = Field(
        description="The label's name in tables and figures; its column is `label_{name}`.",
        pattern=r"^\w+$",
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
        both = [value for value in self.positive or [] if value in (self.negative or [])]
        if both:
            raise ValueError(
                f"the label '{self.name}' has '{both[0]}' under 'positive' and 'negative'; give "
                "one of them"
            )
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
