"""The tally of a data set's rows: how many came in, were used, were set aside, and why."""

from collections.abc import Iterable
from typing import Any

EXAMPLES = 3


class Intake:
    """Counts rows so that none disappears: `rows_in` = `used` + everything set aside."""

    def __init__(self) -> None:
        self.rows_in = 0
        self.used = 0
        self.warnings: list[str] = []
        self._aside: dict[str, tuple[int, list[str]]] = {}

    def read(self) -> None:
        """Count one row that came in."""
        self.rows_in += 1

    def set_aside(self, reason: str, place: str, rows: int = 1) -> None:
        """Count rows that are not used, under a reason; the first places are kept as examples."""
        count, places = self._aside.get(reason, (0, []))
        if place and len(places) < EXAMPLES:
            places = [*places, place]
        self._aside[reason] = (count + rows, places)

    def warn(self, sentences: Iterable[str]) -> None:
        """Note what is no row, but may be a mistake, such as a configured value without a cell."""
        self.warnings.extend(sentences)

    @property
    def aside(self) -> dict[str, int]:
        """Rows set aside, by reason, in the order in which reasons first occurred."""
        return {reason: count for reason, (count, _) in self._aside.items()}

    def finish(self, used: int) -> None:
        """Close the tally.

        Raises:
            ValueError: The books do not balance, which is a fault of the code.
        """
        self.used = used
        if self.rows_in != used + sum(self.aside.values()):
            raise ValueError(
                f"{self.rows_in} rows came in, {used} are used, {self.aside} are set aside"
            )

    def columns(self) -> dict[str, list[Any]]:
        """The tally as columns of the `INTAKE` table."""
        rows = [("in", "", self.rows_in, ""), ("used", "", self.used, "")]
        rows += [
            ("set aside", reason, count, "; ".join(places))
            for reason, (count, places) in self._aside.items()
        ]
        rows += [("warning", sentence, 0, "") for sentence in self.warnings]
        names = ("outcome", "reason", "rows", "examples")
        return {name: [row[index] for row in rows] for index, name in enumerate(names)}

    def sentence(self, name: str) -> str:
        """The tally in words, for the log and the terminal."""
        total = sum(self.aside.values())
        text = f"{name}: {self.rows_in:,} rows in, {self.used:,} used, {total:,} set aside"
        if total:
            text += " (" + "; ".join(f"{n:,} {reason}" for reason, n in self.aside.items()) + ")"
        return text
