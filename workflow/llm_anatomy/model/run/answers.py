"""Prompts and answers as token ids: subjects, what is behind a prompt, where an answer ends."""

import re
from collections.abc import Collection, Sequence
from typing import Any

from jaxtyping import Int
from torch import Tensor

from llm_anatomy.model.parts.architecture import Decoder


def prompt_tokens(tokenizer: Any, text: str) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Token ids of a text that goes on, and the characters of each.

    Special tokens that a tokenizer puts at the end of every text are left out.
    """
    encoded = tokenizer(text, return_offsets_mapping=True)
    tokens = [int(token) for token in encoded["input_ids"]]
    offsets = [(int(start), int(end)) for start, end in encoded["offset_mapping"]]
    special = set(tokenizer.all_special_ids)
    while tokens and tokens[-1] in special and offsets[-1][0] == offsets[-1][1]:
        tokens.pop()
        offsets.pop()
    return tuple(tokens), tuple(offsets)


def tokenise(
    tokenizer: Any, text: str, at: int | None, length: int
) -> tuple[tuple[int, ...], tuple[int, int] | None]:
    """Token ids of a text, and the tokens that overlap its characters `at` to `at + length - 1`."""
    tokens, offsets = prompt_tokens(tokenizer, text)
    if at is None or length == 0:
        return tokens, None
    inside = [
        index
        for index, (start, end) in enumerate(offsets)
        if start < at + length and end > at and end > start
    ]
    return tokens, (inside[0], inside[-1] + 1) if inside else None


def place_in(prompt: str, subject: str) -> int | None:
    """Character at which the last mention of a subject in a prompt begins; None without one.

    A mention as words of their own goes before one inside a word: of "Is Iran in Asia? Iranian",
    Iran is the second word. Scripts without spaces have only the latter.
    """
    if not subject:
        return None
    words = [found.start() for found in re.finditer(rf"(?<!\w){re.escape(subject)}(?!\w)", prompt)]
    at = words[-1] if words else prompt.rfind(subject)
    return at if at >= 0 else None


def answer_tokens(
    tokenizer: Any, prompt: str, tokens: Sequence[int], answer: str, separator: str = " "
) -> tuple[int, ...]:
    """Tokens of an answer behind a prompt, tokenised in place.

    None when the model cannot be asked for it: the answer would change the prompt's own tokens, or
    the vocabulary cannot write it.

    Args:
        tokenizer: The model's tokenizer.
        prompt: The prompt; one that ends in white space needs no separator.
        tokens: The prompt's tokens (`prompt_tokens`).
        answer: The answer.
        separator: What stands between the two.
    """
    if prompt[-1:].isspace():
        separator = ""
    whole, _ = prompt_tokens(tokenizer, prompt + separator + answer)
    if whole[: len(tokens)] != tuple(tokens):
        return ()
    rest = whole[len(tokens) :]
    unknown = tokenizer.unk_token_id
    return () if unknown is not None and unknown in rest else rest


def end_tokens(decoder: Decoder, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: the model's own list, and the tokenizer's."""
    own = decoder.model.generation_config.eos_token_id
    ends = set(own) if isinstance(own, list) else {own}
    return frozenset(int(token) for token in ends | {tokenizer.eos_token_id} if token is not None)


def until_end(tokens: Int[Tensor, "rows steps"], ends: Collection[int]) -> list[list[int]]:
    """Every generated row up to its first end token, which is left out."""
    rows = []
    for row in tokens.tolist():
        end = next((place for place, token in enumerate(row) if token in ends), len(row))
        rows.append(row[:end])
    return rows
