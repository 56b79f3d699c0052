"""What one sweep runs over: prompts with their answers, grouped so that rows share a geometry."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from llm_anatomy.config.patching import (
    Freeze,
    Manipulation,
    RandomManipulation,
    Skip,
    StatesManipulation,
    Switch,
    needs_subject,
)
from llm_anatomy.patching.manipulations import Positions


@runtime_checkable
class TokenisedPrompt(Protocol):
    """A prompt's tokens, and those of its subject."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids."""

    @property
    def span(self) -> tuple[int, int] | None:
        """First and one past the last token of the subject; None without one."""


@dataclass(frozen=True)
class AcceptedAnswers:
    """Accepted answers with the tokens that they begin with."""

    texts: tuple[str, ...]
    gold_token: int
    first_tokens: frozenset[int]


@dataclass(frozen=True)
class Donor:
    """The other prompt of a switch.

    Attributes:
        example_id: The donor example.
        answer: Its answer.
        tokens: Its prompt.
        positions: Donor position for each switched position.
        start: First switched position of the target.
    """

    example_id: str
    answer: AcceptedAnswers
    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class SweepCase:
    """One prompt of a sweep."""

    example_id: str
    tokens: tuple[int, ...]
    span: tuple[int, int] | None
    answer: AcceptedAnswers
    donor: Donor | None = None


def cases_for(
    manipulation: Manipulation | None, examples: pd.DataFrame, pairs: pd.DataFrame
) -> list[SweepCase]:
    """The cases of a manipulation: examples, for a switch the pairs.

    Examples whose subject is not in the prompt have no place in a manipulation of the subject, nor
    those of which no token would be manipulated; the intake table names them.

    Args:
        manipulation: The manipulation; None for the clean run.
        examples: Table `patching/examples`.
        pairs: Table `patching/pairs`.
    """
    cases = {row["example_id"]: _case(row) for row in examples.to_dict("records")}
    if isinstance(manipulation, Switch):
        return [
            replace(
                cases[row["example_id"]],
                donor=Donor(
                    row["donor_id"],
                    _answers(row, "donor_"),
                    tuple(int(token) for token in row["donor_tokens"]),
                    tuple(int(position) for position in row["donor_positions"]),
                    int(row["start"]),
                ),
            )
            for row in pairs.to_dict("records")
        ]
    return [case for case in cases.values() if reaches(manipulation, case)]


def reaches(manipulation: Manipulation | None, prompt: TokenisedPrompt) -> bool:
    """Whether a manipulation has a token of a prompt to manipulate."""
    if needs_subject(manipulation) and prompt.span is None:
        return False
    if not isinstance(manipulation, StatesManipulation):
        return True
    return bool(positions_of(manipulation, prompt).of(0, len(prompt.tokens) - 1))


def positions_of(manipulation: RandomManipulation | Freeze, case: TokenisedPrompt) -> Positions:
    """The manipulated previous positions of a case."""
    last = len(case.tokens) - 1
    policy = manipulation.positions
    if isinstance(policy, list):
        # A list names previous tokens of the prompt; generated ones are left as they are.
        listed = tuple(position for position in policy if 0 <= position < last)
        return Positions(listed, None, manipulation.keep_first)
    # The current token is no previous token, even where it belongs to the subject.
    span = None if case.span is None else (case.span[0], min(case.span[1], last))
    return Positions(policy, span, manipulation.keep_first)


def batches(
    cases: Sequence[SweepCase], manipulation: Manipulation | None, n_layers: int, budget: int
) -> Iterator[tuple[list[SweepCase], int]]:
    """Group cases into rows of one geometry, within a budget of tokens.

    Args:
        cases: The cases.
        manipulation: The manipulation; None for the clean run.
        n_layers: Layers swept, each of which multiplies the rows.
        budget: Most tokens in one block call.

    Yields:
        The rows of a batch, and how many layers may be swept at once.
    """
    groups: dict[object, list[SweepCase]] = {}
    for case in cases:
        span = case.span if needs_subject(manipulation) else None
        switched = None if case.donor is None else (case.donor.start, len(case.donor.positions))
        groups.setdefault((len(case.tokens), switched or span), []).append(case)
    for group in groups.values():
        tokens, again = len(group[0].tokens), _recomputed(group[0], manipulation)
        at_once = max(1, min(n_layers, budget // again))
        size = max(1, min(budget // (again * n_layers), budget // tokens))
        for first in range(0, len(group), size):
            yield group[first : first + size], at_once


def _recomputed(case: SweepCase, manipulation: Manipulation | None) -> int:
    """Tokens of a prompt that each layer's variant computes again."""
    if case.donor is not None:
        return len(case.tokens) - case.donor.start
    if isinstance(manipulation, Skip) and manipulation.width is None:
        return 1
    return len(case.tokens)


def _case(row: dict[Hashable, Any]) -> SweepCase:
    """One row of the table `patching/examples`."""
    start, end = row["span_start"], row["span_end"]
    span = None if pd.isna(start) else (int(start), int(end))
    tokens = tuple(int(token) for token in row["tokens"])
    return SweepCase(row["example_id"], tokens, span, _answers(row))


def _answers(row: dict[Hashable, Any], of: str = "") -> AcceptedAnswers:
    return AcceptedAnswers(
        tuple(row[f"{of}answers"]),
        int(row[f"{of}gold_token"]),
        frozenset(int(token) for token in row[f"{of}first_tokens"]),
    )
