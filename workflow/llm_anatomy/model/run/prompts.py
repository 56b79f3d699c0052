"""Prompts as token ids: raw text, and a user's turn in a model's chat template."""

from typing import Any


def raw_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text, with the special tokens that the tokenizer puts around it."""
    ids: list[int] = tokenizer(text, add_special_tokens=True)["input_ids"]
    return ids


def chat_ids(tokenizer: Any, message: str) -> list[int]:
    """Token ids of a user's message in the chat template, up to where the answer begins."""
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], add_generation_prompt=True, tokenize=False
    )
    # The template writes the special tokens itself.
    ids: list[int] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    return ids
