"""Test what the paper says about facts on the tables of this run."""

from pathlib import Path

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.facts.claims import claims_of_model
from llm_anatomy.runner import run_stage
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import read_content_sha256, read_table, write_table


class ClaimsStage(Settings):
    """Claims have no settings."""


def run(
    settings: ClaimsStage,
    *,
    facts: tuple[Path, ...],
    layer_summary: tuple[Path, ...],
    knock_out_summary: tuple[Path, ...],
    query_neurons: tuple[Path, ...],
    claims: Path,
) -> None:
    """Read every model's summaries; write the paper's claims with what was measured."""
    rows = []
    for layers, answers, queries in zip(
        layer_summary, knock_out_summary, query_neurons, strict=True
    ):
        model = layers.parent.name
        own = [read_table(path, tables.FACTS) for path in facts if path.parts[-3] == model]
        rows += claims_of_model(
            model,
            pd.concat(own, ignore_index=True),
            read_table(layers, tables.LAYER_SUMMARY),
            read_table(answers, tables.KNOCK_OUT_SUMMARY),
            read_table(queries, tables.QUERY_NEURONS),
        )
    inputs = (*facts, *layer_summary, *knock_out_summary, *query_neurons)
    provenance = {"inputs": {str(path): read_content_sha256(path) for path in inputs}}
    names = [column.name for column in CLAIMS.columns]
    write_table(claims, CLAIMS, pd.DataFrame(rows, columns=names), provenance)


if __name__ == "__main__":
    run_stage(run)
