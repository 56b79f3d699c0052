"""Random numbers that depend on the seed and on what they are drawn for, and on nothing that ran
before; numpy's and torch's global generators stay untouched.
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
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    digest = hashlib.sha256(text.encode()).digest()
    words = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
    return np.random.Generator(np.random.Philox(key=words, counter=[0, 0, position, 0]))


def seeded_generator(seed: int, *place: int) -> np.random.Generator:
    """A generator for the configuration's seed and what is counted within it.

    Args:
        seed: The seed.
        place: Numbers that tell the draws of one purpose apart, such as layer and neuron.
    """
    return np.random.default_rng([seed, *place])
