"""What one sweep runs over: prompts with their answers, grouped so that rows share a geometry."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llm_anatomy.config.patching import (
    Freeze,
    Manipulation,
    RandomManipulation,
    Skip,
    Switch,
    needs_subject,
)
from llm_anatomy.patching.manipulations import Positions

# A row of the tables `patching/examples` and `patching/pairs`.
Row = dict[str, Any]


@dataclass(frozen=True)
class Answer:
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
    answer: Answer
    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class Case:
    """One prompt of a sweep."""

    example_id: str
    tokens: tuple[int, ...]
    span: tuple[int, int] | None
    answer: Answer
    donor: Donor | None = None


def cases_for(
    manipulation: Manipulation | None, examples: Sequence[Row], pairs: Sequence[Row]
) -> list[Case]:
    """The cases of a manipulation: examples, for a switch the pairs.

    Examples whose subject is not in the prompt have no place in a manipulation of the subject; the
    intake table names them.
    """
    made = {row["example_id"]: _case(row) for row in examples}
    if isinstance(manipulation, Switch):
        return [
            replace(
                made[row["example_id"]],
                donor=Donor(
                    row["donor_id"],
                    made[row["donor_id"]].answer,
                    tuple(int(token) for token in row["donor_tokens"]),
                    tuple(int(position) for position in row["donor_positions"]),
                    int(row["start"]),
                ),
            )
            for row in pairs
        ]
    cases = list(made.values())
    return (
        [case for case in cases if case.span is not None] if needs_subject(manipulation) else cases
    )


def positions_of(manipulation: RandomManipulation | Freeze, case: Case) -> Positions:
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
    cases: Sequence[Case], manipulation: Manipulation | None, n_layers: int, budget: int
) -> Iterator[tuple[list[Case], int]]:
    """Group cases into rows of one geometry, within a budget of tokens.

    Args:
        cases: The cases.
        manipulation: The manipulation; None for the clean run.
        n_layers: Layers swept, each of which multiplies the rows.
        budget: Most tokens in one block call.

    Yields:
        The rows of a batch, and how many layers may be swept at once.
    """
    groups: dict[object, list[Case]] = {}
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


def _recomputed(case: Case, manipulation: Manipulation | None) -> int:
    """Tokens of a prompt that each layer's variant computes again."""
    if case.donor is not None:
        return len(case.tokens) - case.donor.start
    if isinstance(manipulation, Skip) and manipulation.width is None:
        return 1
    return len(case.tokens)


def _case(row: Row) -> Case:
    start, end = row["span_start"], row["span_end"]
    span = None if start is None else (int(start), int(end))
    answer = Answer(tuple(row["answers"]), int(row["gold_token"]), frozenset(row["first_tokens"]))
    return Case(row["example_id"], tuple(int(token) for token in row["tokens"]), span, answer)
