"""From words to the neurons that decode to them: an index whose pieces are loaded one by one."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from llm_anatomy.atlas.chunks import Chunk
from llm_anatomy.report.cells import mark_whitespace

# Entries from which a new chunk is begun: a search reads up to 40 of them, so they are small.
CHUNK_ENTRIES = 12_000


def word_key(token: str) -> str:
    """What a token is found by: spaces around it and letter case aside, in any script.

    The page does the same to what is typed: NFKC, lower case, no space around. A token of nothing
    but whitespace is found by its marks.
    """
    key = unicodedata.normalize("NFKC", token).lower().replace("ς", "σ").strip()
    return key or mark_whitespace(token)


@dataclass
class WordIndex:
    """Collects where every token stands, layer by layer, and gives the index as chunks.

    Attributes:
        tokens: Texts of the tokens, by the codes that `add` is given.
    """

    tokens: list[str] = field(default_factory=list)
    _codes: dict[str, int] = field(default_factory=dict)
    _parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def code(self, token: str) -> int:
        """The code of a token; a new one gets the next."""
        if token not in self._codes:
            self._codes[token] = len(self.tokens)
            self.tokens.append(token)
        return self._codes[token]

    def add(
        self,
        codes: Int[np.ndarray, " rows"],
        neurons: Int[np.ndarray, " rows"],
        ends: Int[np.ndarray, " rows"],
        ranks: Int[np.ndarray, " rows"],
        z_tenths: Int[np.ndarray, " rows"],
    ) -> None:
        """Add tokens of neurons.

        Args:
            codes: Codes of the tokens; negative ones are left out.
            neurons: The neurons' numbers through all layers.
            ends: Which end of which matrix, as the part's index lists them.
            ranks: From 1.
            z_tenths: z-scores of the tokens, in tenths.
        """
        there = codes >= 0
        kinds = (np.int32, np.int32, np.int8, np.int16, np.int16)
        parts = (codes, neurons, ends, ranks, z_tenths)
        self._parts.append(
            tuple(part[there].astype(kind) for part, kind in zip(parts, kinds, strict=True))
        )

    def chunks(self) -> Iterator[Chunk]:
        """The entries, sorted by word, as chunks `words-0000` and so on; last the list of words."""
        keys = [word_key(token) for token in self.tokens]
        words = sorted(set(keys))
        place = {word: number for number, word in enumerate(words)}
        word_of = np.array([place[key] for key in keys], dtype=np.int32)
        variants, variant_of = _variants(self.tokens, word_of, len(words))
        joined = [np.concatenate(part) for part in zip(*self._parts, strict=True)]
        codes = joined[0] if joined else np.empty(0, np.int32)
        order = np.argsort(word_of[codes], kind="stable")
        counts = np.bincount(word_of[codes], minlength=len(words))
        bounds = np.concatenate([[0], np.cumsum(counts)])
        first: list[int] = []
        for number, (start, stop) in enumerate(_pieces(counts)):
            rows = order[bounds[start] : bounds[stop]]
            names = ("neuron", "end", "rank", "z")
            values = (part[rows].tolist() for part in joined[1:])
            yield (
                f"words-{number:04d}",
                {
                    "variants": variants[start:stop],
                    "variant": variant_of[codes[rows]].tolist(),
                    **dict(zip(names, values, strict=True)),
                },
            )
            first.append(start)
        yield "words", {"words": words, "counts": counts.tolist(), "first": first}


def _variants(
    tokens: Sequence[str], word_of: Int[np.ndarray, " tokens"], n_words: int
) -> tuple[list[list[str]], Int[np.ndarray, " tokens"]]:
    """The tokens of every word, and each token's place among its word's."""
    variants: list[list[str]] = [[] for _ in range(n_words)]
    places = np.empty(len(tokens), dtype=np.int32)
    for code, token in enumerate(tokens):
        own = variants[word_of[code]]
        places[code] = len(own)
        own.append(token)
    return variants, places


def _pieces(counts: Int[np.ndarray, " words"]) -> Iterator[tuple[int, int]]:
    """Words next to each other that share a chunk, as first and last + 1."""
    start = entries = 0
    for word, count in enumerate(counts.tolist()):
        entries += count
        if entries >= CHUNK_ENTRIES:
            yield start, word + 1
            start, entries = word + 1, 0
    if start < len(counts):
        yield start, len(counts)
