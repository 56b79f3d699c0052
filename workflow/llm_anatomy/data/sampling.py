"""Seeded samples in one pass, independent of the order of reading."""

import hashlib
import heapq
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.intake import Intake


@runtime_checkable
class Numbered(Protocol):
    """Anything with a position in its source."""

    @property
    def number(self) -> int:
        """Position in the source, from 1."""


T = TypeVar("T", bound=Numbered)


def lowest(items: Iterable[T], limit: int | None, seed: int) -> tuple[list[T], int]:
    """The `limit` items of lowest pseudo-random rank, in source order, and how many there were.

    An item's rank depends on the seed and its position alone, so that a sample of 100 is part of
    the sample of 200 with the same seed.
    """
    if limit is None:
        every = list(items)
        return every, len(every)
    total = 0

    def ranked() -> Iterator[tuple[bytes, int, T]]:
        nonlocal total
        for item in items:
            total += 1
            yield rank(item.number, seed), item.number, item

    drawn = [item for _, _, item in heapq.nsmallest(limit, ranked())]
    return sorted(drawn, key=lambda item: item.number), total


def rank(number: int, seed: int) -> bytes:
    """The pseudo-random rank of a position."""
    return hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=16).digest()


def count_undrawn(rows: int, dataset: Dataset, intake: Intake) -> None:
    """Set the rows aside that a sample left out, naming the keys that asked for it."""
    if rows:
        keys = [f"max_rows: {dataset.max_rows}"] if dataset.max_rows else []
        keys += [f"balance: {dataset.balance}"] if dataset.balance else []
        intake.set_aside(f"not drawn ({', '.join(keys)})", "", rows)
