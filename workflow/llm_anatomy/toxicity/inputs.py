"""Tables of other studies as arrays, aligned text by text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from llm_anatomy.errors import UserError
from llm_anatomy.geometry.spline import N_FEATURES, feature_columns
from llm_anatomy.tables.data import TEXTS


@dataclass(frozen=True)
class SplineTable:
    """The spline features of a dataset.

    Attributes:
        text_ids: The texts.
        features: Seven per layer.
        n_tokens: Tokens read of each text.
    """

    text_ids: list[str]
    features: Float[ndarray, "texts layers 7"]
    n_tokens: Int[ndarray, " texts"]


def count_layers(table: pd.DataFrame) -> int:
    """Layers of a table of spline features."""
    return sum(name.endswith("_f1") for name in table.columns)


def spline_table(table: pd.DataFrame) -> SplineTable:
    """A table of spline features as an array."""
    n_layers = count_layers(table)
    values = table[feature_columns(n_layers)].to_numpy(dtype=np.float64)
    return SplineTable(
        list(table["text_id"]),
        values.reshape(len(table), n_layers, N_FEATURES),
        table["n_tokens"].to_numpy(dtype=np.int64),
    )


def aligned_texts(texts: pd.DataFrame, text_ids: Sequence[str]) -> pd.DataFrame:
    """The rows of a table of texts, in the order of their ids.

    Raises:
        UserError: A text is not in the table.
    """
    return texts.iloc[rows_of(text_ids, list(texts["text_id"]), TEXTS.name)].reset_index(drop=True)


def rows_of(wanted: Sequence[str], stored: Sequence[str], table: str) -> Int[ndarray, " wanted"]:
    """Rows of the wanted texts.

    Args:
        wanted: Ids of the texts, in the order wanted.
        stored: Ids of the table's rows.
        table: The table's name, for the error message.

    Raises:
        UserError: A wanted text is not stored; the tables belong to different data.
    """
    rows = pd.Index(stored).get_indexer(pd.Index(wanted))
    if (rows < 0).any():
        missing = wanted[int(np.argmax(rows < 0))]
        raise UserError(
            f"the text '{missing}' is not in the table '{table}', which was made from other data; "
            "remake it by running the workflow without --allowed-rules or hand-copied files"
        )
    return np.asarray(rows, dtype=np.int64)
