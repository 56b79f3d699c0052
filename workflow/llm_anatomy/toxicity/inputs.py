"""Reading what the classifiers need, aligned text by text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray

from llm_anatomy.errors import UserError
from llm_anatomy.geometry.spline import N_FEATURES, feature_columns
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION, SPLINE_FEATURES
from llm_anatomy.toxicity.features import Dense, state_layers_at


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


def read_spline_features(path: Path) -> SplineTable:
    """Read a table of spline features as an array."""
    table = read_table(path, SPLINE_FEATURES)
    n_layers = sum(name.endswith("_f1") for name in table.columns)
    values = table[feature_columns(n_layers)].to_numpy(dtype=np.float64)
    return SplineTable(
        list(table["text_id"]),
        values.reshape(len(table), n_layers, N_FEATURES),
        table["n_tokens"].to_numpy(dtype=np.int64),
    )


def read_state_baselines(
    shards: Sequence[Path],
    kinds: Sequence[str],
    depths: Sequence[float] | str,
    n_layers: int,
    text_ids: Sequence[str],
) -> list[Dense]:
    """Mean or last-token hidden states as feature sets, one per layer.

    Args:
        shards: The tables of states.
        kinds: `mean` and `last`, or one of them.
        depths: Layers, as shares of the model's depth, or `all`.
        n_layers: Layers of the model.
        text_ids: The texts, in the order wanted.

    Raises:
        UserError: No state is stored.
    """
    if not kinds:
        return []
    # Imported here: it brings torch along, which no other reader needs.
    from llm_anatomy.geometry.activations import read_states

    stored_ids, states = read_states(shards)
    stored = sorted({layer for _, layer in states})
    if not stored:
        raise UserError(
            "the key 'toxicity.baselines.names' asks for hidden states, but "
            "'geometry.extraction.state_layers' is []; name layers there, or leave mean_state and "
            "last_state out of the baselines"
        )
    order = rows_of(text_ids, stored_ids, shards[0])
    return [
        Dense(f"{kind}_state_layer_{layer}", values[order])
        for kind in kinds
        for layer in state_layers_at(depths, stored, n_layers)
        for (summary, index), values in states.items()
        if summary == kind and index == layer
    ]


def read_dimension_profile(path: Path, text_ids: Sequence[str]) -> Dense:
    """Intrinsic dimension of every layer and threshold at the last token of every text."""
    table = read_table(path, INTRINSIC_DIMENSION)
    last = table.groupby("text_id")["position"].transform("max")
    table = table[table["position"] == last]
    wide = table.pivot_table(
        index="text_id", columns=["threshold", "layer"], values="dimension", sort=True
    )
    order = rows_of(text_ids, list(wide.index), path)
    return Dense("intrinsic_dimension", wide.to_numpy(dtype=np.float64)[order])


def rows_of(wanted: Sequence[str], stored: Sequence[str], source: Path) -> Int[ndarray, " wanted"]:
    """Rows of the wanted texts.

    Raises:
        UserError: A wanted text is not stored; the tables belong to different data.
    """
    found = pd.Index(stored).get_indexer(pd.Index(wanted))
    if (found < 0).any():
        missing = wanted[int(np.argmax(found < 0))]
        raise UserError(
            f"{source}: the text '{missing}' is not in this table, which was made from other data; "
            "remake it by running the workflow without --allowed-rules or hand-copied files"
        )
    return np.asarray(found, dtype=np.int64)
