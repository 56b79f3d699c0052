"""A prepared model's tokenizer, which reads the control tokens of a user's text as text.

Control tokens steer a model: the end of a text, the turns of a chat, the bounds of its thoughts.
Where a data set holds the characters of one, such as `<|im_end|>`, a tokenizer makes the token of
it, and the text ends or changes its speaker there. transformers' own `split_special_tokens` leaves
out tokens that are added without being special, and those that lie in the vocabulary of the
tokenizer's model. So texts that hold one go through a second tokenizer, in which control tokens
have names that no text has; all other texts see the model's own.
"""

import copy
import json
import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from llm_anatomy.model.source.record import read_record

logger = logging.getLogger(__name__)

ControlTokens = Literal["text", "tokens"]
# Characters that Unicode keeps for a program's own use: no text that is interchanged has them.
_OPEN, _CLOSE, _BREAK = "\ufdd0", "\ufdd1", "\ufdd2"


def read_tokenizer(provenance: Path) -> tuple[Any, int | None]:
    """The tokenizer, and most tokens that the model reads; none where its configuration is silent.

    Args:
        provenance: The model's `provenance.json`, beside which its `weights/` lie.
    """
    from transformers import AutoConfig

    weights, record = provenance.parent / "weights", read_record(provenance)
    config = AutoConfig.from_pretrained(weights, local_files_only=True).get_text_config()
    tokenizer = open_tokenizer(weights, record)
    return tokenizer, getattr(config, "max_position_embeddings", None)


def open_tokenizer(weights: Path, record: Mapping[str, Any]) -> "TextTokenizer":
    """The tokenizer of a prepared model.

    Args:
        weights: The model's `weights/`.
        record: Its provenance record.
    """
    from transformers import AutoTokenizer

    trust = bool(record.get("trust_remote_code", False))
    tokenizer = AutoTokenizer.from_pretrained(
        weights, local_files_only=True, trust_remote_code=trust
    )
    return TextTokenizer(tokenizer, record.get("control_tokens", "text"))


class TextTokenizer:
    """A transformers tokenizer, called in the same way, with a say about control tokens in texts.

    Args:
        tokenizer: The tokenizer, a fast one.
        control_tokens: Whether texts that hold a control token's characters are read as `text`, or
            with its `tokens`, as the tokenizer itself would.
    """

    def __init__(self, tokenizer: Any, control_tokens: ControlTokens = "text") -> None:
        self.own = tokenizer
        self.control_tokens = control_tokens

    @classmethod
    def of(cls, tokenizer: Any) -> "TextTokenizer":
        """A tokenizer that reads texts as text; one that is this already stays as it is."""
        return tokenizer if isinstance(tokenizer, cls) else cls(tokenizer)

    def __getattr__(self, name: str) -> Any:
        if name == "own":
            raise AttributeError(name)
        return getattr(self.own, name)

    def __len__(self) -> int:
        return len(self.own)

    @cached_property
    def controls(self) -> dict[int, str]:
        """Control tokens by id: special ones, `<|…|>`, and added ones of the chat template."""
        template = json.dumps(self.own.chat_template or "", ensure_ascii=False)
        return {
            token: added.content
            for token, added in self.own.added_tokens_decoder.items()
            # A lone character may be marked, too, and is what it is.
            if len(added.content.strip()) > 1
            and (
                added.special
                or re.fullmatch(r"<\|.+\|>", added.content.strip())
                or (re.fullmatch(r"\W.*\W", added.content) and added.content in template)
            )
        }

    def counts(self, texts: Sequence[str]) -> list[int]:
        """How many control tokens the tokenizer itself would make of each text."""
        if not len(texts) or not self.controls:
            return [0] * len(texts)
        unknown = self.own.unk_token_id
        encoded = self.own(list(texts), add_special_tokens=False)["input_ids"]
        return [
            sum(
                token in self.controls
                # What the vocabulary cannot write is no control token that a text holds.
                and (token != unknown or self.controls[token] in text)
                for token in ids
            )
            for text, ids in zip(texts, encoded, strict=True)
        ]

    def warn(self, texts: Sequence[str], what: str) -> list[int]:
        """Count control tokens as `counts` does, and say in the log how many texts hold one."""
        counts = self.counts(texts)
        if any(counts):
            logger.warning(
                "%d of %d %s hold characters of control tokens, which are read as %s (key "
                "'control_tokens' of the model)",
                sum(map(bool, counts)),
                len(counts),
                what,
                self.control_tokens,
            )
        return counts

    def __call__(self, text: str | Sequence[str], **options: Any) -> Any:
        """Tokenise one text or several, as the tokenizer does that this stands for."""
        encoded = self.own(text, **options)
        if self.control_tokens == "tokens":
            return encoded
        texts = [text] if isinstance(text, str) else list(text)
        for row, count in enumerate(self.counts(texts)):
            if count:
                again = self._plain(_without_marks(texts[row]), **options)
                for key, value in again.items():
                    if isinstance(text, str):
                        encoded[key] = value
                    else:
                        encoded[key][row] = value
        return encoded

    def chat(self, rendered: str) -> list[int]:
        """Token ids of a rendered chat; `guard` has marked the characters that users gave."""
        marked = _BREAK in rendered
        for token, content in sorted(self.controls.items(), key=lambda item: -len(item[1])):
            if marked:
                rendered = rendered.replace(content, _name(token))
        # The template writes the special tokens itself.
        tokenizer = self._plain if marked else self.own
        ids: list[int] = tokenizer(rendered.replace(_BREAK, ""), add_special_tokens=False)[
            "input_ids"
        ]
        return ids

    def guard(self, text: str) -> str:
        """A user's part of a chat, in which characters of control tokens stay text."""
        if self.control_tokens == "tokens":
            return text
        text = _without_marks(text)
        for content in sorted(self.controls.values(), key=len, reverse=True):
            text = text.replace(content, content[0] + _BREAK + content[1:])
        return text

    @cached_property
    def _plain(self) -> Any:
        """The tokenizer with control tokens under names that no text has."""
        from tokenizers import Tokenizer

        state = json.loads(self.own.backend_tokenizer.to_str())
        model = state["model"]
        names = {content: _name(token) for token, content in self.controls.items()}
        unknown = model.get("unk_token")
        vocabulary = model["vocab"]
        if isinstance(vocabulary, dict):
            # By its own name the model finds what it cannot write.
            known = names.keys() - {unknown}
            model["vocab"] = {
                names[token] if token in known else token: i for token, i in vocabulary.items()
            }
            merges = [
                pair.split(" ") if isinstance(pair, str) else pair
                for pair in model.get("merges", [])
            ]
            if merges:
                model["merges"] = [pair for pair in merges if "".join(pair) not in known]
        else:
            model["vocab"] = [[names.get(token, token), score] for token, score in vocabulary]
        added = state["added_tokens"]
        if isinstance(vocabulary, dict) and unknown in vocabulary:
            added = [token for token in added if token["content"] != unknown]
        state["added_tokens"] = [
            token | {"content": names[token["content"]], "normalized": False, "special": True}
            if token["id"] in self.controls
            else token
            for token in added
        ]
        plain = copy.deepcopy(self.own)
        plain._tokenizer = Tokenizer.from_str(json.dumps(state))
        return plain


def _name(token: int) -> str:
    return f"{_OPEN}{token}{_CLOSE}"


def _without_marks(text: str) -> str:
    return re.sub(f"[{_OPEN}{_CLOSE}{_BREAK}]", "\ufffd", text)
