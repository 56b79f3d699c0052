"""Columns that hold one value only: a table in which too much is constant shows little."""

from collections.abc import Iterable

import numpy as np
import pandas as pd


def constant_columns(frame: pd.DataFrame) -> set[str]:
    """Columns of a table with fewer than two different values, a missing one counted."""
    return {str(name) for name in frame if len({_plain(value) for value in frame[name]}) < 2}


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(_plain(each) for each in value)
    return None if value is None or value != value else value


def unexplained(tables: dict[str, pd.DataFrame], reasons: Iterable[str]) -> dict[str, list[str]]:
    """By table, its constant columns that have no reason; and reasons that no column needs."""
    known = {tuple(reason.split(".")) for reason in reasons}
    constant = {
        (name, column) for name, frame in tables.items() for column in constant_columns(frame)
    }
    return {
        "constant": sorted(".".join(each) for each in constant - known),
        "varies": sorted(".".join(each) for each in known - constant),
    }
