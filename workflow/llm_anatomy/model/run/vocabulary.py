"""Tokens as text, and words as tokens, from `tokenizer.json` alone."""

from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int
from tokenizers import Tokenizer

from llm_anatomy.errors import UserError


class Vocabulary:
    """A tokenizer's tokens by id.

    Args:
        weights: Folder with `tokenizer.json`.

    Raises:
        UserError: There is none.
    """

    def __init__(self, weights: Path) -> None:
        file = weights / "tokenizer.json"
        if not file.exists():
            raise UserError(
                f"{file} is missing; save the model's tokenizer as a fast tokenizer "
                "(AutoTokenizer.from_pretrained(…).save_pretrained(…))"
            )
        self._tokenizer = Tokenizer.from_file(str(file))
        # Saved with the file as a training left them; no token is to be cut or put beside another.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    @cached_property
    def texts(self) -> list[str | None]:
        """Text of every id as it stands inside a sentence; None for ids without a token.

        A token is decoded behind another one, because decoders drop a leading space at the start.
        """
        count = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        anchor = self._tokenizer.encode("a", add_special_tokens=False).ids[-1:]
        before = self._tokenizer.decode(anchor, skip_special_tokens=False)
        decoded = self._tokenizer.decode_batch(
            [[*anchor, token] for token in range(count)], skip_special_tokens=False
        )
        return [
            text[len(before) :] if self._tokenizer.id_to_token(token) is not None else None
            for token, text in enumerate(decoded)
        ]

    def text(self, token: int) -> str | None:
        """Text of one id; None where the head has more rows than the tokenizer has tokens."""
        return self.texts[token] if token < len(self.texts) else None

    def column(self, tokens: Int[np.ndarray, " n"]) -> pa.StringArray:
        """`text` of many ids."""
        return self._arrow.take(pa.array(tokens, mask=tokens >= len(self._arrow)))

    @cached_property
    def _arrow(self) -> pa.StringArray:
        return pa.array(self.texts, pa.string())

    @cached_property
    def _by_text(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for token, text in enumerate(self.texts):
            if text is not None:
                found.setdefault(text, token)
        return found

    def token(self, text: str) -> int | None:
        """The first id with this text; None where no single token has it."""
        return self._by_text.get(text)

    def word_tokens(self) -> list[int]:
        """Tokens that begin a word: a space, then at least three letters."""
        return [
            token
            for token, text in enumerate(self.texts)
            if text is not None and len(text) > 3 and text[0] == " " and text[1:].isalpha()
        ]

    def fragment_tokens(self) -> list[int]:
        """Tokens that go on with a word: two letters or more, without a space in front."""
        return [
            token
            for token, text in enumerate(self.texts)
            if text is not None and len(text) > 1 and text.isalpha()
        ]
