"""Texts to token batches, length-sorted, under a budget of tokens.

`equal_length_batches` groups texts of the same length only, so nothing is padded: another padded
length rounds differently, while torch's kernels compute the rows of a batch alike, up to rounding
that depends on the library behind them. `token_budget_batches` pads, for work such as generation
where that does not matter. `text_batches` chooses for the studies of texts.

Right padding leaves the real positions of a causal model untouched: no real token can attend to a
pad behind it, positions count from zero, and no mask is needed. The pads' own states are garbage
and every reduction must leave them out (`Batch.mask`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from llm_anatomy.model.run.tokenizer import TextTokenizer


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of texts, in the order given.

    Attributes:
        ids: One list of token ids per text.
        truncated: Whether a text was longer than `max_length` and lost its end.
        control_tokens: How many control tokens the characters of a text would make.
    """

    ids: list[list[int]]
    truncated: list[bool]
    control_tokens: list[int]


@dataclass(frozen=True)
class Batch:
    """Texts of similar length in one right-padded tensor.

    Attributes:
        rows: Index of each row's text in the encoded texts.
        input_ids: Token ids, padded on the right.
        lengths: Real tokens per row.
    """

    rows: list[int]
    input_ids: Int[Tensor, "batch tokens"]
    lengths: Int[Tensor, " batch"]

    @property
    def last(self) -> Int[Tensor, " batch"]:
        """Position of each row's last real token."""
        return self.lengths - 1

    @property
    def mask(self) -> Bool[Tensor, "batch tokens"]:
        """True at real tokens."""
        positions = torch.arange(self.input_ids.shape[1], device=self.input_ids.device)
        return positions[None, :] < self.lengths[:, None]


def context_length(config: Any) -> int | None:
    """Most positions a model was built for, or None when its configuration does not say."""
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(config, key, None)
        if isinstance(value, int):
            return value
    return None


def readable_tokens(config: Any, wanted: int) -> int:
    """As many tokens as are wanted, or as the model reads where that is fewer."""
    return min(wanted, context_length(config) or wanted)


def encode(tokenizer: Any, texts: Sequence[str], max_length: int | None) -> EncodedTexts:
    """Tokenise texts with the tokenizer's own special tokens, cutting each at `max_length`."""
    reader = TextTokenizer.of(tokenizer)
    ids: list[list[int]] = reader(list(texts), add_special_tokens=True)["input_ids"]
    counts, limit = reader.warn(texts, "texts"), max(map(len, ids), default=0)
    limit = limit if max_length is None else max_length
    return EncodedTexts([row[:limit] for row in ids], [len(row) > limit for row in ids], counts)


def text_batches(
    ids: Sequence[Sequence[int]], budget: int, device: torch.device
) -> Iterator[Batch]:
    """Batches of texts for a pass whose numbers are kept.

    On a processor texts of one length each: bytes do not depend on what else is in the batch. On a
    card few texts of one length would leave it idle, so texts are padded; its numbers depend on a
    batch's shape in their last bits either way.
    """
    batches = equal_length_batches if device.type == "cpu" else token_budget_batches
    return batches(ids, budget, device=device)


def equal_length_batches(
    ids: Sequence[Sequence[int]], budget: int, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """Group token rows of one length each, so that rows x length stays within `budget`."""
    by_length: dict[int, list[int]] = {}
    for index, row in enumerate(ids):
        by_length.setdefault(len(row), []).append(index)
    for length, rows in sorted(by_length.items()):
        size = max(1, budget // max(1, length))
        for start in range(0, len(rows), size):
            yield _pad(ids, rows[start : start + size], 0, device)


def token_budget_batches(
    ids: Sequence[Sequence[int]], budget: int, pad_id: int = 0, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """Group token rows of similar length so that rows x longest row stays within `budget`.

    A row longer than the budget makes a batch of its own. Ties are broken by position, so the
    batches depend only on the arguments.
    """
    order = sorted(range(len(ids)), key=lambda row: (len(ids[row]), row))
    group: list[int] = []
    for row in order:
        # Rows come in growing length: the newest is the longest.
        if group and (len(group) + 1) * len(ids[row]) > budget:
            yield _pad(ids, group, pad_id, device)
            group = []
        group.append(row)
    if group:
        yield _pad(ids, group, pad_id, device)


def _pad(
    ids: Sequence[Sequence[int]], rows: list[int], pad_id: int, device: torch.device | str
) -> Batch:
    lengths = [len(ids[row]) for row in rows]
    padded = torch.full((len(rows), max(lengths)), pad_id, dtype=torch.long)
    for index, row in enumerate(rows):
        padded[index, : lengths[index]] = torch.tensor(ids[row], dtype=torch.long)
    return Batch(rows, padded.to(device), torch.tensor(lengths, device=device))
