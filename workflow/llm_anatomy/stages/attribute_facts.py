"""Ask a relation's facts, and find which layers, heads and neurons bring each answer about."""

import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.facts import Attribution, FactFilter, FactRelation
from llm_anatomy.errors import UserError
from llm_anatomy.facts.explain import FactTables
from llm_anatomy.facts.importance import Explained
from llm_anatomy.facts.prompts import (
    USED,
    Outcome,
    ask,
    best_template,
    counts,
    judge,
    next_token_log_probabilities,
    sample,
)
from llm_anatomy.facts.readout import Target, Unembedding
from llm_anatomy.facts.record import record_prompts
from llm_anatomy.facts.subvalues import Subvalues
from llm_anatomy.model.run.batching import context_length
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.progress import Progress
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import TableSchema, read_arrow, write_table
from llm_anatomy.tables.data import RELATION

logger = logging.getLogger(__name__)


class AttributionStage(Settings):
    """What this stage reads of the configuration."""

    seed: int
    precision: Precision
    relation: FactRelation
    filter: FactFilter
    attribution: Attribution


def run(
    settings: AttributionStage,
    *,
    model: Path,
    relation: Path,
    facts: Path,
    intake: Path,
    layers: Path,
    heads: Path,
    head_positions: Path,
    positions: Path,
    neurons: Path,
    attention_neurons: Path,
    certificates: Path,
    curve: Path,
    sums: Path,
) -> None:
    """Read a relation; write its facts, what was set aside, and the importance of every unit."""
    compute = compute_settings()
    loaded = load_model(model, settings.precision, compute)
    rows = read_arrow(relation, RELATION).to_pylist()
    chosen, outcomes = _outcomes(settings, loaded, rows, compute.batch_tokens)
    used = sample(
        outcomes[chosen], settings.relation.max_facts, settings.relation.keep, settings.seed
    )
    if not used:
        logger.warning("%s: no fact passes the filter; its tables are empty", relation)
    asked = settings.attribution
    collected = FactTables(loaded.tokenizer, asked)
    fact_rows = _explain(settings, loaded, used, collected, compute.batch_tokens)
    provenance = loaded.provenance | {
        "seed": settings.seed,
        "relation": settings.relation.model_dump(mode="json"),
        "filter": settings.filter.model_dump(),
        "attribution": asked.model_dump(),
        "template": chosen,
        "outcomes": dict(sorted(counts(outcomes[chosen]).items())),
    }
    write_table(facts, tables.FACTS, _frame(tables.FACTS, fact_rows), provenance)
    write_table(
        intake,
        tables.FACTS_INTAKE,
        _frame(tables.FACTS_INTAKE, _intake(outcomes, chosen, used, collected)),
        provenance,
    )
    for path, schema, name in (
        (layers, tables.LAYER_IMPORTANCE, "layers"),
        (heads, tables.HEAD_IMPORTANCE, "heads"),
        (head_positions, tables.HEAD_POSITION_IMPORTANCE, "head_positions"),
        (positions, tables.POSITION_IMPORTANCE, "positions"),
        (neurons, tables.NEURON_IMPORTANCE, "neurons"),
        (attention_neurons, tables.ATTENTION_NEURON_IMPORTANCE, "attention_neurons"),
        (certificates, tables.CERTIFICATES, "certificates"),
        (sums, tables.SUMS, "sums"),
    ):
        write_table(path, schema, _frame(schema, collected.rows[name]), provenance)
    write_table(curve, tables.CURVE, collected.curve(), provenance)


