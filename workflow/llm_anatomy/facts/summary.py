"""Means over a relation's facts, and the metrics of interventions (sections 4.1 to 4.4)."""

from typing import Any

import pandas as pd

from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import TableSchema

SHARED_SHARE = 0.5


def summarise(
    layers: pd.DataFrame,
    heads: pd.DataFrame,
    neurons: pd.DataFrame,
    query_layers: pd.DataFrame,
    query_neurons: pd.DataFrame,
    answers: pd.DataFrame,
) -> dict[TableSchema, pd.DataFrame]:
    """Average the importance and the knock-outs of every relation's facts.

    Args:
        layers: Importance of layers (`facts/layer_importance`) with a column `relation`.
        heads: Importance of heads, likewise.
        neurons: FFN value neurons, likewise.
        query_layers: What activates value neurons, by layer (`facts/query_layers`).
        query_neurons: The same by neuron (`facts/query_neurons`).
        answers: Answers with units switched off (`facts/knock_out`).

    Returns:
        Means of layers, heads and query layers, metrics of knock-outs, and neurons that facts
        share.
    """
    parts, shared = [], []
    for relation in layers["relation"].unique():
        own_layers, own_heads, own_values, own_queries = (
            frame[frame["relation"] == relation]
            for frame in (layers, heads, neurons, query_neurons)
        )
        parts.append(layer_summary(relation, own_layers, own_heads, query_layers))
        shared.append(shared_neurons(relation, "value", own_values))
        shared.append(shared_neurons(relation, "query", own_queries))
    return {
        tables.LAYER_SUMMARY: _joined(tables.LAYER_SUMMARY, parts),
        tables.KNOCK_OUT_SUMMARY: knock_out_summary(answers),
        tables.SHARED_NEURONS: _joined(tables.SHARED_NEURONS, shared),
    }


def _joined(schema: TableSchema, frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Frames below each other; empty ones, whose columns have no type, are left out."""
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else schema.frame([])


def knock_out_summary(answers: pd.DataFrame) -> pd.DataFrame:
    """MRR, probability and log-probability of every selection, with relative decreases.

    MRR is the mean of 1 / rank; a decrease is 100·(original - now) / original.
    """
    keys = ["relation", "selection", "method", "heads_of"]
    with_reciprocal = answers.assign(mrr=1.0 / answers["rank"])
    means = (
        with_reciprocal.groupby(keys, sort=False, dropna=False)
        .agg(
            facts=("example_id", "size"),
            mrr=("mrr", "mean"),
            probability=("probability", "mean"),
            logprob=("logprob", "mean"),
        )
        .reset_index()
    )
    original = means[means["selection"] == "original"].set_index("relation")
    for name, source in (("mrr_decrease", "mrr"), ("prob_decrease", "probability")):
        before = means["relation"].map(original[source]).astype(float)
        means[name] = 100.0 * (before - means[source]) / before
    means["heads_of"] = means["heads_of"].where(means["heads_of"].notna(), None)
    return means


def layer_summary(
    relation: str, layers: pd.DataFrame, heads: pd.DataFrame, queries: pd.DataFrame
) -> pd.DataFrame:
    """Mean importance of every layer and head of a relation, and mean query scores of layers."""
    own = queries[queries["relation"] == relation]
    rows = [
        *(
            (kind, layer, None, kind, value, facts)
            for kind, layer, value, facts in _means(layers, ["kind", "layer"], "importance")
        ),
        *(
            ("head", layer, head, "attention", value, facts)
            for layer, head, value, facts in _means(heads, ["layer", "head"], "importance")
        ),
        *(
            (f"query_{values}", layer, None, kind, value, facts)
            for values, layer, kind, value, facts in _means(
                own, ["values", "layer", "kind"], "score"
            )
        ),
    ]
    columns = ["unit", "layer", "head", "kind", "importance", "facts"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(0, "relation", relation)
    frame["head"] = frame["head"].astype("Int64")
    return frame


def _means(frame: pd.DataFrame, keys: list[str], value: str) -> list[tuple[Any, ...]]:
    means = frame.groupby(keys, sort=False)[value].agg(["mean", "size"]).reset_index()
    return [tuple(row) for row in means.itertuples(index=False)]


def shared_neurons(relation: str, role: str, neurons: pd.DataFrame) -> pd.DataFrame:
    """Neurons among the best of more than half of a relation's facts (Table 8).

    With a single fact every neuron would be shared, which says nothing; none is then.
    """
    columns = ["relation", "role", "layer", "neuron", "facts", "share"]
    total = neurons["example_id"].nunique()
    if total < 2:
        return pd.DataFrame(columns=columns)
    counts = neurons.groupby(["layer", "neuron"]).size().rename("facts").reset_index()
    counts["share"] = counts["facts"] / total
    counts = counts[counts["share"] > SHARED_SHARE]
    counts.insert(0, "role", role)
    counts.insert(0, "relation", relation)
    ordered = counts.sort_values(["facts", "layer", "neuron"], ascending=[False, True, True])
    return ordered[columns]
