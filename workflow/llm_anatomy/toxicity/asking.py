"""Texts as prompts: the model is asked each text in its chat template, and does not answer.

One pass gives both things that detectors of the field read: the logits of the first token of the
answer (Hu et al., arXiv 2405.18822, "Toxicity Detection for Free") and the hidden states of the
text's own tokens at one layer. Tokens of the template take part in neither, and neither does the
token that begins every text. A model without a chat template reads the text itself, and its first
token is what it would write next.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from llm_anatomy.config.detectors import DetectorComparison
from llm_anatomy.config.models import Chat
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import Batch, equal_length_batches
from llm_anatomy.model.run.hooks import first_tensor, hooked
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.prompts import chat_ids, chat_provenance, has_chat, raw_ids
from llm_anatomy.model.run.readout import computing_type, unembedding_of
from llm_anatomy.progress import Progress
from llm_anatomy.toxicity.first_token import answer_features
from llm_anatomy.toxicity.token_probes import Tokens

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AskedText:
    """The tokens of a prompt: what the template writes around a text, and the text.

    Attributes:
        before: Tokens of the template before the text.
        text: Tokens of the text.
        behind: Tokens of the template behind it, up to where the answer begins.
        cut: Whether the text was longer and lost its end.
    """

    before: list[int]
    text: list[int]
    behind: list[int]
    cut: bool


@dataclass(frozen=True)
class Readings:
    """What a model's first answer tokens and token states say of texts, in the order given.

    Attributes:
        logits: Logits of the first token of the answer.
        states: States of the texts' tokens, one text behind the other.
        lengths: Tokens of each text.
        behind: Tokens that the template writes behind each text.
        cut: Whether a text lost its end.
        tokens: Token ids of each text.
    """

    logits: Float[ndarray, "texts vocab"]
    states: Float[ndarray, "tokens d_model"]
    lengths: Int[ndarray, " texts"]
    behind: Int[ndarray, " texts"]
    cut: list[bool]
    tokens: list[list[int]]


@dataclass(frozen=True)
class Asked:
    """What a model says of texts that it is asked, as detectors read it.

    Attributes:
        text_ids: The texts.
        features: f* of every token, of the first token of the answer (`first_token`).
        tokens: States of the texts' own tokens.
        behind: Tokens of the template that are read behind each text.
        layer: The block behind which states were read.
        words: Every token of the vocabulary as text; None for ids without one.
        cut: Whether a text lost its end.
    """

    text_ids: Sequence[str]
    features: Float[ndarray, "texts vocab"]
    tokens: Tokens
    behind: Int[ndarray, " texts"]
    layer: int
    words: Sequence[str | None]
    cut: Bool[ndarray, " texts"]


def ask(
    loaded: LoadedModel,
    texts: pd.DataFrame,
    chat: Chat,
    settings: DetectorComparison,
    words: Sequence[str | None],
    batch_tokens: int,
) -> Asked:
    """Ask the model every text of a data set.

    Args:
        loaded: The model.
        texts: The table of texts.
        chat: How the model is asked.
        settings: Tokens of a text, and the depth of its states.
        words: The vocabulary as text.
        batch_tokens: Most tokens in one pass.
    """
    layer = state_layer(settings.depth, loaded.decoder.n_layers)
    strings = list(texts["text"])
    read = read_prompts(loaded, strings, chat, settings.max_length, layer, batch_tokens)
    logger.info(
        "%d texts asked, %d cut at %d tokens", len(strings), sum(read.cut), settings.max_length
    )
    return Asked(
        list(texts["text_id"]),
        answer_features(read.logits),
        Tokens(read.states, read.lengths),
        read.behind,
        layer,
        words,
        np.array(read.cut, dtype=bool),
    )


def asking_record(tokenizer: Any, chat: Chat) -> dict[str, Any]:
    """How a model is asked, as a kept detector says it: the settings, and the template's record."""
    return {
        "chat": chat.model_dump(mode="json"),
        "chat_record": chat_provenance(tokenizer, chat),
    }


def state_layer(depth: float, n_layers: int) -> int:
    """The layer at a share of a model's depth; 1 is the last."""
    return max(0, round(depth * n_layers) - 1)


