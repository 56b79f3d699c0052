"""Make a task's examples, switch pairs, chance floors and intake for one model's tokenizer."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from llm_anatomy.config.base import Settings
from llm_anatomy.config.patching import (
    ArithmeticTask,
    ExtractiveQaTask,
    RelationTask,
    SummarisationTask,
    Task,
)
from llm_anatomy.config.ranges import check_layer
from llm_anatomy.errors import UserError
from llm_anatomy.patching.metrics import answer_floors, span_floors, word_floors
from llm_anatomy.patching.pairs import Pair, make_pairs, subject_missing
from llm_anatomy.patching.prompts import Example, Limits, make_example, sample
from llm_anatomy.patching.tasks import (
    Items,
    SetAside,
    arithmetic_items,
    qa_items,
    relation_items,
    summarisation_items,
)
from llm_anatomy.runner import run_stage
from llm_anatomy.tables.core import read_arrow, read_provenance, write_table
from llm_anatomy.tables.data import TABLE_OF_KIND
from llm_anatomy.tables.patching import EXAMPLES, FLOORS, INTAKE, PAIRS


class BuildTasksStage(Settings):
    """Settings of the stage."""

    seed: int
    task: Task
    switches: bool
    layers: list[int] | None


def run(
    settings: BuildTasksStage,
    *,
    model: Path,
    source: tuple[Path, ...],
    examples: Path,
    pairs: Path,
    floors: Path,
    intake: Path,
) -> None:
    """Read a task's source, tokenise it for a model, and write what can be used and what cannot."""
    from transformers import AutoConfig, AutoTokenizer

    task = settings.task
    folder = model.parent / "weights"
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    check_layers(settings.layers, config.num_hidden_layers)
    items, provenance = _items(settings, source, tokenizer)
    limits = Limits(
        context=getattr(config, "max_position_embeddings", None),
        max_new_tokens=task.max_new_tokens,
        whole_answer=isinstance(task, RelationTask | ArithmeticTask) and task.max_new_tokens > 1,
    )
    _check_unique(task, items)
    made = [make_example(tokenizer, item, limits) for item in items.items]
    aside = items.set_aside + [example for example in made if isinstance(example, SetAside)]
    usable = [example for example in made if isinstance(example, Example)]
    keep = task.keep if isinstance(task, RelationTask) else []
    used, left = sample(usable, task.max_examples, keep, settings.seed, task.name)
    if not used:
        reasons = ", ".join(sorted({entry.category for entry in aside})) or "its source is empty"
        raise UserError(
            f"patching.tasks: no example of the task '{task.name}' can be used ({reasons}); for "
            f"instance {aside[0].example_id}: {aside[0].reason}"
            if aside
            else f"patching.tasks: the task '{task.name}' has no examples ({reasons})"
        )
    switches: list[Pair] = []
    unswitched: list[SetAside] = []
    if settings.switches:
        assert isinstance(task, RelationTask)
        switches, unswitched = make_pairs(tokenizer, task, used, settings.seed)
    provenance |= {"seed": settings.seed, "task": task.model_dump(mode="json")}
    write_table(examples, EXAMPLES, _examples_frame(used), provenance)
    write_table(pairs, PAIRS, _pairs_frame(switches), provenance)
    write_table(floors, FLOORS, _floors_frame(task, used, settings.seed), provenance)
    entries = _intake(used, aside + left, switches, unswitched)
    write_table(intake, INTAKE, entries, provenance)


def check_layers(layers: Sequence[int] | None, n_layers: int) -> None:
    """Check that the layers to sweep exist.

    Raises:
        UserError: One does not; the sentence names it.
    """
    for layer in layers or []:
        check_layer("patching.layers", layer, n_layers)
    if layers is not None and (not layers or len(set(layers)) < len(layers)):
        raise UserError("patching.layers must name at least one layer, and none twice")


