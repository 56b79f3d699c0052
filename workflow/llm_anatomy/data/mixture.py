"""Mix parts of other data sets into one, with labels by where a text comes from.

This is how Omni-Toxic of arXiv 2312.01648 is made: clean texts of several sources, toxic ones of
others, and clean documents with a toxic passage inside.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from llm_anatomy.config.datasets import Part
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.texts import Candidate
from llm_anatomy.errors import UserError
from llm_anatomy.statistics.random import Purpose, keyed_generator


def mixed_texts(
    parts: list[Part], tables: Mapping[str, pd.DataFrame], seed: int, intake: Intake
) -> Iterator[Candidate]:
    """The texts of every part, part by part, each in the order of its table.

    Args:
        parts: The parts.
        tables: The `TEXTS` table of every data set that they name.
        seed: Seed of the passages and of where they are put.
        intake: Counts every row.

    Raises:
        UserError: A part keeps rows by labels but its data set has none.
    """
    names = list(dict.fromkeys(n for part in parts for n in (*part.positive, *part.negative)))
    number = 0
    for index, part in enumerate(parts):
        labels = {
            n: True if n in part.positive else False if n in part.negative else None for n in names
        }
        kept = _kept(part, tables[part.dataset])
        passages = None if part.insert is None else tables[part.insert]["text"].to_numpy()
        origin = part.dataset if part.insert is None else f"{part.dataset}+{part.insert}"
        table = tables[part.dataset]
        for text_id, text, group, keep in zip(
            table["text_id"], table["text"], _groups(part, table), kept, strict=True
        ):
            number += 1
            intake.read()
            place = f"{origin}/{text_id}"
            if not keep:
                intake.set_aside(f"part of {part.dataset} to leave out ({part.keep})", place)
                continue
            if passages is not None:
                # Each text draws for itself: a change to one leaves the passages of the others.
                which = keyed_generator(seed, Purpose.PASSAGES, index, place)
                where = keyed_generator(seed, Purpose.PASSAGE_PLACES, index, place)
                text = insert_at_word(text, passages[int(which.integers(len(passages)))], where)
            yield Candidate(number, place, f"{index + 1}-{place}", text, labels, group)


def insert_at_word(text: str, passage: str, rng: np.random.Generator) -> str:
    """Put a passage between two words, or before the first or behind the last, at random.

    The paper inserts between tokens of one model; words make the same texts for every model.
    """
    breaks = [0, *(match.start() for match in re.finditer(r"\s+", text)), len(text)]
    where = breaks[int(rng.integers(len(breaks)))]
    before, after = text[:where].rstrip(" "), text[where:].lstrip(" ")
    return " ".join(piece for piece in (before, passage, after) if piece)


def _groups(part: Part, table: pd.DataFrame) -> list[str | None]:
    """Groups under the name of their data set: those of two data sets are not the same."""
    if "group" not in table.columns:
        return [None] * len(table)
    return [None if pd.isna(group) else f"{part.dataset}/{group}" for group in table["group"]]


def _kept(part: Part, table: pd.DataFrame) -> list[bool]:
    if part.keep == "all":
        return [True] * len(table)
    columns = [name for name in table.columns if name.startswith("label_")]
    if not columns:
        raise UserError(
            f"the part '{part.dataset}' keeps '{part.keep}', but the data set has no labels; give "
            "it 'labels', or keep all"
        )
    labels = table[columns]
    any_label = (labels == True).any(axis=1)  # noqa: E712 - missing values are not true
    no_label = (labels == False).all(axis=1)  # noqa: E712 - nor are they false
    chosen = any_label if part.keep == "any_label" else no_label
    return [bool(value) for value in chosen]