def _outcomes(
    settings: AttributionStage,
    loaded: LoadedModel,
    rows: list[dict[str, Any]],
    batch_tokens: int,
) -> tuple[str, dict[str, list[Outcome]]]:
    found: dict[str, list[Outcome]] = {}
    context = context_length(loaded.decoder.config)
    for template in settings.relation.templates:
        questions = [ask(loaded.tokenizer, row, template) for row in rows]
        # What cannot be asked is judged by its length alone.
        asked = [
            list(question.ids) if 0 < len(question.ids) <= (context or math.inf) else [0]
            for question in questions
        ]
        logs = next_token_log_probabilities(loaded.decoder, asked, batch_tokens)
        found[template] = judge(questions, logs, settings.filter, context)
        for outcome, number in sorted(counts(found[template]).items()):
            logger.info("'%s': %d of %d %s", template, number, len(rows), outcome)
    return best_template(found), found


def _explain(
    settings: AttributionStage,
    loaded: LoadedModel,
    used: list[Outcome],
    collected: FactTables,
    batch_tokens: int,
) -> list[dict[str, Any]]:
    asked, decoder = settings.attribution, loaded.decoder
    with torch.no_grad():
        subvalues, unembedding = Subvalues(decoder), Unembedding(decoder)
        found: dict[int, dict[str, Any]] = {}
        last: Explained | None = None
        with Progress(
            len(used), "facts", f"attribute_facts {settings.relation.relation}"
        ) as progress:
            ids = [list(item.question.ids) for item in used]
            for index, recording in record_prompts(decoder, ids, batch_tokens, torch.float32):
                item = used[index]
                target = _target(asked, loaded.tokenizer, item)
                final = recording.states()[-1]
                readout = unembedding.readout(final, asked.norm)
                last = Explained(recording, readout, target, subvalues, asked.search == "certified")
                numbers = collected.add(item.question.example_id, last, index < asked.sums)
                found[index] = _fact_row(settings, loaded, item, target) | numbers
                progress.advance()
        if last is not None:
            collected.read_neurons(last)
    for name in collected.rows:
        # Batches come sorted by length; tables follow the relation's order.
        order = {item.question.example_id: row for row, item in enumerate(used)}
        collected.rows[name].sort(key=lambda row: order[row["example_id"]])
    return [found[index] for index in sorted(found)]


def _target(asked: Attribution, tokenizer: Any, item: Outcome) -> Target:
    assert item.token is not None
    assert item.predicted is not None
    token = item.token if asked.target == "gold" else item.predicted
    if asked.token is not None:
        token = _single_token(tokenizer, "token", asked.token)
    contrast = None
    if asked.contrast is not None:
        contrast = _single_token(tokenizer, "contrast", asked.contrast)
    return Target(token, contrast)


def _single_token(tokenizer: Any, key: str, text: str) -> int:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise UserError(
            f"the key 'facts.attribution.{key}' is '{text}', which the model's tokenizer writes "
            f"with {len(ids)} tokens; give the text of a single token, such as ' Paris'"
        )
    return int(ids[0])


def _fact_row(
    settings: AttributionStage, loaded: LoadedModel, item: Outcome, target: Target
) -> dict[str, Any]:
    return {
        "example_id": item.question.example_id,
        "relation": settings.relation.relation,
        "subject": item.question.subject,
        "answer": item.answer,
        "prompt": item.question.prompt,
        "tokens": list(item.question.ids),
        "gold_token": item.token,
        "answer_tokens": item.n_tokens,
        "target_token": target.token,
        "contrast_token": target.contrast,
        "target": loaded.tokenizer.decode([target.token]),
        "rank": item.rank,
        "probability": item.probability,
        "rival": item.rival,
    }


def _intake(
    outcomes: dict[str, list[Outcome]], chosen: str, used: list[Outcome], collected: FactTables
) -> list[dict[str, Any]]:
    studied = {item.question.example_id for item in used}
    rows = []
    for template, items in outcomes.items():
        for item in items:
            outcome = item.outcome
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
                    "predicted": None
                    if item.predicted is None
                    else collected.tokens([item.predicted])[0],
                }
            )
    return rows


def _frame(schema: TableSchema, rows: list[dict[str, Any]]) -> pd.DataFrame:
    names = [column.name for column in schema.columns]
    return pd.DataFrame(rows, columns=names)


if __name__ == "__main__":
    run_stage(run)
