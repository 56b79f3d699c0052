"""Where does a passage begin that was put into a document? Seen from the features of all prefixes.

A feature of the prefix that ends at token t changes by about 1/t of what the token brings, so the
change is multiplied by t before positions are compared.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from llm_anatomy.config.geometry import InsertedText, Inserts

# Prefixes shorter than this have unstable minima, maxima and standard deviations.
FIRST_PREFIX = 8
WINDOW = 5


@dataclass(frozen=True)
class Jump:
    """How the change at a position compares with all other positions of the document.

    Attributes:
        score: Mean z-score of the change over the window that begins there.
        rank: 1 when no other window has a larger score.
        windows: Number of windows compared.
    """

    score: float
    rank: int
    windows: int


def inserts_of(settings: Inserts, table: pd.DataFrame | None = None) -> list[InsertedText]:
    """The documents to use: rows of a table `INSERTS` where there is one, else the settings'."""
    if table is None:
        return settings.texts
    return [InsertedText.model_validate(row) for row in table.to_dict("records")]


def insert_passage(document: str, passage: str, rng: np.random.Generator) -> str:
    """Put a passage between two sentences of a document, at a random break.

    Raises:
        ValueError: The document has no break between sentences.
    """
    breaks = [match.end() for match in re.finditer(r"[.!?]\s+", document)]
    if not breaks:
        raise ValueError("the document has one sentence, so there is no break to insert at")
    where = breaks[int(rng.integers(len(breaks)))]
    return f"{document[:where]}{passage} {document[where:]}"


def inserted_span(original: list[int], changed: list[int]) -> tuple[int, int]:
    """First inserted token and the token behind the last, by comparing token ids from both ends."""
    start = _common(original, changed)
    end = len(changed) - _common(original[start:][::-1], changed[start:][::-1])
    return start, end


def weighted_changes(
    prefixes: Float[ndarray, "tokens layers features"],
) -> Float[ndarray, "tokens layers features"]:
    """Changes t |f(t) - f(t - 1)| for prefixes of t tokens; 0 at the first token."""
    changes = np.zeros_like(prefixes)
    lengths = np.arange(2, len(prefixes) + 1)[:, None, None]
    changes[1:] = lengths * np.abs(np.diff(prefixes, axis=0))
    return changes


def jump_at(prefixes: Float[ndarray, "tokens layers features"], position: int) -> list[Jump]:
    """For every feature, how much prefixes change from `position` on, against everywhere else.

    Changes are standardised over positions for every layer, averaged over layers, and summed over
    a window of `WINDOW` tokens.

    Raises:
        ValueError: The position lies before the first stable prefix, or too close to the end.
    """
    last = len(prefixes) - WINDOW
    if not FIRST_PREFIX <= position <= last:
        raise ValueError(f"position {position} is not between {FIRST_PREFIX} and {last}")
    changes = weighted_changes(prefixes)[FIRST_PREFIX:]
    spread = changes.std(axis=0)
    standard = (changes - changes.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    by_token = standard.mean(axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(by_token, WINDOW, axis=0).mean(-1)
    scores = windows[position - FIRST_PREFIX]
    ranks = 1 + (windows > scores).sum(axis=0)
    return [Jump(float(s), int(r), len(windows)) for s, r in zip(scores, ranks, strict=True)]


def _common(first: list[int], second: list[int]) -> int:
    """Number of leading items that two lists share."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
