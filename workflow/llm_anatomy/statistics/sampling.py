"""Samples of rows that always hold the rows that are asked for, and shares of rows."""

from collections.abc import Iterable, Sequence


def sample_rows(order: Iterable[int], wanted: Sequence[bool], limit: int | None) -> list[int]:
    """Rows of a sample, ascending: wanted rows first, then the others in a random order.

    Args:
        order: All rows in a random order.
        wanted: Of each row, whether the sample must hold it as long as there is room.
        limit: Most rows of the sample; None for all.
    """
    first = sorted(order, key=lambda row: not wanted[row])  # stable: keeps the random order
    return sorted(first[:limit])


def shard_slice(rows: int, shard: int, shards: int) -> slice:
    """The rows of one shard, counted from 1; together the shards have every row once."""
    return slice(rows * (shard - 1) // shards, rows * shard // shards)
