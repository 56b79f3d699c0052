"""The facts study on a loaded model: which units bring answers about, and what activates those.

What is switched off in turn is in `interventions.py`, one fact read closely in `case.py`.
"""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import pandas as pd
import torch
from torch import Tensor

from llm_anatomy.config.facts import Attribution, FactFilter, FactRelation, Queries
from llm_anatomy.errors import UserError
from llm_anatomy.facts.explain import FactTables
from llm_anatomy.facts.importance import Fact, fact_of
from llm_anatomy.facts.prompts import USED, Outcome, ask_relation, best_template, counts, sample
from llm_anatomy.facts.queries import (
    QueryShares,
    attention_query_layers,
    ffn_query_layers,
    query_neurons,
)
from llm_anatomy.facts.readout import TargetToken
from llm_anatomy.facts.record import Recording, record_facts, record_prompts
from llm_anatomy.facts.selections import by_fact
from llm_anatomy.facts.subvalues import AttentionUnits, Subvalues, split_units
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.progress import Progress
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import TableSchema

logger = logging.getLogger(__name__)

Rows: TypeAlias = list[dict[str, Any]]


class FactAttribution(NamedTuple):
    """The studied facts of a relation and the importance of their units.

    Attributes:
        template: The template that is used.
        outcomes: What became of the relation's rows under it, counted.
        frames: The tables: facts, intake, and the importance of layers, heads, positions, neurons.
    """

    template: str
    outcomes: dict[str, int]
    frames: dict[TableSchema, pd.DataFrame]


@torch.no_grad()
def attribute_facts(
    loaded: LoadedModel,
    rows: pd.DataFrame,
    relation: FactRelation,
    rules: FactFilter,
    settings: Attribution,
    seed: int,
    batch_tokens: int,
) -> FactAttribution:
    """Ask a relation's facts, and find which layers, heads and neurons bring each answer about.

    Args:
        loaded: The model.
        rows: The relation's rows, a table `data/relation`.
        relation: How its subjects are asked about, and how many facts are studied.
        rules: Which facts the model knows well enough (section 4.1).
        settings: How importance is computed (Eq. 13) and how many units are kept.
        seed: Seed of the sample of facts.
        batch_tokens: Most padded tokens in one pass.

    Raises:
        UserError: A token of the settings is not one token, or the model cannot be taken apart.
    """
    decoder, tokenizer = loaded.decoder, loaded.tokenizer
    outcomes = ask_relation(decoder, tokenizer, rows, relation.templates, rules, batch_tokens)
    template = best_template(outcomes)
    used = sample(outcomes[template], relation.max_facts, relation.keep, seed, relation.relation)
    if not used:
        logger.warning("%s: no fact passes the filter; its tables are empty", relation.relation)
    collected = FactTables(tokenizer, settings)
    facts = _attribute(loaded, relation.relation, used, collected, settings, batch_tokens)
    frames = {
        tables.FACTS: tables.FACTS.frame(facts),
        tables.FACTS_INTAKE: tables.FACTS_INTAKE.frame(
            _intake(outcomes, template, used, tokenizer)
        ),
    }
    frames |= collected.frames([item.question.example_id for item in used])
    return FactAttribution(template, dict(sorted(counts(outcomes[template]).items())), frames)


def _attribute(
    loaded: LoadedModel,
    relation: str,
    used: list[Outcome],
    collected: FactTables,
    settings: Attribution,
    batch_tokens: int,
) -> Rows:
    """Collect the importance of every fact's units; rows of the table of facts."""
    decoder, tokenizer = loaded.decoder, loaded.tokenizer
    subvalues = Subvalues(decoder)
    rows: dict[int, dict[str, Any]] = {}
    last: Fact | None = None
    with Progress(len(used), "facts", f"attribute_facts {relation}") as progress:
        ids = [item.question.ids for item in used]
        for index, recording in record_prompts(decoder, ids, batch_tokens):
            item = used[index]
            target = _target(settings, tokenizer, item)
            last = fact_of(recording, target, subvalues, settings)
            numbers = collected.add(item.question.example_id, last, index < settings.sums)
            rows[index] = _fact_row(relation, tokenizer, item, target) | numbers
            progress.advance()
    if last is not None:
        collected.read_neurons(last)
    return [rows[index] for index in sorted(rows)]


