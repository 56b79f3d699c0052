"""The values that a configuration names for a column: which cells they meet, and which never do."""

from collections.abc import Sequence
from typing import Any

from llm_anatomy.data.values import canonical, shorten, suggest

# What YAML reads as a boolean unless it is in quotes, so that a column of such words can be meant.
YAML_WORDS = {True: ("true", "yes", "on"), False: ("false", "no", "off")}
# Different cells that are kept to suggest what may have been meant.
SEEN = 1000


class Wanted:
    """Values that one key names for one column.

    A configured boolean also meets the words that YAML turns into it (`no` and `off` become false);
    should a column hold two of them, nobody can tell which one was meant.

    Args:
        key: The key in words, such as "'drop' of a filter", for messages.
        column: The column whose cells are compared.
        values: What the configuration names.
    """

    def __init__(self, key: str, column: str, values: Sequence[Any]) -> None:
        self._key, self._column, self._values = key, column, list(values)
        self._plain = {canonical(v): n for n, v in enumerate(values) if not isinstance(v, bool)}
        self._words = {
            word: number
            for number, value in enumerate(values)
            if isinstance(value, bool)
            for word in YAML_WORDS[value]
        }
        self._met: dict[int, set[str]] = {}
        self._seen: dict[str, None] = {}

    def holds(self, spelling: str) -> bool:
        """Whether a cell, spelled canonically, is one of the values; notes that it occurred.

        Raises:
            ValueError: A configured boolean met two words, such as `no` and `off`.
        """
        if len(self._seen) < SEEN:
            self._seen[spelling] = None
        number = self._plain.get(spelling)
        if number is not None:
            self._met.setdefault(number, set())
            return True
        word = spelling.lower()
        number = self._words.get(word)
        if number is None:
            return False
        met = self._met.setdefault(number, set())
        met.add(word)
        if len(met) > 1:
            words = "' and '".join(sorted(met))
            raise ValueError(
                f"the column holds '{words}', and a value in {self._key} is "
                f"{str(self._values[number]).lower()}, which YAML makes of both; put the word in "
                "quotes"
            )
        return True

    def never(self) -> list[str]:
        """One sentence for each value that no cell met."""
        known = [spelling for spelling in self._seen if spelling]
        return [
            f"{shorten(value)!r} in {self._key} never occurs in the column '{self._column}'; "
            f"{suggest(canonical(value), [shorten(item) for item in known])}"
            for number, value in enumerate(self._values)
            if number not in self._met
        ]
