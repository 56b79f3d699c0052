"""Switch units off, fact by fact, and read what is left of each answer."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.facts import Attribution, KnockOut
from llm_anatomy.errors import UserError
from llm_anatomy.facts.importance import Explained
from llm_anatomy.facts.knockout import answers_without
from llm_anatomy.facts.methods import RANKED, TokenRanks, best_by_method
from llm_anatomy.facts.readout import Target, Unembedding
from llm_anatomy.facts.record import record_prompts
from llm_anatomy.facts.selections import (
    LAYER_KINDS,
    ORIGINAL,
    RANDOM,
    Randomly,
    Selection,
    best_heads,
    best_layers,
    ffn_selection,
    head_selection,
    layer_selections,
    value_selection,
)
from llm_anatomy.facts.subvalues import Subvalues, split_units
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.progress import Progress
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import TableSchema, content_hashes, read_table, write_table

logger = logging.getLogger(__name__)


class KnockOutStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    attribution: Attribution
    knock_out: KnockOut


def run(
    settings: KnockOutStage,
    *,
    model: Path,
    facts: tuple[Path, ...],
    layers: tuple[Path, ...],
    heads: tuple[Path, ...],
    neurons: tuple[Path, ...],
    attention_neurons: tuple[Path, ...],
    query_neurons: Path,
    knock_out: Path,
    method_layers: Path,
) -> None:
    """Read facts and their units; write every answer without them, and where methods look."""
    compute = compute_settings()
    asked = settings.knock_out
    frames = [read_table(path, tables.FACTS) for path in facts]
    names = [path.parent.name for path in facts]
    known = pd.concat(frames, ignore_index=True)
    loaded = load_model(model, settings.precision, compute)
    decoder = loaded.decoder
    best = _by_fact(neurons, names, tables.NEURON_IMPORTANCE)
    with torch.no_grad():
        by_method = _method_neurons(settings, decoder, known, best, compute.batch_tokens)
    selections = _Selections(
        decoder,
        settings,
        neurons=best,
        attention=_by_fact(attention_neurons, names, tables.ATTENTION_NEURON_IMPORTANCE),
        queries=_grouped(read_table(query_neurons, tables.QUERY_NEURONS)),
        heads={
            name: best_heads(frame, asked.head_share)
            for name, path in zip(names, heads, strict=True)
            if len(frame := read_table(path, tables.HEAD_IMPORTANCE))
        },
        layers={
            name: best_layers(frame, asked.layers)
            for name, path in zip(names, layers, strict=True)
            if len(frame := read_table(path, tables.LAYER_IMPORTANCE))
        },
    )
    jobs = [
        (index, selection)
        for index in range(len(known))
        for selection in selections.of(known.iloc[index], index, by_method[index])
    ]
    rows: list[dict[str, Any]] = [{} for _ in jobs]
    prompts = [list(map(int, tokens)) for tokens in known["tokens"]]
    gold = known["gold_token"].tolist()
    with Progress(len(jobs), "answers", "knock_out") as progress:
        for job, answer in answers_without(
            decoder,
            [prompts[index] for index, _ in jobs],
            [gold[index] for index, _ in jobs],
            [selection.units for _, selection in jobs],
            compute.batch_tokens,
            asked.operation,
            asked.value,
            _replay(decoder) if len(known) else None,
        ):
            index, selection = jobs[job]
            rows[job] = {
                "relation": known["relation"][index],
                "example_id": known["example_id"][index],
                "selection": selection.selection,
                "method": selection.method,
                "heads_of": selection.heads_of,
                "units": selection.count,
                "operation": asked.operation,
                "logprob": answer.logprob,
                "probability": answer.probability,
                "rank": answer.rank,
            }
            progress.advance()
    provenance = loaded.provenance | {
        "seed": settings.seed,
        "knock_out": asked.model_dump(mode="json"),
        "inputs": content_hashes((*facts, query_neurons)),
    }
    write_table(knock_out, tables.KNOCK_OUT, _frame(tables.KNOCK_OUT, rows), provenance)
    layer_rows = _method_layers(known, by_method, decoder.n_layers)
    write_table(
        method_layers, tables.METHOD_LAYERS, _frame(tables.METHOD_LAYERS, layer_rows), provenance
    )


def _replay(decoder: Decoder) -> Replay | None:
    """The decoder's blocks; None when they cannot be called one by one."""
    try:
        return Replay(decoder)
    except UserError:
        logger.info("the model's blocks cannot be called alone; every prompt is run as a whole")
        return None


Places = list[tuple[int, int]]


