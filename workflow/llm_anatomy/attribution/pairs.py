"""Pairs of prompts: a fact, and another of its relation that it is exchanged with."""

from dataclasses import dataclass

import pandas as pd

from llm_anatomy.statistics.random import Purpose, keyed_generator


@dataclass(frozen=True)
class FactPair:
    """A fact and its counterfactual, of one number of tokens and so aligned position by position.

    Attributes:
        example_id: The fact.
        other_id: The counterfactual.
        tokens: Token ids of the fact's prompt.
        other_tokens: Those of the counterfactual's.
        answer: First token of the fact's answer.
        rival: First token of the counterfactual's answer.
    """

    example_id: str
    other_id: str
    tokens: tuple[int, ...]
    other_tokens: tuple[int, ...]
    answer: int
    rival: int


def pair_facts(facts: pd.DataFrame, seed: int) -> tuple[list[FactPair], list[str]]:
    """Give every fact another one whose prompt is as long and whose answer begins differently.

    Which one does not depend on what other facts are paired.

    Args:
        facts: Facts of one relation, a table `facts/facts`.
        seed: Seed of the choice.

    Returns:
        The pairs, in the order of the facts, and the facts for which there is no other.
    """
    rows = list(
        zip(facts["example_id"], map(tuple, facts["tokens"]), facts["gold_token"], strict=True)
    )
    pairs, alone = [], []
    for example, tokens, answer in rows:
        others = sorted(r for r in rows if len(r[1]) == len(tokens) and r[2] != answer)
        if not others:
            alone.append(str(example))
            continue
        draw = keyed_generator(seed, Purpose.PAIRS, example).integers(len(others))
        other, other_tokens, rival = others[int(draw)]
        pair = FactPair(str(example), str(other), tokens, other_tokens, int(answer), int(rival))
        pairs.append(pair)
    return pairs, alone
