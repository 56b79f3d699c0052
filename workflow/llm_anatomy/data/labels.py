"""What a row says about a label, by the label's key of the configuration."""

from typing import Any

from llm_anatomy.config.labels import Label
from llm_anatomy.data.values import as_boolean, as_members, as_score, canonical, is_missing
from llm_anatomy.data.wanted import Wanted

LabelValue = bool | frozenset[str] | None


class LabelReader:
    """Reads one label, and notes which of the values that its keys name occur."""

    def __init__(self, label: Label) -> None:
        self.label = label
        self._positive, self._negative, self._contains = (
            None
            if values is None
            else Wanted(f"'{key}' of the label '{label.name}'", label.source_column, values)
            for key, values in (
                ("positive", label.positive),
                ("negative", label.negative),
                ("contains", None if label.contains is None else [label.contains]),
            )
        )

    def read(self, value: Any) -> LabelValue:
        """What one cell says about the label.

        Returns:
            True, False, None for unknown, or with `every_value` the set of the cell's values.

        Raises:
            ValueError: The cell cannot be read that way; the sentence gives the value.
        """
        label = self.label
        if label.every_value or self._contains is not None:
            members = as_members(value, label.separator)
            if self._contains is None or members is None:
                return members
            # Not any(): every member is to be seen.
            return True in [self._contains.holds(member) for member in sorted(members)]
        if self._positive is not None:
            return self._class(value, self._positive)
        if label.at_least is not None:
            return _above(as_score(value), label.at_least, label.below)
        return as_boolean(value)

    def never(self) -> list[str]:
        """One sentence for each configured value that no cell met."""
        wanted = (self._positive, self._negative, self._contains)
        return [sentence for values in wanted if values is not None for sentence in values.never()]

    def _class(self, value: Any, positive: Wanted) -> bool | None:
        found = canonical(value)
        is_positive = positive.holds(found)
        is_negative = self._negative is None or self._negative.holds(found)
        if is_missing(value) and not (is_positive or (self._negative is not None and is_negative)):
            return None
        if is_positive:
            return True
        return False if is_negative else None


def _above(score: float | None, at_least: float, below: float | None) -> bool | None:
    if score is None:
        return None
    if score >= at_least:
        return True
    return False if score < (at_least if below is None else below) else None
