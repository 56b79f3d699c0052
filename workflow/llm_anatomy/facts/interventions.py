"""Knock-outs on a loaded model: the answers of many facts with their units switched off."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from llm_anatomy.config.attribution import VocabularyMethod as Method
from llm_anatomy.config.facts import Attribution, KnockOut
from llm_anatomy.errors import UserError
from llm_anatomy.facts.experiment import fact_keys
from llm_anatomy.facts.importance import Fact, fact_of
from llm_anatomy.facts.knockout import answers_without
from llm_anatomy.facts.methods import RANKED, TokenRanks, best_by_method
from llm_anatomy.facts.readout import TargetToken
from llm_anatomy.facts.record import record_facts
from llm_anatomy.facts.selections import FactSelections, Places, Selection, UnitTables, by_fact
from llm_anatomy.facts.subvalues import Subvalues, split_units
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.progress import Progress
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import TableSchema

logger = logging.getLogger(__name__)


@torch.no_grad()
def knock_out(
    loaded: LoadedModel,
    facts: pd.DataFrame,
    units: UnitTables,
    attribution: Attribution,
    settings: KnockOut,
    seed: int,
    batch_tokens: int,
) -> dict[TableSchema, pd.DataFrame]:
    """Switch units off, fact by fact, and read what is left of each answer.

    Args:
        loaded: The model.
        facts: The facts, a table `facts/facts` of any relations.
        units: What is important for them.
        attribution: How importance was computed.
        settings: What is switched off, and how (sections 4.1 and 4.2).
        seed: Seed of the random controls; a fact's depend on its relation and example.
        batch_tokens: Most padded tokens in one pass.

    Returns:
        Every answer with every selection of units switched off, and where methods' neurons lie.
    """
    decoder = loaded.decoder
    by_method = _neurons_by_method(
        decoder, facts, units.neurons, attribution, settings, batch_tokens
    )
    selections = FactSelections(decoder, units, settings, seed)
    jobs = [
        (row, selection)
        for row, key in enumerate(fact_keys(facts))
        for selection in selections.of_fact(key, by_method[row])
    ]
    answers = _answers(decoder, facts, jobs, settings, batch_tokens)
    method_layers = _method_layers(facts, by_method, decoder.n_layers)
    return {
        tables.KNOCK_OUT: tables.KNOCK_OUT.frame(answers),
        tables.METHOD_LAYERS: tables.METHOD_LAYERS.frame(method_layers),
    }


def _answers(
    decoder: Decoder,
    facts: pd.DataFrame,
    jobs: Sequence[tuple[int, Selection]],
    settings: KnockOut,
    batch_tokens: int,
) -> list[dict[str, Any]]:
    """Rows of the table of answers: one for each pair of a fact's row and what is switched off."""
    keys, gold = fact_keys(facts), facts["gold_token"].tolist()
    prompts = [[int(token) for token in tokens] for tokens in facts["tokens"]]
    rows: list[dict[str, Any]] = [{} for _ in jobs]
    with Progress(len(jobs), "answers", "knock_out") as progress:
        for job, score in answers_without(
            decoder,
            [prompts[row] for row, _ in jobs],
            [gold[row] for row, _ in jobs],
            [selection.units for _, selection in jobs],
            batch_tokens,
            settings.operation,
            settings.value,
            _replay(decoder) if jobs else None,
        ):
            row, selection = jobs[job]
            rows[job] = {
                "relation": keys[row][0],
                "example_id": keys[row][1],
                "selection": selection.selection,
                "method": selection.method,
                "heads_of": selection.heads_of,
                "units": selection.count,
                "operation": settings.operation,
                "logprob": score.logprob,
                "probability": score.probability,
                "rank": score.rank,
            }
            progress.advance()
    return rows


def _replay(decoder: Decoder) -> Replay | None:
    """The decoder's blocks; None when they cannot be called one by one."""
    try:
        return Replay(decoder)
    except UserError:
        logger.info("the model's blocks cannot be called alone; every prompt is run as a whole")
        return None


def _neurons_by_method(
    decoder: Decoder,
    facts: pd.DataFrame,
    neurons: pd.DataFrame,
    attribution: Attribution,
    settings: KnockOut,
    batch_tokens: int,
) -> list[dict[str, Places]]:
    """The best FFN neurons of every fact by every method.

    Those by log-probability increase are the table's, where it has enough of them.
    """
    stored, keys = by_fact(neurons), fact_keys(facts)
    subvalues, ranks = Subvalues(decoder), None
    if set(settings.methods) & set(RANKED) and len(facts):
        logger.info("ranking %d tokens in every subvalue", facts["target_token"].nunique())
        ranks = TokenRanks(subvalues, facts["target_token"].tolist())
    targets = [
        TargetToken(int(token), None if pd.isna(contrast) else int(contrast))
        for token, contrast in zip(facts["target_token"], facts["contrast_token"], strict=True)
    ]
    by_method: list[dict[str, Places]] = [{} for _ in targets]
    with Progress(len(facts), "facts", "select neurons") as progress:
        for row, recording in record_facts(decoder, facts, batch_tokens):
            fact = fact_of(recording, targets[row], subvalues, attribution)
            best = stored.get(keys[row], neurons[:0])
            for method in settings.methods:
                if method == "log_prob_increase" and len(best) >= settings.neurons:
                    by_method[row][method] = _stored_places(best, settings.neurons)
                else:
                    by_method[row][method] = _best_places(fact, method, settings, ranks)
            progress.advance()
    return by_method


def _stored_places(neurons: pd.DataFrame, count: int) -> Places:
    best = neurons.sort_values("rank").head(count)
    return list(zip(best["layer"].tolist(), best["neuron"].tolist(), strict=True))


def _best_places(
    fact: Fact, method: Method, settings: KnockOut, ranks: TokenRanks | None
) -> Places:
    best = best_by_method(fact, method, settings.neurons, ranks, settings.signed_rank)
    layers, neurons = split_units(best.units, fact.subvalues.widths)
    return list(zip(layers.tolist(), neurons.tolist(), strict=True))


def _method_layers(
    facts: pd.DataFrame, by_method: Sequence[Mapping[str, Places]], n_layers: int
) -> list[dict[str, Any]]:
    """Share of each method's neurons in every layer, by relation."""
    by_relation: dict[str, list[Mapping[str, Places]]] = {}
    for (relation, _), places in zip(fact_keys(facts), by_method, strict=True):
        by_relation.setdefault(relation, []).append(places)
    rows = []
    for relation, of_facts in by_relation.items():
        for method in of_facts[0]:
            chosen = Counter(layer for places in of_facts for layer, _ in places[method])
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
