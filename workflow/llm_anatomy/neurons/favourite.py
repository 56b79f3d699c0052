"""The favourite test: asked for its favourite, does the clamped model name the concept?"""

import re
from collections.abc import Sequence
from typing import Any

from llm_anatomy.config.neurons import Concept


def chat_prompt(tokenizer: Any, question: str) -> list[int]:
    """A question through the model's chat template, or as plain text where it has none."""
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids
    plain: list[int] = tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
    return plain


def mentions(answer: str, concept: Concept) -> bool:
    """Whether an answer holds one of the concept's words, as a whole word in any case."""
    words = "|".join(re.escape(word.strip()) for word in concept.words if word.strip())
    return re.search(rf"\b(?:{words})\b", answer, re.IGNORECASE) is not None


def distinct_share(tokens: Sequence[int]) -> float:
    """Share of distinct tokens; 1 for an empty answer."""
    return len(set(tokens)) / len(tokens) if tokens else 1.0
