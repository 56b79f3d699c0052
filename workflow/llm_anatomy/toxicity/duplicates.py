"""Copies among texts: the same text, or nearly.

Two texts are copies when the Jaccard index of their sets of character 5-grams, |A ∩ B| / |A ∪ B|,
reaches a threshold. Letter case, Unicode compatibility forms and white space do not count. Pairs
are found through MinHash signatures in bands (Broder 1997), and every pair found is then compared
exactly.
"""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt64
from numpy import ndarray
from numpy.lib.stride_tricks import sliding_window_view

SHINGLE = 5
BANDS, ROWS = 24, 4
# Templates can put thousands of texts into one band; each then meets only the first ones in it.
BAND_PARTNERS = 32
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Copies:
    """Two texts that are copies of each other, by index; `first` < `second`."""

    first: int
    second: int
    similarity: float


def normalised(text: str) -> str:
    """The text without differences of case, compatibility forms and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def shingles(text: str) -> UInt64[ndarray, " n"]:
    """Hashes of the distinct character 5-grams of a text; a shorter text is one shingle."""
    codes = np.frombuffer(normalised(text).encode("utf-32-le"), dtype=np.uint32)
    if len(codes) < SHINGLE:
        digest = hashlib.blake2b(codes.tobytes(), digest_size=8).digest()
        return np.frombuffer(digest, dtype=np.uint64)
    windows = sliding_window_view(codes.astype(np.uint64), SHINGLE)
    hashes = np.zeros(len(windows), dtype=np.uint64)
    for column in windows.T:
        hashes = _mix(hashes ^ column)
    return np.unique(hashes)


def find_copies(texts: Sequence[str], similarity: float) -> list[Copies]:
    """All pairs of copies, in order.

    A pair at Jaccard index s is found with probability 1 - (1 - s^4)^24: above 1 - 1e-5 at 0.8.
    Of more than 32 texts that agree in a band each is compared with the first 32 only, which is
    enough to put them all into one set.

    Args:
        texts: The texts.
        similarity: Least Jaccard index of a pair.
    """
    sets = [shingles(text) for text in texts]
    pairs: list[Copies] = []
    for first, second in sorted(_candidates(sets)):
        shared = len(np.intersect1d(sets[first], sets[second], assume_unique=True))
        index = shared / (len(sets[first]) + len(sets[second]) - shared)
        if index >= similarity:
            pairs.append(Copies(first, second, index))
    return pairs


def copy_sets(n_texts: int, pairs: Iterable[Copies]) -> Int[ndarray, " texts"]:
    """Number of the set that each text belongs to; chains of copies are one set."""
    parent = list(range(n_texts))

    def root(text: int) -> int:
        while parent[text] != text:
            parent[text] = parent[parent[text]]
            text = parent[text]
        return text

    for pair in pairs:
        low, high = sorted((root(pair.first), root(pair.second)))
        parent[high] = low
    return np.unique([root(text) for text in range(n_texts)], return_inverse=True)[1]


def _candidates(sets: Sequence[ndarray]) -> set[tuple[int, int]]:
    signatures = _signatures(sets)
    pairs: set[tuple[int, int]] = set()
    for band in range(BANDS):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for text, row in enumerate(signatures[:, band * ROWS : (band + 1) * ROWS]):
            members = buckets[row.tobytes()]
            pairs.update((other, text) for other in members[:BAND_PARTNERS])
            members.append(text)
    return pairs


def _signatures(sets: Sequence[ndarray]) -> UInt64[ndarray, "texts hashes"]:
    """Smallest hash of each text's shingles under every one of the hash functions."""
    hashes = BANDS * ROWS
    result = np.empty((len(sets), hashes), dtype=np.uint64)
    starts = np.cumsum([0, *(len(s) for s in sets[:-1])])
    joined = np.concatenate(sets)
    for number in range(hashes):
        salt = _mix(np.array([number + 1], dtype=np.uint64))[0]
        result[:, number] = np.minimum.reduceat(_mix(joined ^ salt), starts)
    return result


def _mix(values: ndarray) -> ndarray:
    """The finaliser of SplitMix64: a well-mixed bijection of 64-bit numbers."""
    values = values + _MULTIPLIER
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: ndarray = values ^ (values >> np.uint64(31))
    return mixed