def asked_texts(
    tokenizer: Any, texts: Sequence[str], chat: Chat, max_length: int
) -> list[AskedText]:
    """Put texts into the chat template, and find their own tokens in it.

    The template's tokens are those that two other messages share; where a text's first or last
    characters make one token with the template's, that token counts to the text.

    Args:
        tokenizer: The model's.
        texts: The texts.
        chat: How the model is asked.
        max_length: Most tokens of a text; the rest is cut, and the template closed behind it.
    """
    if not has_chat(tokenizer, chat):
        raw = [raw_ids(tokenizer, text) for text in texts]
        return [_raw_text(row, tokenizer.bos_token_id, max_length) for row in raw]
    one, other = (chat_ids(tokenizer, message, chat) for message in ("a", "7"))
    before, behind = _shared(one, other), _shared(one[::-1], other[::-1])[::-1]
    asked = []
    for text in texts:
        ids = chat_ids(tokenizer, text, chat)
        start = len(_shared(ids, before))
        end = len(_shared(ids[start:][::-1], behind[::-1]))
        # A text that is one with the template is read by the last token before it.
        start = min(start, len(ids) - end - 1)
        own = ids[start : len(ids) - end]
        kept = own[:max_length]
        asked.append(AskedText(ids[:start], kept, ids[len(ids) - end :], len(own) > max_length))
    return asked


def _raw_text(ids: list[int], bos: int | None, max_length: int) -> AskedText:
    """A text without a template: the beginning of every text is no token of its own."""
    start = int(len(ids) > 1 and ids[0] == bos)
    own = ids[start:]
    return AskedText(ids[:start], own[:max_length], [], len(own) > max_length)


def read_prompts(
    loaded: LoadedModel,
    texts: Sequence[str],
    chat: Chat,
    max_length: int,
    layer: int,
    batch_tokens: int,
) -> Readings:
    """Ask the model every text once, without an answer.

    What the template writes before every text is read once, and its keys and values are used for
    all of them.

    Args:
        loaded: The model.
        texts: The texts; each has a token.
        chat: How the model is asked.
        max_length: Most tokens of a text.
        layer: The block behind which token states are read.
        batch_tokens: Most tokens in one pass.
    """
    decoder = loaded.decoder
    asked = asked_texts(loaded.tokenizer, texts, chat, max_length)
    lengths = np.array([len(prompt.text) for prompt in asked], dtype=np.int64)
    template = np.array([len(prompt.behind) for prompt in asked], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    logits = np.empty((len(asked), decoder.vocab_size), dtype=np.float32)
    states = np.empty((int(offsets[-1]), decoder.d_model), dtype=np.float32)
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, prompt in enumerate(asked):
        groups.setdefault(tuple(prompt.before), []).append(row)
    with torch.inference_mode(), Progress(int(lengths.sum()), "tokens", "read_prompts") as progress:
        for before, rows in groups.items():
            reader = _PromptReader(decoder, list(before), layer)
            behind = [asked[row].text + asked[row].behind for row in rows]
            for batch in equal_length_batches(behind, batch_tokens, device=decoder.device):
                last, of_tokens = reader.read(batch)
                for place, local in enumerate(batch.rows):
                    row = rows[local]
                    logits[row] = last[place]
                    own = slice(offsets[row], offsets[row + 1])
                    states[own] = of_tokens[place, : lengths[row]]
                    progress.advance(int(lengths[row]))
    cut, tokens = [prompt.cut for prompt in asked], [prompt.text for prompt in asked]
    return Readings(logits, states, lengths, template, cut, tokens)


class _PromptReader:
    """A model that has read the beginning of a prompt, and goes on with many ends of it."""

    def __init__(self, decoder: Decoder, before: list[int], layer: int) -> None:
        self._decoder, self._layer, self._cache = decoder, layer, None
        self._dtype = computing_type(decoder)
        if before:
            ids = torch.tensor([before], device=decoder.device)
            self._cache = decoder.body(input_ids=ids, use_cache=True).past_key_values

    def read(self, batch: Batch) -> tuple[Float[ndarray, "rows vocab"], Float[ndarray, "..."]]:
        """Logits behind the last token [rows, vocab], and states of all [rows, tokens, d_model]."""
        cache = copy.deepcopy(self._cache)
        if cache is not None:
            cache.batch_repeat_interleave(len(batch.rows))
        kept: list[Tensor] = []

        def keep(module: Any, args: Any, output: Any) -> None:
            kept.append(first_tensor(output))

        with hooked(forward={self._decoder.blocks[self._layer].module: keep}):
            output = self._decoder.body(
                input_ids=batch.input_ids, past_key_values=cache, use_cache=cache is not None
            )
        last = unembedding_of(self._decoder).unembed(output.last_hidden_state[:, -1])
        return last.cpu().numpy(), kept[0].to(self._dtype).cpu().numpy()


def _shared(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """The tokens with which both begin."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return [token for token, _ in pairs]