def _target(settings: Attribution, tokenizer: Any, item: Outcome) -> TargetToken:
    assert item.token is not None
    assert item.predicted is not None
    token = item.token if settings.target == "gold" else item.predicted
    if settings.token is not None:
        token = _single_token(tokenizer, "token", settings.token)
    contrast = None
    if settings.contrast is not None:
        contrast = _single_token(tokenizer, "contrast", settings.contrast)
    return TargetToken(token, contrast)


def _single_token(tokenizer: Any, key: str, text: str) -> int:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise UserError(
            f"the key 'facts.attribution.{key}' is '{text}', which the model's tokenizer writes "
            f"with {len(ids)} tokens; give the text of a single token, such as ' Paris'"
        )
    return int(ids[0])


def _fact_row(relation: str, tokenizer: Any, item: Outcome, target: TargetToken) -> dict[str, Any]:
    other = item.question.counterfactual
    return {
        "example_id": item.question.example_id,
        "relation": relation,
        "subject": item.question.subject,
        "answer": item.answer,
        "prompt": item.question.prompt,
        "tokens": list(item.question.ids),
        "gold_token": item.token,
        "answer_tokens": item.n_tokens,
        "target_token": target.token,
        "contrast_token": target.contrast,
        "target": tokenizer.decode([target.token]),
        "rank": item.rank,
        "probability": item.probability,
        "rival": item.rival,
        "counterfactual_prompt": None if other is None else other.prompt,
        "counterfactual_tokens": None if other is None else list(other.ids),
        "counterfactual_token": None if other is None else other.token,
    }


def _intake(
    outcomes: Mapping[str, list[Outcome]], chosen: str, used: list[Outcome], tokenizer: Any
) -> Rows:
    """What became of every row of the relation under every template."""
    studied = {item.question.example_id for item in used}
    rows = []
    for template, items in outcomes.items():
        for item in items:
            outcome, predicted = item.outcome, item.predicted
            if template == chosen and outcome == USED and item.question.example_id not in studied:
                outcome = "not sampled"
            rows.append(
                {
                    "example_id": item.question.example_id,
                    "subject": item.question.subject,
                    "template": template,
                    "chosen": template == chosen,
                    "outcome": outcome,
                    "prompt": item.question.prompt,
                    "answer": item.answer,
                    "answer_tokens": item.n_tokens,
                    "rank": item.rank,
                    "probability": item.probability,
                    "rival": item.rival,
                    "predicted": None if predicted is None else tokenizer.decode([predicted]),
                }
            )
    return rows


@torch.no_grad()
def trace_queries(
    loaded: LoadedModel,
    facts: pd.DataFrame,
    neurons: pd.DataFrame,
    attention_neurons: pd.DataFrame,
    settings: Queries,
    batch_tokens: int,
) -> dict[TableSchema, pd.DataFrame]:
    """Find what activates the value neurons of every fact: query layers and query neurons.

    Args:
        loaded: The model.
        facts: The facts, a table `facts/facts` of any relations.
        neurons: Their FFN value neurons (`facts/neuron_importance`) with a column `relation`.
        attention_neurons: Their attention value neurons, likewise.
        settings: How many value neurons are traced, and by which subkeys (section 3.4).
        batch_tokens: Most padded tokens in one pass.

    Returns:
        Query scores of the embedding and of every layer, and the best query neurons.
    """
    subvalues = Subvalues(loaded.decoder)
    ffn, attention = by_fact(neurons), by_fact(attention_neurons)
    keys = fact_keys(facts)
    layer_rows: dict[int, Rows] = {}
    neuron_rows: dict[int, Rows] = {}
    with Progress(len(facts), "facts", "trace_queries") as progress:
        for index, recording in record_facts(loaded.decoder, facts, batch_tokens):
            key = keys[index]
            named = {"relation": key[0], "example_id": key[1]}
            values, sources = ffn.get(key, neurons[:0]), attention.get(key, attention_neurons[:0])
            rows = _ffn_queries(recording, subvalues, values, settings)
            rows += _attention_queries(recording, subvalues, sources, settings)
            layer_rows[index] = [named | row for row in rows]
            rows = _neuron_queries(recording, subvalues, values, sources, settings)
            neuron_rows[index] = [named | row for row in rows]
            progress.advance()
    return {
        tables.QUERY_LAYERS: tables.QUERY_LAYERS.frame(_in_order(layer_rows)),
        tables.QUERY_NEURONS: tables.QUERY_NEURONS.frame(_in_order(neuron_rows)),
    }


