"""Pairs of prompts: a fact, and the counterfactual that it is exchanged with.

The counterfactual is the one that the user's data name, else another fact of the same relation.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from llm_anatomy.config.base import Unequal
from llm_anatomy.data.duplicates import DisjointSets
from llm_anatomy.model.run.alignment import align
from llm_anatomy.statistics.folds import assign_folds
from llm_anatomy.statistics.random import Purpose, keyed_generator

# Why a fact has no counterfactual.
ALONE = "no other fact of its length begins its answer otherwise"
LENGTH = "its counterfactual has another number of tokens"
SAME = "its counterfactual's answer begins with the same token"
UNWRITTEN = "its counterfactual's answer cannot be written behind the counterfactual"


@dataclass(frozen=True)
class FactPair:
    """A fact and its counterfactual, aligned position by position.

    Attributes:
        example_id: The fact.
        other_id: The counterfactual: another fact, or the fact itself with its own counterfactual.
        tokens: Token ids of the fact's prompt.
        other_tokens: Those of the counterfactual's.
        answer: First token of the fact's answer.
        rival: First token of the counterfactual's answer.
        unequal: How the two are aligned where their lengths differ.
    """

    example_id: str
    other_id: str
    tokens: tuple[int, ...]
    other_tokens: tuple[int, ...]
    answer: int
    rival: int
    unequal: Unequal = "skip_pair"

    @property
    def places(self) -> tuple[int, ...]:
        """Of every position the counterfactual's that stands for it; -1 where it keeps its own.

        Raises:
            ValueError: The two differ in length, and the pair should have been set aside.
        """
        aligned = align((0, len(self.tokens)), (0, len(self.other_tokens)), self.unequal)
        if aligned is None:
            raise ValueError("prompts of unequal length need a policy that aligns them")
        start, places, _ = aligned
        return (-1,) * start + places

    @property
    def reversed(self) -> "FactPair":
        """The counterfactual as the fact."""
        return FactPair(
            self.other_id,
            self.example_id,
            self.other_tokens,
            self.tokens,
            self.rival,
            self.answer,
            self.unequal,
        )


def pair_facts(
    facts: pd.DataFrame, seed: int, unequal: Unequal = "skip_pair"
) -> tuple[list[FactPair], dict[str, str]]:
    """Give every fact its counterfactual, or another fact whose answer begins differently.

    Which fact does not depend on what other facts are paired. One of equal length goes before the
    others; those serve only where a policy aligns them.

    Args:
        facts: Facts of one relation, a table `facts/facts`.
        seed: Seed of the choice.
        unequal: What happens to pairs of unequal length.

    Returns:
        The pairs, in the order of the facts, and why other facts have none, by their ids.
    """
    rows = list(
        zip(facts["example_id"], map(_ids, facts["tokens"]), facts["gold_token"], strict=True)
    )
    pairs: list[FactPair] = []
    aside: dict[str, str] = {}
    for fact, (example, tokens, answer) in zip(facts.to_dict("records"), rows, strict=True):
        if isinstance(fact.get("counterfactual_prompt"), str):
            made = _own_pair(fact, unequal)
        else:
            others = sorted(r for r in rows if r[2] != answer)
            equal = [r for r in others if len(r[1]) == len(tokens)]
            partners = equal or ([] if unequal == "skip_pair" else others)
            made = ALONE
            if partners:
                draw = keyed_generator(seed, Purpose.PAIRS, example).integers(len(partners))
                other, other_tokens, rival = partners[int(draw)]
                made = FactPair(
                    str(example), str(other), tokens, other_tokens, int(answer), int(rival), unequal
                )
        if isinstance(made, str):
            aside[str(example)] = made
        else:
            pairs.append(made)
    return pairs, aside


def halves(
    facts: pd.DataFrame, seed: int, unequal: Unequal, most: int | None
) -> tuple[list[FactPair], list[FactPair], dict[str, str]]:
    """Pairs that rankings are made on, and those that they are judged on.

    Facts are parted at random before they are paired, and a fact whose prompt is the counterfactual
    that the data name for another is on that one's side, so that no counterfactual of one half is a
    fact of the other: a ranking is judged on prompts that it has not seen.

    Args:
        facts: Facts of one relation, a table `facts/facts`.
        seed: Seed of the halves and of the pairs.
        unequal: What happens to pairs of unequal length.
        most: Pairs of both halves together, the first of each; None takes all.

    Returns:
        The pairs of each half, and why other facts have none, by their ids.
    """
    side = _sides(facts, seed)
    found: list[list[FactPair]] = []
    aside: dict[str, str] = {}
    for half, part in ((0, 0.5), (1, 0.0)):
        pairs, alone = pair_facts(facts[side == half], seed, unequal)
        found.append(pairs if most is None else pairs[: int(most / 2 + part)])
        aside |= alone
    return found[0], found[1], aside


def _sides(facts: pd.DataFrame, seed: int) -> np.ndarray:
    """The half of every fact, 0 or 1; as large as each other as far as what belongs together is."""
    if facts.empty:
        return np.empty(0, dtype=np.int64)
    sets, first = DisjointSets(len(facts)), dict[tuple[int, ...], int]()
    for row, tokens in enumerate(facts["tokens"]):
        sets.join(row, first.setdefault(_ids(tokens), row))
    for row, tokens in enumerate(facts.get("counterfactual_tokens", ())):
        if np.ndim(tokens):
            sets.join(row, first.get(_ids(tokens), row))
    together = np.array([sets.root(row) for row in range(len(facts))])
    # Of one class, so that nothing but sizes counts.
    return assign_folds(np.zeros(len(facts), dtype=bool), together, 2, seed, Purpose.HALVES)


def _own_pair(fact: Mapping[Hashable, Any], unequal: Unequal) -> FactPair | str:
    """A fact with the counterfactual of the data, or why the two are no pair."""
    tokens, other = _ids(fact["tokens"]), _ids(fact["counterfactual_tokens"])
    if pd.isna(fact["counterfactual_token"]):
        return UNWRITTEN
    if fact["counterfactual_token"] == fact["gold_token"]:
        return SAME
    if len(tokens) != len(other) and unequal == "skip_pair":
        return LENGTH
    example, answer = str(fact["example_id"]), int(fact["gold_token"])
    return FactPair(
        example, example, tokens, other, answer, int(fact["counterfactual_token"]), unequal
    )


def _ids(tokens: Iterable[int]) -> tuple[int, ...]:
    return tuple(int(token) for token in tokens)