def _items(
    settings: BuildTasksStage, source: tuple[Path, ...], tokenizer: Any
) -> tuple[Items, dict[str, Any]]:
    task = settings.task
    if isinstance(task, ArithmeticTask):
        return arithmetic_items(task, settings.seed), {}
    (table,) = source
    records = read_arrow(table, TABLE_OF_KIND[task.data[0]]).to_pylist()
    if isinstance(task, RelationTask):
        items = relation_items(task, records)
    elif isinstance(task, ExtractiveQaTask):
        items = qa_items(task, records)
    else:
        items = summarisation_items(task, records, tokenizer)
    return items, {"data": read_provenance(table)}


def _check_unique(task: Task, items: Items) -> None:
    seen: set[str] = set()
    for item in items.items:
        if item.example_id in seen:
            raise UserError(
                f"patching.tasks: the task '{task.name}' has two examples with the id "
                f"'{item.example_id}'; give each its own `example_id`"
            )
        seen.add(item.example_id)


def _examples_frame(examples: Sequence[Example]) -> pd.DataFrame:
    return _frame(
        EXAMPLES,
        [
            {
                "example_id": example.item.example_id,
                "prompt": example.item.prompt,
                "tokens": list(example.tokens),
                "subject": example.item.subject,
                "span_start": example.span[0] if example.span else None,
                "span_end": example.span[1] if example.span else None,
                "answer": example.item.answers[0],
                "answers": list(example.item.answers),
                "gold_token": example.gold_token,
                "first_tokens": list(example.first_tokens),
                "answer_tokens": example.answer_tokens,
            }
            for example in examples
        ],
    )


def _pairs_frame(pairs: Sequence[Pair]) -> pd.DataFrame:
    rows = []
    for pair in pairs:
        assert pair.target.span is not None
        rows.append(
            {
                "example_id": pair.target.item.example_id,
                "donor_id": pair.donor.item.example_id,
                "donor_prompt": pair.prompt.text,
                "donor_tokens": list(pair.prompt.tokens),
                "donor_positions": list(pair.donor_positions),
                "start": pair.start,
                "target_span": pair.target.span[1] - pair.target.span[0],
                "donor_span": pair.prompt.span[1] - pair.prompt.span[0],
                "alignment": pair.alignment,
            }
        )
    return _frame(PAIRS, rows)


def _floors_frame(task: Task, examples: Sequence[Example], seed: int) -> pd.DataFrame:
    if isinstance(task, ExtractiveQaTask):
        floors = span_floors(examples, seed)
    elif isinstance(task, SummarisationTask):
        floors = word_floors(examples, seed)
    else:
        floors = answer_floors(examples)
    return pd.DataFrame(floors, columns=["metric", "floor", "value"])


def _intake(
    used: Sequence[Example],
    aside: Sequence[SetAside],
    switches: Sequence[Pair],
    unswitched: Sequence[SetAside],
) -> pd.DataFrame:
    entries = [_used(example.item.example_id, example.item.subject, "task") for example in used]
    for number, example in enumerate(used):
        if example.item.note is not None:
            entries[number] |= {"category": "truncated", "reason": example.item.note}
    entries += [asdict(entry) for entry in aside]
    # Manipulations of the subject's positions leave these out as well.
    entries += [
        asdict(subject_missing(example, "subject"))
        for example in used
        if example.item.subject is not None and example.span is None
    ]
    targets = {pair.target.item.example_id: pair.target for pair in switches}
    entries += [_used(name, target.item.subject, "switch") for name, target in targets.items()]
    entries += [asdict(entry) for entry in unswitched]
    return _frame(INTAKE, entries)


def _used(example_id: str, subject: str | None, scope: str) -> dict[str, Any]:
    return {
        "example_id": example_id,
        "subject": subject,
        "scope": scope,
        "used": True,
        "category": None,
        "reason": None,
    }


def _frame(schema: Any, rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[column.name for column in schema.columns])
    # Object columns keep missing numbers missing instead of turning integers into floats.
    return frame.astype(object).where(frame.notna(), None) if len(frame) else frame


if __name__ == "__main__":
    run_stage(run)
