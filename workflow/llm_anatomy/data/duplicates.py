"""Copies among texts: the same text, or nearly.

Two texts are copies when the Jaccard index of their sets of character 5-grams, |A ∩ B| / |A ∪ B|,
reaches a threshold. Letter case, Unicode compatibility forms and white space do not count. Pairs
are found through MinHash signatures in bands (Broder 1997; Leskovec, Rajaraman and Ullman, Mining
of Massive Datasets, section 3.4), and every pair found is then compared exactly.
"""

import hashlib
import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd
from jaxtyping import Int, UInt64
from numpy import ndarray
from numpy.lib.stride_tricks import sliding_window_view

SHINGLE = 5
GROUP = "group"
# Fewest bands, and most hash functions of a band and of all bands together.
LEAST_BANDS, MOST_ROWS, MOST_HASHES = 24, 4, 512
# Largest share of the pairs just at the threshold that no band finds.
MISSED = 1e-3
# Templates can put thousands of texts into one bucket; of one set each meets the first ones only.
BUCKET_PARTNERS = 32
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

    A pair at Jaccard index s is found with probability 1 - (1 - s^rows)^bands (`banding`): at least
    0.999 at the threshold, above 1 - 1e-5 at 0.8. Of more than 32 texts in one bucket that are
    known to be one set each is compared with the first 32 only; the sets do not change by it.

    Args:
        texts: The texts.
        similarity: Least Jaccard index of a pair, above 0; below 0.3 nearly all texts meet.
    """
    if not texts:
        return []
    sets: dict[bytes, ndarray] = {}
    groups: dict[bytes, list[int]] = defaultdict(list)
    for text, found in enumerate(map(shingles, texts)):
        # Texts with the same shingles are searched for once.
        groups[found.tobytes()].append(text)
        sets[found.tobytes()] = found
    search = _Search(list(sets.values()), similarity)
    bands, rows = banding(similarity)
    for band in range(bands):
        for bucket in _buckets(search.sets, band, rows):
            search.compare(bucket)
    pairs = _expanded(list(groups.values()), search.found)
    return [Copies(first, second, index) for (first, second), index in sorted(pairs.items())]


def _expanded(
    groups: Sequence[Sequence[int]], found: Mapping[tuple[int, int], float]
) -> dict[tuple[int, int], float]:
    """Pairs of texts from pairs of groups of equal texts, of large groups the first texts only."""
    pairs: dict[tuple[int, int], float] = {}
    for group in groups:
        for place, second in enumerate(group):
            pairs |= {(first, second): 1.0 for first in group[: min(place, BUCKET_PARTNERS)]}
    for (one, other), index in found.items():
        a, b = groups[one], groups[other]
        some = product(a[:BUCKET_PARTNERS], b[:BUCKET_PARTNERS])
        for first, second in (*some, *product(a[:1], b), *product(a, b[:1])):
            pairs[min(first, second), max(first, second)] = index
    return pairs


def banding(similarity: float) -> tuple[int, int]:
    """Bands and hash functions in each, so that hardly a pair at this similarity is missed.

    More functions in a band keep texts apart that are no copies; as many as `MOST_HASHES` allows.
    """
    for rows in range(MOST_ROWS, 0, -1):
        share = similarity**rows
        needed = math.ceil(math.log(MISSED) / math.log1p(-share)) if share < 1 else 1
        if needed * rows <= MOST_HASHES or rows == 1:
            break
    return max(LEAST_BANDS, needed), rows


def kept_together(
    n_texts: int, pairs: Iterable[Copies], groups: Sequence[str | None] = ()
) -> Int[ndarray, " texts"]:
    """Number of the set that each text belongs to: what must stand on one side of every split.

    Copies of each other are in one set, and so are texts of one group. Chains are one set: with
    every copy of one of its texts a group takes in the groups of that copy.

    Args:
        n_texts: Number of texts.
        pairs: Their copies.
        groups: What each belongs to, such as a prompt; None where nothing is said. Empty: nothing
            is said of any.
    """
    sets = DisjointSets(n_texts)
    for pair in pairs:
        sets.join(pair.first, pair.second)
    first: dict[str, int] = {}
    for text, group in enumerate(groups):
        if group is not None:
            sets.join(first.setdefault(group, text), text)
    return np.unique([sets.root(text) for text in range(n_texts)], return_inverse=True)[1]


def given_groups(texts: pd.DataFrame) -> list[str | None]:
    """What each text of a dataset's table belongs to; None where nothing is said."""
    if GROUP not in texts.columns:
        return [None] * len(texts)
    return [None if pd.isna(group) else str(group) for group in texts[GROUP]]


