"""What each layer of a model does: one table from the layer-by-layer numbers of all studies."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from llm_anatomy.patching.summary import SCORES
from llm_anatomy.tables.anatomy import ANATOMY
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.facts import LAYER_SUMMARY
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION
from llm_anatomy.tables.neurons import STATISTICS
from llm_anatomy.tables.patching import CURVES

THRESHOLD = "relative"


def anatomy_frame(
    tables: Collection, model: str, datasets: Sequence[str], task: str | None
) -> pd.DataFrame:
    """Rows of `ANATOMY`, from what there is of the studies' tables.

    Args:
        tables: Intrinsic dimensions, statistics of neurons, curves and layer summaries.
        model: The model.
        datasets: Data sets of texts, in the order shown.
        task: The patching task that stands for the study; none where it did not run.
    """
    parts = [
        *_dimensions(tables, model, datasets),
        *_neurons(tables, model),
        *_patching(tables, model, task),
        *_facts(tables, model),
    ]
    names = [column.name for column in ANATOMY.columns]
    return pd.concat(parts, ignore_index=True)[names] if parts else ANATOMY.frame([])


def _dimensions(tables: Collection, model: str, datasets: Sequence[str]) -> Iterator[pd.DataFrame]:
    names = ["text_id", "position", "layer", "dimension"]
    where = [("threshold", "=", THRESHOLD)]
    for dataset in datasets:
        frame = tables.frame(INTRINSIC_DIMENSION, names, where, model=model, dataset=dataset)
        # Where every token is counted, the last one speaks for its text.
        last = frame.groupby("text_id")["position"].transform("max")
        layers = frame[frame["position"] == last].groupby("layer")["dimension"]
        yield _rows(
            "geometry", dataset, layers.mean(), layers.quantile(0.05), layers.quantile(0.95)
        ).assign(unit="", about=dataset)


def _neurons(tables: Collection, model: str) -> Iterator[pd.DataFrame]:
    if not tables.has(STATISTICS, model=model):
        return
    names = ["layer", "matrix", "cosine_positive", "cosine_negative"]
    frame = tables.frame(STATISTICS, names, model=model)
    # The end at which the vector comes closest to a token.
    frame["cosine"] = frame[["cosine_positive", "cosine_negative"]].max(axis=1).astype(float)
    for matrix, own in frame.groupby("matrix", sort=False):
        mean = own.groupby("layer")["cosine"].mean()
        yield _rows("neurons", str(matrix), mean).assign(unit="", about="all neurons")


def _patching(tables: Collection, model: str, task: str | None) -> Iterator[pd.DataFrame]:
    if task is None:
        return
    curves = tables.frame(CURVES, model=model, task=task)
    curves = curves[curves["subset"] == "all"]
    for manipulation, own in curves.groupby("manipulation", sort=False):
        # The first score that the task has; where angles are swept, the first of them.
        metric = next((name for name in SCORES if (own["metric"] == name).any()), None)
        metric = metric or ("original" if (own["metric"] == "original").any() else None)
        shown = own[own["metric"] == metric]
        if shown.empty:
            continue
        strength = shown["strength"].iloc[0]
        shown = shown[
            shown["strength"].isna() if np.isnan(strength) else shown["strength"] == strength
        ]
        by_layer = shown.set_index("layer").sort_index()
        yield _rows(
            "patching", str(manipulation), by_layer["value"], by_layer["low"], by_layer["high"]
        ).assign(unit="", about=f"{task}: {metric}")


def _facts(tables: Collection, model: str) -> Iterator[pd.DataFrame]:
    if not tables.has(LAYER_SUMMARY, model=model):
        return
    frame = tables.frame(LAYER_SUMMARY, model=model)
    about = ", ".join(frame["relation"].unique())
    for kind in ("attention", "ffn"):
        own = frame[frame["unit"] == kind]
        # Relations have different numbers of facts: every fact counts once.
        total = (own["importance"] * own["facts"]).groupby(own["layer"]).sum()
        mean = total / own.groupby("layer")["facts"].sum()
        yield _rows("facts", kind, mean).assign(unit="nat", about=about)


def _rows(
    study: str,
    series: str,
    values: pd.Series,
    low: pd.Series | None = None,
    high: pd.Series | None = None,
) -> pd.DataFrame:
    """Rows of one series, by layer."""
    return pd.DataFrame(
        {
            "study": study,
            "series": series,
            "layer": values.index.to_numpy(),
            "value": values.to_numpy(dtype=float),
            "low": np.nan if low is None else low.to_numpy(dtype=float),
            "high": np.nan if high is None else high.to_numpy(dtype=float),
        }
    )
