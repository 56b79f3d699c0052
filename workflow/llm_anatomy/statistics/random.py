"""Keyed random numbers: a draw depends on its key and on nothing that ran before.

A key begins with the configuration's seed and the draw's purpose, then says what the draw belongs
to, so that every purpose has a stream of its own and numbers do not depend on the order of work.
"""

import hashlib

import numpy as np


def keyed_generator(*key: str | int | float, position: int = 0) -> np.random.Generator:
    """A generator for one key and position.

    Draws for one position do not depend on how many positions there are, on batch layout or on
    other draws; numpy's and torch's global generators stay untouched.

    Args:
        key: What the draw belongs to, such as seed, manipulation, layer and example.
        position: Absolute token position, a counter beside the key.
    """
    words = np.frombuffer(_digest(key)[:16], dtype="<u8").astype(np.uint64)
    return np.random.Generator(np.random.Philox(key=words, counter=[0, 0, position, 0]))


def keyed_state(*key: str | int | float) -> int:
    """The same as a seed, from 0 to 2^32 - 1: scikit-learn's `random_state`, torch's generators."""
    return int.from_bytes(_digest(key)[:4], "little")


def _digest(key: tuple[str | int | float, ...]) -> bytes:
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return hashlib.sha256(text.encode()).digest()
