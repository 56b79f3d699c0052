"""Read one fact closely: its best units in tokens, contrasts, and where its heads look."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from llm_anatomy.config.base import Precision, Settings
from llm_anatomy.config.facts import Attribution, CaseStudy
from llm_anatomy.facts.case import Case
from llm_anatomy.facts.importance import Explained
from llm_anatomy.facts.readout import Target, Unembedding
from llm_anatomy.facts.record import record_prompts
from llm_anatomy.facts.subvalues import Subvalues
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.runner import compute_settings, run_stage
from llm_anatomy.tables import facts as tables
from llm_anatomy.tables.core import TableSchema, read_table, write_table
from llm_anatomy.tables.fact_case import CASE_ATTENTION, CASE_CONTRASTS, CASE_STUDY

logger = logging.getLogger(__name__)


class CaseStage(Settings):
    """What this stage reads of the configuration."""

    precision: Precision
    attribution: Attribution
    case_study: CaseStudy | None


def run(
    settings: CaseStage,
    *,
    model: Path,
    facts: tuple[Path, ...],
    query_neurons: Path,
    case_study: Path,
    contrasts: Path,
    attention: Path,
) -> None:
    """Read the case study's fact; write its units, contrasts and attention."""
    known = pd.concat([read_table(path, tables.FACTS) for path in facts], ignore_index=True)
    fact = _find(known, settings.case_study)
    rows: tuple[list[dict[str, Any]], ...] = ([], [], [])
    provenance: dict[str, Any] = {"case_study": None}
    if fact is not None and settings.case_study is not None:
        compute = compute_settings()
        loaded = load_model(model, settings.precision, compute)
        decoder, asked = loaded.decoder, settings.case_study
        queries = read_table(query_neurons, tables.QUERY_NEURONS)
        own = queries[
            (queries["relation"] == fact["relation"])
            & (queries["example_id"] == fact["example_id"])
        ].head(asked.units)
        with torch.no_grad():
            ids = [list(map(int, fact["tokens"]))]
            ((_, recording),) = record_prompts(decoder, ids, compute.batch_tokens, torch.float32)
            readout = Unembedding(decoder).readout(
                recording.states()[-1], settings.attribution.norm
            )
            case = Case(
                Explained(
                    recording, readout, Target(int(fact["target_token"])), Subvalues(decoder)
                ),
                loaded.tokenizer,
                asked.units,
                asked.tokens,
            )
            places = list(zip(own["layer"].tolist(), own["neuron"].tolist(), strict=True))
            tokens = _single_tokens(loaded.tokenizer, asked.contrasts)
            rows = (
                [*case.rows(), *case.query_neurons(places, own["score"].tolist())],
                case.contrasts(tokens),
                case.attention_map(),
            )
        provenance = loaded.provenance | {
            "case_study": asked.model_dump(),
            "prompt": fact["prompt"],
            "answer": fact["answer"],
        }
    for path, schema, part in (
        (case_study, CASE_STUDY, rows[0]),
        (contrasts, CASE_CONTRASTS, rows[1]),
        (attention, CASE_ATTENTION, rows[2]),
    ):
        write_table(path, schema, _frame(schema, part), provenance)


def _find(known: pd.DataFrame, case: CaseStudy | None) -> Any:
    if case is None:
        return None
    found = known[(known["relation"] == case.relation) & (known["subject"] == case.subject)]
    if found.empty:
        logger.warning(
            "facts.case_study: '%s' is not among the studied facts of '%s' (the model may not "
            "know it: see intake.parquet); its tables are empty",
            case.subject,
            case.relation,
        )
        return None
    return found.iloc[0]


def _single_tokens(tokenizer: Any, texts: list[str]) -> dict[str, int]:
    """Token of every contrast; a text of several tokens stands for its first."""
    found = {}
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids:
            found[tokenizer.decode(ids[:1])] = int(ids[0])
    return found


def _frame(schema: TableSchema, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[column.name for column in schema.columns])


if __name__ == "__main__":
    run_stage(run)