def groups_of_both(
    first: tuple[str, Sequence[str | None]], second: tuple[str, Sequence[str | None]]
) -> tuple[list[str | None], list[str | None]]:
    """Groups of two data sets, each given as its name and its groups, in one spelling.

    Groups of one name are the same. A mixture calls the groups of its parts by their data set
    (`news/7`), so the group `7` of the data set `news` is that of a mixture with this part.
    """

    def spelled(
        own: tuple[str, Sequence[str | None]], other: Sequence[str | None]
    ) -> list[str | None]:
        there = set(other)
        return [
            f"{own[0]}/{group}" if group is not None and f"{own[0]}/{group}" in there else group
            for group in own[1]
        ]

    return spelled(first, second[1]), spelled(second, first[1])


class DisjointSets:
    """Disjoint sets of texts, by number, that grow together."""

    def __init__(self, n_texts: int) -> None:
        self._parent = list(range(n_texts))

    def root(self, text: int) -> int:
        """The first text of a text's set."""
        parent = self._parent
        while parent[text] != text:
            parent[text] = parent[parent[text]]
            text = parent[text]
        return text

    def join(self, one: int, other: int) -> None:
        """Make the sets of two texts one."""
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low


class _Search:
    """Copies found so far, and which pairs were compared."""

    def __init__(self, sets: Sequence[ndarray], similarity: float) -> None:
        self.sets, self._similarity = sets, similarity
        self.found: dict[tuple[int, int], float] = {}
        self._compared: set[tuple[int, int]] = set()
        self._joined = DisjointSets(len(sets))

    def compare(self, bucket: Sequence[int]) -> None:
        """Compare the texts of a bucket, in order, unless they are known to be one set."""
        for place, second in enumerate(bucket):
            for first in bucket[: min(place, BUCKET_PARTNERS)]:
                self._compare(first, second)
        by_set: dict[int, list[int]] = defaultdict(list)
        for text in bucket[BUCKET_PARTNERS:]:
            by_set[self._joined.root(text)].append(text)
        for one, other in combinations(by_set.values(), 2):
            for pair in product(one, other):
                self._compare(min(pair), max(pair))

    def _compare(self, first: int, second: int) -> None:
        if (first, second) in self._compared:
            return
        self._compared.add((first, second))
        one, other = self.sets[first], self.sets[second]
        # The index is at most the ratio of sizes.
        if min(len(one), len(other)) < self._similarity * max(len(one), len(other)):
            return
        shared = len(np.intersect1d(one, other, assume_unique=True))
        index = shared / (len(one) + len(other) - shared)
        if index >= self._similarity:
            self.found[first, second] = index
            self._joined.join(first, second)


def _buckets(sets: Sequence[ndarray], band: int, rows: int) -> list[list[int]]:
    """Texts that agree in all hash functions of a band, where there are several."""
    buckets: dict[bytes, list[int]] = defaultdict(list)
    for text, row in enumerate(_signatures(sets, range(band * rows, (band + 1) * rows))):
        buckets[row.tobytes()].append(text)
    return [members for members in buckets.values() if len(members) > 1]


def _signatures(sets: Sequence[ndarray], numbers: range) -> UInt64[ndarray, "texts hashes"]:
    """Smallest hash of each text's shingles under each of some hash functions."""
    result = np.empty((len(sets), len(numbers)), dtype=np.uint64)
    starts = np.cumsum([0, *(len(s) for s in sets[:-1])])
    joined = np.concatenate(sets)
    for column, number in enumerate(numbers):
        salt = _mix(np.array([number + 1], dtype=np.uint64))[0]
        result[:, column] = np.minimum.reduceat(_mix(joined ^ salt), starts)
    return result


def _mix(values: ndarray) -> ndarray:
    """The finaliser of SplitMix64: a well-mixed bijection of 64-bit numbers."""
    values = values + _MULTIPLIER
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: ndarray = values ^ (values >> np.uint64(31))
    return mixed
