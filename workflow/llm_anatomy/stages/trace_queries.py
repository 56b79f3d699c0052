"""Find what activates the value neurons of every fact: query layers and query neurons."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.facts import Queries
from llm_anatomy.facts.queries import (
    QueryShares,
    attention_query_layers,
    ffn_query_layers,
)
from llm_anatomy.facts.queries import (
    query_neurons as query_neuron_scores,
)
from llm_anatomy.facts.record import Recording, record_prompts
from llm_anatomy.facts.subvalues import AttentionUnits, Subvalues, split_units
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.progress import Progress
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import content_hashes, read_table, write_table


class QueryStage(Settings):
    """What this stage reads of the configuration."""

    precision: Precision
    queries: Queries


def run(
    settings: QueryStage,
    *,
    model: Path,
    facts: tuple[Path, ...],
    neurons: tuple[Path, ...],
    attention_neurons: tuple[Path, ...],
    query_layers: Path,
    query_neurons: Path,
) -> None:
    """Read every relation's facts and value neurons; write query layers and query neurons."""
    compute = compute_settings()
    known = pd.concat([read_table(path, tables.FACTS) for path in facts], ignore_index=True)
    ffn_values = _by_fact(neurons, facts, tables.NEURON_IMPORTANCE)
    attention_values = _by_fact(attention_neurons, facts, tables.ATTENTION_NEURON_IMPORTANCE)
    loaded = load_model(model, settings.precision, compute)
    asked, decoder = settings.queries, loaded.decoder
    layer_rows: dict[int, list[dict[str, Any]]] = {}
    neuron_rows: dict[int, list[dict[str, Any]]] = {}
    with torch.no_grad(), Progress(len(known), "facts", "trace_queries") as progress:
        subvalues = Subvalues(decoder)
        ids = [list(map(int, row)) for row in known["tokens"]]
        for index, recording in record_prompts(decoder, ids, compute.batch_tokens, torch.float32):
            fact = known.iloc[index]
            named = {"relation": fact["relation"], "example_id": fact["example_id"]}
            key = (fact["relation"], fact["example_id"])
            values = ffn_values.get(key, pd.DataFrame(columns=["rank"]))
            sources = attention_values.get(key, pd.DataFrame(columns=["rank"]))
            layer_rows[index], neuron_rows[index] = _trace(
                asked, recording, subvalues, named, values, sources
            )
            progress.advance()
    provenance = loaded.provenance | {
        "queries": asked.model_dump(),
        "inputs": content_hashes((*facts, *neurons)),
    }
    for path, schema, rows in (
        (query_layers, tables.QUERY_LAYERS, layer_rows),
        (query_neurons, tables.QUERY_NEURONS, neuron_rows),
    ):
        flat = [row for index in sorted(rows) for row in rows[index]]
        names = [column.name for column in schema.columns]
        write_table(path, schema, pd.DataFrame(flat, columns=names), provenance)


def _by_fact(
    paths: tuple[Path, ...], facts: tuple[Path, ...], schema: Any
) -> dict[tuple[str, str], pd.DataFrame]:
    found = {}
    for path, fact_path in zip(paths, facts, strict=True):
        relations = read_table(fact_path, tables.FACTS)["relation"].unique()
        for example_id, frame in read_table(path, schema).groupby("example_id", sort=False):
            found[str(relations[0]), str(example_id)] = frame
    return found


def _trace(
    asked: Queries,
    recording: Recording,
    subvalues: Subvalues,
    named: dict[str, Any],
    values: pd.DataFrame,
    sources: pd.DataFrame,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    blocks = subvalues.decoder.blocks
    layers: list[dict[str, Any]] = []
    best = values[values["rank"] <= asked.value_neurons]
    if len(best):
        shares = ffn_query_layers(
            recording,
            blocks,
            _ids(best, "layer", recording),
            _ids(best, "neuron", recording),
            _numbers(best, recording),
            asked.subkey,
            asked.min_denominator,
        )
        layers += _layer_rows(named | {"values": "ffn"}, shares)
    heads = sources[sources["rank"] <= asked.attention_value_neurons]
    neurons: list[dict[str, Any]] = []
    if len(heads):
        units = AttentionUnits(
            *(_ids(heads, name, recording) for name in ("layer", "head", "position", "dimension"))
        )
        importance = _numbers(heads, recording)
        shares = attention_query_layers(recording, blocks, units, importance, asked.min_denominator)
        layers += _layer_rows(named | {"values": "attention"}, shares)
        scores = query_neuron_scores(recording, subvalues, units, importance, asked.min_denominator)
        top = scores.topk(min(asked.query_neurons, int((scores > 0).sum())))
        place, neuron = split_units(top.indices, subvalues.widths)
        also = set(zip(values["layer"], values["neuron"], strict=True))
        neurons = [
            named
            | {"rank": rank, "layer": la, "neuron": ne, "score": sc, "also_value": (la, ne) in also}
            for rank, (la, ne, sc) in enumerate(
                zip(place.tolist(), neuron.tolist(), top.values.tolist(), strict=True), start=1
            )
        ]
    return layers, neurons


def _layer_rows(named: dict[str, Any], shares: QueryShares) -> list[dict[str, Any]]:
    rows = []
    for part, score in enumerate(shares.scores.tolist()):
        kind = "embedding" if part == 0 else ("ffn" if part % 2 == 0 else "attention")
        rows.append(
            named
            | {
                "layer": -1 if part == 0 else (part - 1) // 2,
                "kind": kind,
                "score": score,
                "neurons": shares.traced,
                "left_out": shares.left_out,
            }
        )
    return rows


def _ids(frame: pd.DataFrame, name: str, recording: Recording) -> torch.Tensor:
    return torch.tensor(frame[name].to_numpy(), device=recording.start.device)


def _numbers(frame: pd.DataFrame, recording: Recording) -> torch.Tensor:
    return torch.tensor(frame["importance"].to_numpy()).to(recording.start)


if __name__ == "__main__":
    run_stage(run)
