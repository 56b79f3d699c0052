"""Texts as the atlas shows them: token by token, against their data set, and as detectors see them.

Every text of a small data set is shown; of a large one the texts that a detector got most wrong,
and others evenly spread over the table. What was left out is counted in the part's index.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from llm_anatomy.atlas.chunks import Chunk, columns, packed, significant
from llm_anatomy.geometry.spline import N_FEATURES
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import INTRINSIC_DIMENSION, SPLINE_FEATURES, TRACES
from llm_anatomy.tables.toxicity import PREDICTIONS

# Texts that are listed, with features and scores; and those that are shown token by token.
LISTED = 2000
WITH_TOKENS = 150
# Characters of a text in the list.
BEGINNING = 160


def chosen_texts(tables: Collection, model: str, dataset: str, most: int) -> list[str]:
    """Ids of the texts to show, in the order of the data set's table.

    Args:
        tables: The data set's texts, and its predictions where it has labels.
        model: The model.
        dataset: The data set.
        most: How many; half of them are those with the largest error of any detector.
    """
    ids: list[str] = tables.frame(TEXTS, ["text_id"], dataset=dataset)["text_id"].tolist()
    if len(ids) <= most:
        return ids
    wrong = _most_wrong(tables, model, dataset)[: most // 2]
    others = [text for text in ids if text not in set(wrong)]
    places = np.linspace(0, len(others) - 1, most - len(wrong)).round().astype(int)
    kept = {*wrong, *(others[place] for place in places)}
    return [text for text in ids if text in kept]


def text_chunks(
    tables: Collection, model: str, tokens: Mapping[str, Mapping[str, Sequence[str]]]
) -> Iterator[Chunk]:
    """Everything that the atlas shows of a model's texts.

    Args:
        tables: The texts, and what there is of traces, features, dimensions and predictions.
        model: The model.
        tokens: The tokens of the texts that are shown token by token, by data set and text.

    Yields:
        For every data set `{number}-text-NNNN` with texts and `{number}-text` with the chunk of
        each, `{number}-features-LL` and `{number}-list`; last `index`.

    Raises:
        UserError: A table is missing or damaged.
    """
    index = []
    for number, (dataset, of_texts) in enumerate(tokens.items()):
        listed = chosen_texts(tables, model, dataset, LISTED)
        texts = tables.frame(TEXTS, dataset=dataset)
        n_texts = len(texts)
        texts = texts.set_index("text_id").loc[listed]
        yield from packed(f"{number}-text", _documents(tables, model, dataset, texts, of_texts))
        features = tables.frame(SPLINE_FEATURES, model=model, dataset=dataset)
        features = features.set_index("text_id").loc[listed]
        layers = sum(name.endswith("_f1") for name in features.columns)
        for layer in range(layers):
            names = [f"l{layer}_f{feature}" for feature in range(1, N_FEATURES + 1)]
            yield f"{number}-features-{layer:02d}", [significant(features[n]) for n in names]
        labels = [name for name in texts.columns if name.startswith("label_")]
        yield (
            f"{number}-list",
            {
                "text_id": listed,
                "beginning": [text[:BEGINNING] for text in texts["text"]],
                "n_tokens": features["n_tokens"].tolist(),
                "labels": {
                    name.removeprefix("label_"): [
                        None if pd.isna(value) else bool(value) for value in texts[name]
                    ]
                    for name in labels
                },
                "scores": _scores(tables, model, dataset, listed),
            },
        )
        index.append(
            {
                "dataset": dataset,
                "texts": n_texts,
                "listed": len(listed),
                "with_tokens": len(of_texts),
                "layers": layers,
            }
        )
    yield "index", {"model": model, "datasets": index}


def _most_wrong(tables: Collection, model: str, dataset: str) -> list[str]:
    """Texts by the largest error of any detector and label, the most wrong first."""
    if not tables.has(PREDICTIONS, model=model, dataset=dataset):
        return []
    names = ["text_id", "truth", "score"]
    frame = tables.frame(PREDICTIONS, names, model=model, dataset=dataset)
    errors = (frame["truth"].astype(float) - frame["score"]).abs()
    worst = errors.groupby(frame["text_id"]).max().sort_values(ascending=False, kind="stable")
    return [str(text) for text in worst.index]


def _documents(
    tables: Collection,
    model: str,
    dataset: str,
    texts: pd.DataFrame,
    tokens: Mapping[str, Sequence[str]],
) -> Iterator[tuple[str, Any]]:
    """One document for every text: the text and, of those with tokens, layer by layer numbers."""
    owner = {"model": model, "dataset": dataset}
    where = [("text_id", "in", list(tokens))]
    traces = tables.joined(TRACES, None, where, **owner).set_index("text_id")
    dimensions = tables.frame(
        INTRINSIC_DIMENSION,
        ["text_id", "position", "layer", "threshold", "dimension"],
        where,
        **owner,
    )
    by_text = dict(list(dimensions.groupby("text_id")))
    layers = sum(name.endswith("_active") for name in traces.columns)
    for text_id, text in zip(map(str, texts.index), texts["text"], strict=True):
        document: dict[str, Any] = {"text": text}
        if text_id in tokens:
            row = traces.loc[text_id]
            document |= {
                "tokens": list(tokens[text_id]),
                "truncated": bool(row["truncated"]),
                "active": [significant(row[f"l{layer}_active"], 3) for layer in range(layers)],
                "distance": [significant(row[f"l{layer}_distance"], 3) for layer in range(layers)],
            }
        if text_id in by_text:
            document["dimension"] = columns(by_text[text_id].drop(columns=["text_id"]))
        yield text_id, document


def _scores(
    tables: Collection, model: str, dataset: str, listed: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Truth, and every detector's out-of-fold score, by label; None where a text has none."""
    if not tables.has(PREDICTIONS, model=model, dataset=dataset):
        return {}
    frame = tables.frame(PREDICTIONS, model=model, dataset=dataset)
    found = {}
    for label, rows in frame.groupby("label", sort=False):
        truth = (
            rows.drop_duplicates("text_id").set_index("text_id")["truth"].reindex(pd.Index(listed))
        )
        detectors = {
            f"{features}, {classifier}": significant(
                own.set_index("text_id")["score"].reindex(pd.Index(listed))
            )
            for (features, classifier), own in rows.groupby(
                ["feature_set", "classifier"], sort=False
            )
        }
        found[str(label)] = {
            "truth": [None if pd.isna(value) else bool(value) for value in truth],
            "detectors": detectors,
        }
    return found
