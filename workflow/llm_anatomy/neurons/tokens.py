"""Tokens as text, and words as tokens, from `tokenizer.json` alone."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from llm_anatomy.config.neurons import Concept
from llm_anatomy.errors import UserError


@dataclass(frozen=True)
class Spelling:
    """One spelling of a word, and its token if it is a single one."""

    text: str
    token_id: int | None


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

    @cached_property
    def _by_text(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for token, text in enumerate(self.texts):
            if text is not None:
                found.setdefault(text, token)
        return found

    def spellings(self, concept: Concept) -> list[Spelling]:
        """A concept's words with and without a leading space, in lower, title and upper case.

        The first spelling that is a token is the concept's main token.

        Raises:
            UserError: None of them is a single token.
        """
        texts: dict[str, None] = {}
        for word in (word.strip() for word in concept.words if word.strip()):
            for cased in (word, word.lower(), word[0].upper() + word[1:], word.upper()):
                texts[f" {cased}"] = texts[cased] = None
        spellings = [Spelling(text, self._by_text.get(text)) for text in texts]
        if all(spelling.token_id is None for spelling in spellings):
            raise UserError(
                f"neurons.search.concepts: no spelling of '{concept.name}' "
                f"({', '.join(repr(text) for text in texts)}) is one token of this model's "
                "vocabulary; choose a more frequent word"
            )
        return spellings

    def concept_ids(self, concept: Concept) -> list[int]:
        """Distinct tokens of a concept, the main token first; raises as `spellings`."""
        found = [s.token_id for s in self.spellings(concept) if s.token_id is not None]
        return list(dict.fromkeys(found))

    def word_tokens(self) -> list[int]:
        """Tokens that begin a word: a space, then at least three letters."""
        return [
            token
            for token, text in enumerate(self.texts)
            if text is not None and len(text) > 3 and text[0] == " " and text[1:].isalpha()
        ]
