"""Test what the paper says about facts on the tables of this run."""

from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.facts.claims import FactClaimTables, claims_of_model
from llm_anatomy.runner import run_stage
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import TableSchema, content_hashes, read_table, write_table


class ClaimsStage(Settings):
    """Claims have no settings."""


def run(
    settings: ClaimsStage,
    *,
    facts: tuple[Path, ...],
    curves: tuple[Path, ...],
    neurons: tuple[Path, ...],
    layer_summary: tuple[Path, ...],
    knock_out: tuple[Path, ...],
    query_neurons: tuple[Path, ...],
    method_layers: tuple[Path, ...],
    shared_neurons: tuple[Path, ...],
    claims: Path,
) -> None:
    """Read every model's tables; write the paper's claims with what was measured."""
    rows = []
    for at, layers in enumerate(layer_summary):
        model = layers.parent.name
        found = FactClaimTables(
            facts=_of_model(model, facts, tables.FACTS),
            layers=read_table(layers, tables.LAYER_SUMMARY),
            answers=read_table(knock_out[at], tables.KNOCK_OUT),
            queries=read_table(query_neurons[at], tables.QUERY_NEURONS),
            methods=read_table(method_layers[at], tables.METHOD_LAYERS),
            values=_of_model(model, neurons, tables.NEURON_IMPORTANCE),
            shared=read_table(shared_neurons[at], tables.SHARED_NEURONS),
            curve=_of_model(model, curves, tables.CURVE),
        )
        rows += claims_of_model(model, found)
    inputs = (
        *(*facts, *curves, *neurons, *layer_summary, *knock_out),
        *(*query_neurons, *method_layers, *shared_neurons),
    )
    provenance = {"inputs": content_hashes(inputs)}
    names = [column.name for column in CLAIMS.columns]
    write_table(claims, CLAIMS, pd.DataFrame(rows, columns=names), provenance)


def _of_model(model: str, paths: tuple[Path, ...], schema: TableSchema) -> pd.DataFrame:
    """A model's tables of all relations, with the relation's name."""
    own = [path for path in paths if path.parts[-3] == model]
    frames = [read_table(path, schema).assign(relation=path.parent.name) for path in own]
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


if __name__ == "__main__":
    run_stage(run)
