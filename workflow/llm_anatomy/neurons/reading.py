"""The texts on which neurons are watched: a seeded sample under a budget of tokens."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from llm_anatomy.errors import UserError
from llm_anatomy.model.run.batching import encode
from llm_anatomy.statistics.sampling import shard_slice

logger = logging.getLogger(__name__)

# Texts that are tokenised at once, until the budget is spent.
CHUNK = 256


@dataclass(frozen=True)
class ReadTexts:
    """Texts to read, in the order in which they are configured.

    Attributes:
        datasets: Data set of every text.
        text_ids: Its id there.
        ids: Its tokens.
        counts: What became of all texts: `texts` in all, and of those `read`, `copies` of a text
            that is read, `short` ones, which leave no position to count, and `unread` ones, for
            which the budget does not suffice; `cut` of those read, and their `tokens`.
        first: The first text's place among all texts of the run.
    """

    datasets: list[str]
    text_ids: list[str]
    ids: list[list[int]]
    counts: dict[str, int]
    first: int = 0

    def shard(self, shard: int, shards: int) -> "ReadTexts":
        """One part of the texts, counted from 1; the counts stay those of all."""
        part = shard_slice(len(self.ids), shard, shards)
        return ReadTexts(
            self.datasets[part],
            self.text_ids[part],
            self.ids[part],
            self.counts,
            self.first + part.start,
        )


def choose_texts(
    tokenizer: Any,
    texts: Mapping[str, pd.DataFrame],
    budget: int,
    max_length: int,
    shortest: int,
    generator: np.random.Generator,
    key: str,
) -> ReadTexts:
    """Take texts in a random order until the next one would go beyond the budget of tokens.

    A text whose tokens are those of another one counts once: it would stand beside it in every list
    of contexts.

    Args:
        tokenizer: The model's tokenizer.
        texts: Rows of `TEXTS` by data set, in the order of the configuration.
        budget: Most tokens.
        max_length: Tokens kept of every text.
        shortest: Fewest tokens that a text must have.
        generator: Where the order comes from.
        key: The configuration's key of the budget, for the message.

    Raises:
        UserError: No text can be read.
    """
    rows = [(name, row) for name, frame in texts.items() for row in range(len(frame))]
    order = generator.permutation(len(rows))
    chosen: dict[int, list[int]] = {}
    seen: set[tuple[int, ...]] = set()
    spent = short = copies = cut = looked_at = 0
    full = False
    for start in range(0, len(rows), CHUNK):
        chunk = order[start : start + CHUNK]
        words = [str(texts[rows[at][0]]["text"].iloc[rows[at][1]]) for at in chunk]
        encoded = encode(tokenizer, words, max_length)
        for at, ids, truncated in zip(chunk, encoded.ids, encoded.truncated, strict=True):
            if len(ids) < shortest:
                short += 1
            elif tuple(ids) in seen:
                copies += 1
            elif spent + len(ids) > budget:
                full = True
                break
            else:
                seen.add(tuple(ids))
                chosen[int(at)] = ids
                spent += len(ids)
                cut += truncated
            looked_at += 1
        if full:
            break
    if not chosen:
        raise UserError(
            f"{', '.join(texts)}: of {len(rows)} texts none has at least {shortest} tokens and "
            f"fits a budget of {budget}; raise {key}, or name other data"
        )
    counts = {
        "texts": len(rows),
        "read": len(chosen),
        "copies": copies,
        "short": short,
        "unread": len(rows) - looked_at,
        "cut": cut,
        "tokens": spent,
    }
    logger.info("%s", ", ".join(f"{name}: {count}" for name, count in counts.items()))
    places = sorted(chosen)
    return ReadTexts(
        [rows[at][0] for at in places],
        [str(texts[rows[at][0]]["text_id"].iloc[rows[at][1]]) for at in places],
        [chosen[at] for at in places],
        counts,
    )


def tokens_in_row(ids: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """All texts' tokens one behind the other, and where each text begins."""
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    return np.concatenate([np.asarray(row, dtype=np.int32) for row in ids]), np.concatenate(
        [[0], np.cumsum(lengths)]
    )