def fact_keys(facts: pd.DataFrame) -> list[tuple[str, str]]:
    """Relation and example of every row of a table `facts/facts`."""
    return list(zip(facts["relation"], facts["example_id"], strict=True))


def _in_order(rows: dict[int, Rows]) -> Rows:
    """Batches come sorted by length; tables follow the order of the facts."""
    return [row for index in sorted(rows) for row in rows[index]]


def _ffn_queries(
    recording: Recording, subvalues: Subvalues, values: pd.DataFrame, settings: Queries
) -> Rows:
    best = values[values["rank"] <= settings.value_neurons]
    if best.empty:
        return []
    shares = ffn_query_layers(
        recording,
        subvalues.decoder.blocks,
        _ids(best, "layer", recording),
        _ids(best, "neuron", recording),
        _importance(best, recording),
        settings.subkey,
        settings.min_denominator,
    )
    return _layer_rows("ffn", shares)


def _attention_queries(
    recording: Recording, subvalues: Subvalues, sources: pd.DataFrame, settings: Queries
) -> Rows:
    best = sources[sources["rank"] <= settings.attention_value_neurons]
    if best.empty:
        return []
    shares = attention_query_layers(
        recording,
        subvalues.decoder.blocks,
        _attention_units(best, recording),
        _importance(best, recording),
        settings.min_denominator,
    )
    return _layer_rows("attention", shares)


def _neuron_queries(
    recording: Recording,
    subvalues: Subvalues,
    values: pd.DataFrame,
    sources: pd.DataFrame,
    settings: Queries,
) -> Rows:
    best = sources[sources["rank"] <= settings.attention_value_neurons]
    if best.empty:
        return []
    scores = query_neurons(
        recording,
        subvalues,
        _attention_units(best, recording),
        _importance(best, recording),
        settings.min_denominator,
    )
    top = scores.topk(min(settings.query_neurons, int((scores > 0).sum())))
    layers, neurons = split_units(top.indices, subvalues.widths)
    also = set(zip(values["layer"], values["neuron"], strict=True))
    return [
        {
            "rank": rank,
            "layer": layer,
            "neuron": neuron,
            "score": score,
            "also_value": (layer, neuron) in also,
        }
        for rank, (layer, neuron, score) in enumerate(
            zip(layers.tolist(), neurons.tolist(), top.values.tolist(), strict=True), start=1
        )
    ]


def _layer_rows(values: str, shares: QueryShares) -> Rows:
    rows = []
    for part, score in enumerate(shares.scores.tolist()):
        kind = "embedding" if part == 0 else ("ffn" if part % 2 == 0 else "attention")
        rows.append(
            {
                "values": values,
                "layer": -1 if part == 0 else (part - 1) // 2,
                "kind": kind,
                "score": score,
                "neurons": shares.traced,
                "left_out": shares.left_out,
            }
        )
    return rows


def _attention_units(neurons: pd.DataFrame, recording: Recording) -> AttentionUnits:
    names = ("layer", "head", "position", "dimension")
    return AttentionUnits(*(_ids(neurons, name, recording) for name in names))


def _ids(frame: pd.DataFrame, name: str, recording: Recording) -> Tensor:
    return torch.tensor(frame[name].to_numpy(), device=recording.start.device)


def _importance(frame: pd.DataFrame, recording: Recording) -> Tensor:
    return torch.tensor(frame["importance"].to_numpy()).to(recording.start)
