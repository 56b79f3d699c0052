"""Prompts of growing context, with and without a topical link to the request.

The paper compares no prefix, unrelated sentences and related sentences. Length and topic grow
together there, so three controls are as long as the related prefix: unrelated text cut to that
length, the related tokens in random order, and random tokens. (papers/geometry, section 1.4)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from llm_anatomy.config.datasets import PROMPT_ROLES
from llm_anatomy.config.geometry import PromptCategory, PromptDimension
from llm_anatomy.statistics.random import Purpose, keyed_generator


@dataclass(frozen=True)
class Prompt:
    """One prompt before it is put into a format.

    Attributes:
        category: Which request.
        condition: What stands before it.
        step: How many related or unrelated sentences the prefix has, or is as long as.
        prefix: The text before the request; empty for the condition `none`.
        request: The request.
    """

    category: str
    condition: str
    step: int
    prefix: str
    request: str

    @property
    def text(self) -> str:
        """Prefix and request."""
        return f"{self.prefix} {self.request}" if self.prefix else self.request


def prompts_of(
    settings: PromptDimension, table: pd.DataFrame | None = None
) -> tuple[list[PromptCategory], list[str]]:
    """Categories and unrelated sentences: of a table `PROMPT_TEXTS` where there is one, else the
    settings'.
    """
    if table is None:
        return settings.categories, settings.unrelated
    texts = {role: table[table["role"] == role] for role in PROMPT_ROLES}
    categories = []
    # Categories come in the order of their first sentences.
    for name in table["category"].dropna().unique():
        request, related = (
            texts[role].loc[texts[role]["category"] == name, "text"].tolist()
            for role in ("request", "related")
        )
        categories.append(PromptCategory(name=name, request=request[0], related=related))
    return categories, texts["unrelated"]["text"].tolist()


def build_prompts(
    categories: Sequence[PromptCategory],
    unrelated: Sequence[str],
    conditions: Sequence[str],
    tokenizer: Any,
    seed: int,
) -> list[Prompt]:
    """Every prompt of the experiment, category by category and condition by condition.

    Args:
        categories: Requests with their related sentences.
        unrelated: Sentences on other topics.
        conditions: Which kinds of prefix.
        tokenizer: The model's tokenizer; the controls are built from its tokens.
        seed: Seed of shuffled and random tokens.
    """
    prompts = []
    for category in categories:
        for condition in conditions:
            sentences = unrelated if condition == "unrelated" else category.related
            steps = range(1) if condition == "none" else range(1, len(sentences) + 1)
            for step in steps:
                prefix = " ".join(sentences[:step])
                if condition in ("length_matched", "shuffled", "random"):
                    tokens = tokenizer(prefix, add_special_tokens=False)["input_ids"]
                    drawn_for = (seed, category.name, step)
                    prefix = _control(condition, tokens, unrelated, tokenizer, drawn_for)
                prompts.append(Prompt(category.name, condition, step, prefix, category.request))
    return prompts


def _control(
    condition: str,
    tokens: list[int],
    unrelated: Sequence[str],
    tokenizer: Any,
    drawn_for: tuple[int, str, int],
) -> str:
    seed, category, step = drawn_for
    if condition == "shuffled":
        rng = keyed_generator(seed, Purpose.SHUFFLED_TOKENS, category, step)
        chosen = [tokens[i] for i in rng.permutation(len(tokens))]
    elif condition == "random":
        rng = keyed_generator(seed, Purpose.RANDOM_TOKENS, category, step)
        chosen = _random_tokens(len(tokens), tokenizer, rng)
    else:
        filler = tokenizer(" ".join(unrelated), add_special_tokens=False)["input_ids"]
        chosen = [filler[i % len(filler)] for i in range(len(tokens))]
    return str(tokenizer.decode(chosen)).strip()


def _random_tokens(count: int, tokenizer: Any, rng: np.random.Generator) -> list[int]:
    """Random ordinary tokens that survive being written as text, one behind the other."""
    special = set(tokenizer.all_special_ids)
    chosen: list[int] = []
    while len(chosen) < count:
        token = int(rng.integers(len(tokenizer)))
        if token in special or not tokenizer.decode([token]).strip():
            continue
        # Beside its neighbours a token may be read as others: the prefix would change its length.
        longer = [*chosen, token]
        written = tokenizer.decode(longer).strip()
        if tokenizer(written, add_special_tokens=False)["input_ids"] == longer:
            chosen = longer
    return chosen
