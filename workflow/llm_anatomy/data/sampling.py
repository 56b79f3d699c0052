"""Seeded samples in one pass that hold no more than they draw."""

import heapq
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar, runtime_checkable

from llm_anatomy.config.datasets import Dataset
from llm_anatomy.data.intake import Intake
from llm_anatomy.statistics.random import Purpose, keyed_rank


@runtime_checkable
class Numbered(Protocol):
    """Anything with a position in its source."""

    @property
    def number(self) -> int:
        """Position in the source, from 1."""


T = TypeVar("T", bound=Numbered)


class Sample(Generic[T]):
    """The items of lowest pseudo-random rank among all that were offered.

    An item's rank depends on the seed and its position alone, so that a sample of 100 is part of
    the sample of 200 with the same seed.
    """

    def __init__(self, limit: int | None, seed: int) -> None:
        self.limit, self.seed = limit, seed
        self.offered = 0
        # Highest rank first, so that it is the one that a lower rank pushes out.
        self._heap: list[tuple[int, int, T]] = []

    def offer(self, item: T) -> None:
        """Count an item, and keep it if its rank is low enough so far."""
        self.offered += 1
        entry = (-rank(item.number, self.seed), item.number, item)
        if self.limit is None or len(self._heap) < self.limit:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def drawn(self, limit: int | None = None) -> list[T]:
        """The kept items (or the `limit` lowest-ranked of them) in source order."""
        kept = heapq.nlargest(len(self._heap) if limit is None else limit, self._heap)
        return sorted((item for _, _, item in kept), key=lambda item: item.number)


def lowest(items: Iterable[T], limit: int | None, seed: int) -> tuple[list[T], int]:
    """The sample of `limit` items in source order, and how many there were."""
    sample = Sample[T](limit, seed)
    for item in items:
        sample.offer(item)
    return sample.drawn(), sample.offered


def rank(number: int, seed: int) -> int:
    """The pseudo-random rank of a position."""
    return keyed_rank(seed, Purpose.DATA_SAMPLE, number)


def count_undrawn(rows: int, dataset: Dataset, intake: Intake) -> None:
    """Set the rows aside that a sample left out, naming the keys that asked for it."""
    if rows:
        keys = [f"max_rows: {dataset.max_rows}"] if dataset.max_rows else []
        keys += [f"balance: {dataset.balance}"] if dataset.balance else []
        intake.set_aside(f"not drawn ({', '.join(keys)})", "", rows)