def _method_neurons(
    settings: KnockOutStage,
    decoder: Decoder,
    known: pd.DataFrame,
    stored: dict[tuple[str, str], pd.DataFrame],
    batch_tokens: int,
) -> list[dict[str, Places]]:
    """The best FFN neurons of every fact by every method.

    Those by log-probability increase are the table's, where it has enough of them.
    """
    asked = settings.knock_out
    subvalues, unembedding = Subvalues(decoder), Unembedding(decoder)
    ranks = None
    if set(asked.methods) & set(RANKED) and len(known):
        logger.info("ranking %d tokens in every subvalue", known["target_token"].nunique())
        ranks = TokenRanks(unembedding, subvalues, known["target_token"].tolist())
    found: list[dict[str, Places]] = [{} for _ in range(len(known))]
    prompts = [list(map(int, tokens)) for tokens in known["tokens"]]
    with Progress(len(known), "facts", "select neurons") as progress:
        for index, recording in record_prompts(decoder, prompts, batch_tokens, torch.float32):
            contrast = known["contrast_token"][index]
            fact = Explained(
                recording,
                unembedding.readout(recording.states()[-1], settings.attribution.norm),
                Target(
                    int(known["target_token"][index]), None if pd.isna(contrast) else int(contrast)
                ),
                subvalues,
                settings.attribution.search == "certified",
            )
            key = str(known["relation"][index]), str(known["example_id"][index])
            own = stored.get(key, pd.DataFrame())
            for method in asked.methods:
                if method == "log_prob_increase" and len(own) >= asked.neurons:
                    top = own.sort_values("rank").head(asked.neurons)
                    places = zip(top["layer"].tolist(), top["neuron"].tolist(), strict=True)
                    found[index][method] = list(places)
                    continue
                best = best_by_method(fact, method, asked.neurons, ranks, asked.signed_rank)
                layers, neurons = split_units(best.units, subvalues.widths)
                found[index][method] = list(zip(layers.tolist(), neurons.tolist(), strict=True))
            progress.advance()
    return found


class _Selections:
    """Everything that is switched off for each fact."""

    def __init__(
        self,
        decoder: Decoder,
        settings: KnockOutStage,
        *,
        neurons: dict[tuple[str, str], pd.DataFrame],
        attention: dict[tuple[str, str], pd.DataFrame],
        queries: dict[tuple[str, str], pd.DataFrame],
        heads: dict[str, Places],
        layers: dict[str, dict[str, list[int]]],
    ) -> None:
        self.asked, self.heads, self.layers = settings.knock_out, heads, layers
        self.neurons, self.attention, self.queries = neurons, attention, queries
        self.head_dim = decoder.blocks[0].head_dim
        self.randomly = Randomly(decoder, settings.seed)

    def of(self, fact: pd.Series, index: int, by_method: dict[str, Places]) -> list[Selection]:
        asked, key = self.asked, (str(fact["relation"]), str(fact["example_id"]))
        found = [ORIGINAL]
        found += [ffn_selection(places, "ffn", method) for method, places in by_method.items()]
        found.append(ffn_selection(self.randomly.ffn(asked.neurons, index), "ffn", RANDOM))
        if key in self.attention and key in self.neurons:
            n_attention, n_ffn = asked.value_neurons
            attention = self.attention[key].head(n_attention)
            chosen = value_selection(
                attention, self.neurons[key].head(n_ffn), self.head_dim, "log_prob_increase"
            )
            columns = attention[["layer", "head", "dimension"]].drop_duplicates()
            control = pd.DataFrame(
                self.randomly.ffn(chosen.count - len(columns), index), columns=["layer", "neuron"]
            )
            found += [
                chosen,
                value_selection(
                    self.randomly.attention(len(columns), index), control, self.head_dim, RANDOM
                ),
            ]
        if key in self.queries:
            best = self.queries[key].head(asked.query_neurons)
            places = list(zip(best["layer"], best["neuron"], strict=True))
            found += [
                ffn_selection(places, "query_neurons", "inner_product"),
                ffn_selection(self.randomly.ffn(len(places), index), "query_neurons", RANDOM),
            ]
        for name, places in self.heads.items():
            found.append(head_selection(places, self.head_dim, "log_prob_increase", name))
        if key[0] in self.heads:
            drawn = self.randomly.heads(len(self.heads[key[0]]), index)
            found.append(head_selection(drawn, self.head_dim, RANDOM, key[0]))
        if asked.layers and key[0] in self.layers:
            found += layer_selections(self.layers[key[0]], "log_prob_increase")
            drawn_layers = self.randomly.layers(asked.layers, index)
            found += layer_selections(dict.fromkeys(LAYER_KINDS, drawn_layers), RANDOM)
        return found


def _by_fact(
    paths: tuple[Path, ...], names: list[str], schema: TableSchema
) -> dict[tuple[str, str], pd.DataFrame]:
    found: dict[tuple[str, str], pd.DataFrame] = {}
    for name, path in zip(names, paths, strict=True):
        frame = read_table(path, schema).assign(relation=name)
        found |= _grouped(frame)
    return found


def _grouped(frame: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    groups = frame.groupby(["relation", "example_id"], sort=False)
    return {(str(key[0]), str(key[1])): part for key, part in groups}


def _method_layers(
    known: pd.DataFrame, by_method: list[dict[str, Places]], n_layers: int
) -> list[dict[str, Any]]:
    rows = []
    for relation, frame in known.groupby("relation", sort=False):
        for method in by_method[frame.index[0]]:
            chosen = Counter(
                layer for index in frame.index for layer, _ in by_method[index][method]
            )
            total = sum(chosen.values())
            rows += [
                {
                    "relation": relation,
                    "method": method,
                    "layer": layer,
                    "share": chosen[layer] / total,
                }
                for layer in range(n_layers)
            ]
    return rows


def _frame(schema: TableSchema, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[column.name for column in schema.columns])


if __name__ == "__main__":
    run_stage(run)
