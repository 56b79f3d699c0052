"""Mix parts of other data sets into one, with labels by where a text comes from.

This is how Omni-Toxic of arXiv 2312.01648 is made: clean texts of several sources, toxic ones of
others, and clean documents with a toxic passage inside.

A document with a passage inside belongs to what the document belongs to and to what the passage
belongs to, and so does everything else of either: otherwise a passage would stand in one fold alone
and in another inside a document.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from llm_anatomy.config.datasets import Part
from llm_anatomy.data.duplicates import DisjointSets, given_groups
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
    drawn = [_drawn(index, part, tables, seed) for index, part in enumerate(parts)]
    groups = _joined_groups(parts, tables, drawn)
    number = 0
    for index, part in enumerate(parts):
        labels = {
            n: True if n in part.positive else False if n in part.negative else None for n in names
        }
        table = tables[part.dataset]
        kept, members = _kept(part, table), _subgroups(parts, tables, table)
        passages = None if part.insert is None else tables[part.insert]["text"].to_numpy()
        for row, (text_id, text) in enumerate(zip(table["text_id"], table["text"], strict=True)):
            number += 1
            intake.read()
            place = f"{_origin(part)}/{text_id}"
            if not kept[row]:
                intake.set_aside(f"part of {part.dataset} to leave out ({part.keep})", place)
                continue
            if passages is not None:
                where = keyed_generator(seed, Purpose.PASSAGE_PLACES, index, place)
                text = insert_at_word(text, passages[drawn[index][row]], where)
            group = groups[part.dataset][row]
            yield Candidate(
                number, place, f"{index + 1}-{place}", text, labels, group, members[row]
            )


def insert_at_word(text: str, passage: str, rng: np.random.Generator) -> str:
    """Put a passage between two words, or before the first or behind the last, at random.

    The paper inserts between tokens of one model; words make the same texts for every model.
    """
    breaks = [0, *(match.start() for match in re.finditer(r"\s+", text)), len(text)]
    where = breaks[int(rng.integers(len(breaks)))]
    before, after = text[:where].rstrip(" "), text[where:].lstrip(" ")
    return " ".join(piece for piece in (before, passage, after) if piece)


def _origin(part: Part) -> str:
    return part.dataset if part.insert is None else f"{part.dataset}+{part.insert}"


def _drawn(index: int, part: Part, tables: Mapping[str, pd.DataFrame], seed: int) -> dict[int, int]:
    """Row of the passage that each used row of a part is given; empty without passages."""
    if part.insert is None:
        return {}
    table, count = tables[part.dataset], len(tables[part.insert])
    # Each text draws for itself: a change to one leaves the passages of the others.
    return {
        row: int(
            keyed_generator(seed, Purpose.PASSAGES, index, f"{_origin(part)}/{text_id}").integers(
                count
            )
        )
        for row, (text_id, keep) in enumerate(
            zip(table["text_id"], _kept(part, table), strict=True)
        )
        if keep
    }


def _joined_groups(
    parts: Sequence[Part],
    tables: Mapping[str, pd.DataFrame],
    drawn: Sequence[Mapping[int, int]],
) -> dict[str, list[str | None]]:
    """What every row of every data set belongs to, with passages and their documents joined.

    Groups stand under the name of their data set: those of two data sets are not the same. Groups
    that a passage links have the name of the first of them; rows without a group that a passage
    links have the name of the first row. None where nothing is said and no passage links.

    Args:
        parts: The parts.
        tables: The table of every data set that they name.
        drawn: Row of a part to the row of its passage, part by part.
    """
    start: dict[str, int] = {}
    given: list[str | None] = []
    for name, table in tables.items():
        start[name] = len(given)
        given += [None if group is None else f"{name}/{group}" for group in given_groups(table)]
    sets, first = DisjointSets(len(given)), dict[str, int]()
    for row, group in enumerate(given):
        if group is not None:
            sets.join(first.setdefault(group, row), row)
    linked = []
    for part, passages in zip(parts, drawn, strict=True):
        for row, passage in passages.items():
            linked.append(start[part.dataset] + row)
            sets.join(linked[-1], start[str(part.insert)] + passage)
    names: dict[int, str] = {}
    for row, group in enumerate(given):
        if group is not None:
            names.setdefault(sets.root(row), group)
    place = [f"{name}/row {text_id}" for name in tables for text_id in tables[name]["text_id"]]
    for row in linked:
        names.setdefault(sets.root(row), place[sets.root(row)])
    return {
        name: [names.get(sets.root(start[name] + row)) for row in range(len(table))]
        for name, table in tables.items()
    }


def _subgroups(
    parts: list[Part], tables: Mapping[str, pd.DataFrame], table: pd.DataFrame
) -> list[dict[str, list[str] | None]]:
    """Every column of subgroups that a part has, for each row of one part's table."""
    names = dict.fromkeys(
        name
        for part in parts
        for name in tables[part.dataset].columns
        if name.startswith("subgroup_")
    )
    own = {name: list(table[name]) if name in table.columns else None for name in names}
    return [
        {
            name.removeprefix("subgroup_"): None
            if cells is None or cells[row] is None
            else list(cells[row])
            for name, cells in own.items()
        }
        for row in range(len(table))
    ]


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
