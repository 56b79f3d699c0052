"""Average every relation's importance, knock-outs and shared neurons; no model is needed."""

from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.facts import summary
from llm_anatomy.runner import run_stage
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import TableSchema, read_provenance, read_table, write_table


class SummaryStage(Settings):
    """Summaries have no settings."""


def run(
    settings: SummaryStage,
    *,
    layers: tuple[Path, ...],
    heads: tuple[Path, ...],
    neurons: tuple[Path, ...],
    query_layers: Path,
    query_neurons: Path,
    knock_out: Path,
    layer_summary: Path,
    knock_out_summary: Path,
    shared_neurons: Path,
) -> None:
    """Read a model's tables of every relation; write means, knock-outs and shared neurons."""
    names = [path.parent.name for path in layers]
    layer_queries = read_table(query_layers, tables.QUERY_LAYERS)
    neuron_queries = read_table(query_neurons, tables.QUERY_NEURONS)
    provenance = read_provenance(knock_out)
    parts, shared = [], []
    for name, layer_path, head_path, neuron_path in zip(names, layers, heads, neurons, strict=True):
        parts.append(
            summary.layer_summary(
                name,
                read_table(layer_path, tables.LAYER_IMPORTANCE),
                read_table(head_path, tables.HEAD_IMPORTANCE),
                layer_queries,
            )
        )
        values = read_table(neuron_path, tables.NEURON_IMPORTANCE)
        queries = neuron_queries[neuron_queries["relation"] == name]
        shared += [
            summary.shared_neurons(name, "value", values),
            summary.shared_neurons(name, "query", queries),
        ]
    write_table(
        layer_summary, tables.LAYER_SUMMARY, joined(tables.LAYER_SUMMARY, parts), provenance
    )
    write_table(
        shared_neurons, tables.SHARED_NEURONS, joined(tables.SHARED_NEURONS, shared), provenance
    )
    answers = read_table(knock_out, tables.KNOCK_OUT)
    write_table(
        knock_out_summary,
        tables.KNOCK_OUT_SUMMARY,
        summary.knock_out_summary(answers),
        provenance,
    )


def joined(schema: TableSchema, frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Frames below each other; empty ones, whose columns have no type, are left out."""
    filled = [frame for frame in frames if len(frame)]
    if filled:
        return pd.concat(filled, ignore_index=True)
    return pd.DataFrame(columns=[column.name for column in schema.columns])


if __name__ == "__main__":
    run_stage(run)
