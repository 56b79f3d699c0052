"""From a task's records to what its sweeps need: examples, switch pairs, chance floors, intake."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from llm_anatomy.config.patching import (
    Angle,
    ArithmeticTask,
    ExtractiveQaTask,
    Freeze,
    Manipulation,
    Noise,
    RelationTask,
    Shuffle,
    SummarisationTask,
    Switch,
    Task,
)
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.tokenizer import TextTokenizer
from llm_anatomy.patching.cases import reaches
from llm_anatomy.patching.floors import answer_floors, span_floors, word_floors
from llm_anatomy.patching.pairs import SwitchPair, make_pairs, subject_missing
from llm_anatomy.patching.prompts import Limits, TaskExample, make_example, sample
from llm_anatomy.patching.tasks import Record, SetAside, TaskItems, items_of
from llm_anatomy.tables.patching import EXAMPLES, FLOORS, INTAKE, PAIRS


@dataclass(frozen=True)
class BuiltTask:
    """A task as one model's tokenizer reads it.

    Attributes:
        examples: Table `patching/examples`.
        pairs: Table `patching/pairs`; empty unless switches are asked for.
        floors: Table `patching/floors`.
        intake: Table `patching/intake`.
    """

    examples: pd.DataFrame
    pairs: pd.DataFrame
    floors: pd.DataFrame
    intake: pd.DataFrame


def build_task(
    task: Task,
    records: Sequence[Record],
    tokenizer: Any,
    *,
    context: int | None = None,
    manipulations: Sequence[Manipulation] = (),
    seed: int = 0,
) -> BuiltTask:
    """Tokenise a task's records for a model; what cannot be used is set aside with a reason.

    Args:
        task: The task.
        records: Rows of the table of its data set; arithmetic makes its own examples.
        tokenizer: The model's tokenizer.
        context: Most tokens that the model reads; None where it has no limit.
        manipulations: What it will go through: a switch needs pairs of a relation's examples.
        seed: Seed of the sample, of the pairs and of random answers.

    Raises:
        UserError: Two records have one id, none can be used, or a manipulation has a token to
            manipulate in none of the prompts.
    """
    items = items_of(task, records, tokenizer, seed)
    _check_unique(task, items)
    # Single tokens are compared by the first, questions and summaries by what fits.
    whole = isinstance(task, RelationTask | ArithmeticTask) and task.max_new_tokens > 1
    limits = Limits(context, task.max_new_tokens, whole)
    tokenised = [make_example(tokenizer, item, limits) for item in items.items]
    aside = items.set_aside + [example for example in tokenised if isinstance(example, SetAside)]
    usable = [example for example in tokenised if isinstance(example, TaskExample)]
    keep = task.keep if isinstance(task, RelationTask) else []
    used, left = sample(usable, task.max_examples, keep, seed, task.name)
    if not used:
        raise _nothing_usable(task, aside)
    pairs: list[SwitchPair] = []
    unpaired: list[SetAside] = []
    unreached = _unreached(task, used, manipulations)
    if any(isinstance(manipulation, Switch) for manipulation in manipulations):
        assert isinstance(task, RelationTask)
        pairs, unpaired = make_pairs(tokenizer, task, used, seed)
    prompts = [example.item.prompt for example in used]
    controls = TextTokenizer.of(tokenizer).warn(prompts, f"prompts of the task '{task.name}'")
    aside += left
    return BuiltTask(
        examples=EXAMPLES.frame(map(_example_row, used)),
        pairs=PAIRS.frame(map(_pair_row, pairs)),
        floors=FLOORS.frame(_floor_rows(task, used, seed)),
        intake=INTAKE.frame(_intake_rows(used, controls, aside, pairs, unpaired + unreached)),
    )


def _check_unique(task: Task, items: TaskItems) -> None:
    seen: set[str] = set()
    for item in items.items:
        if item.example_id in seen:
            raise UserError(
                f"patching.tasks: the task '{task.name}' has two examples with the id "
                f"'{item.example_id}'; give each its own `example_id`"
            )
        seen.add(item.example_id)


def _nothing_usable(task: Task, aside: Sequence[SetAside]) -> UserError:
    if not aside:
        return UserError(
            f"patching.tasks: the task '{task.name}' has no examples (its source is empty)"
        )
    reasons = ", ".join(sorted({entry.category for entry in aside}))
    return UserError(
        f"patching.tasks: no example of the task '{task.name}' can be used ({reasons}); for "
        f"instance {aside[0].example_id}: {aside[0].reason}"
    )


def _unreached(
    task: Task, used: Sequence[TaskExample], manipulations: Sequence[Manipulation]
) -> list[SetAside]:
    """The examples of which a manipulation would manipulate nothing, or not all that it lists."""
    found: list[SetAside] = []
    for manipulation in manipulations:
        if not isinstance(manipulation, Noise | Shuffle | Angle | Freeze):
            continue
        reached = [example for example in used if reaches(manipulation, example)]
        if not reached:
            longest = max(len(example.tokens) for example in used)
            raise UserError(
                f"patching.manipulations: '{manipulation.name}' manipulates no token in any prompt "
                f"of the task '{task.name}' (positions: {manipulation.positions}; the longest "
                f"prompt has {longest} tokens, and the last is never manipulated); choose other "
                "`positions`, or list the task's `manipulations` without it"
            )
        for example in used:
            found += _missing_positions(manipulation, example)
    return found


def _missing_positions(
    manipulation: Noise | Shuffle | Angle | Freeze, example: TaskExample
) -> Iterable[SetAside]:
    """The entry of an example that lacks positions which a manipulation lists or describes."""
    previous = len(example.tokens) - 1
    listed = manipulation.positions if isinstance(manipulation.positions, list) else []
    lacking = [position for position in listed if position >= previous]
    reached = reaches(manipulation, example)
    if lacking:
        reason = f"'{manipulation.name}': it has {previous} previous tokens, no position {lacking}"
    elif not reached and example.span is not None:
        reason = f"'{manipulation.name}': none of its {previous} previous tokens is meant"
    else:
        # One whose subject is not in the prompt has its entry already.
        return
    category = "fewer_positions" if reached else "no_position"
    item = example.item
    yield SetAside(item.example_id, item.subject, category, reason, "positions", used=reached)


def _example_row(example: TaskExample) -> dict[str, Any]:
    return {
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


def _pair_row(pair: SwitchPair) -> dict[str, Any]:
    assert pair.target.span is not None
    return {
        "example_id": pair.target.item.example_id,
        "donor_id": pair.donor.item.example_id,
        "donor_prompt": pair.prompt.text,
        "donor_tokens": list(pair.prompt.tokens),
        "donor_positions": list(pair.donor_positions),
        "donor_answers": list(pair.donor.item.answers),
        "donor_gold_token": pair.donor.gold_token,
        "donor_first_tokens": list(pair.donor.first_tokens),
        "start": pair.start,
        "target_span": pair.target.span[1] - pair.target.span[0],
        "donor_span": pair.prompt.span[1] - pair.prompt.span[0],
        "alignment": pair.alignment,
    }


def _floor_rows(task: Task, examples: Sequence[TaskExample], seed: int) -> list[dict[str, Any]]:
    if isinstance(task, ExtractiveQaTask):
        floors = span_floors(examples, seed)
    elif isinstance(task, SummarisationTask):
        floors = word_floors(examples, seed)
    else:
        floors = answer_floors(examples)
    return [{"metric": metric, "floor": floor, "value": value} for metric, floor, value in floors]


def _intake_rows(
    used: Sequence[TaskExample],
    controls: Sequence[int],
    aside: Sequence[SetAside],
    pairs: Sequence[SwitchPair],
    unpaired: Sequence[SetAside],
) -> Iterable[dict[str, Any]]:
    for example, count in zip(used, controls, strict=True):
        notes = {} if example.item.note is None else {"truncated": example.item.note}
        if count:
            notes["control_tokens"] = f"the prompt holds the characters of {count} control tokens"
        row = _used_row(example, "task")
        if notes:
            row |= {"category": next(iter(notes)), "reason": "; ".join(notes.values())}
        yield row
    yield from map(asdict, aside)
    # Manipulations of the subject's positions leave these out as well.
    for example in used:
        if example.item.subject is not None and example.span is None:
            yield asdict(subject_missing(example, "subject"))
    targets = {pair.target.item.example_id: pair.target for pair in pairs}
    for target in targets.values():
        yield _used_row(target, "switch")
    yield from map(asdict, unpaired)


def _used_row(example: TaskExample, scope: str) -> dict[str, Any]:
    return {
        "example_id": example.item.example_id,
        "subject": example.item.subject,
        "scope": scope,
        "used": True,
        "category": None,
        "reason": None,
    }
