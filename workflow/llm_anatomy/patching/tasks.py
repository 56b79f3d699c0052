"""The four kinds of task as items: a prompt, accepted answers, and where the subject stands."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llm_anatomy.config.patching import (
    ArithmeticTask,
    ExtractiveQaTask,
    RelationTask,
    SummarisationTask,
    Task,
)
from llm_anatomy.config.templates import fill, place_of, without_end
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.answers import place_in
from llm_anatomy.statistics.random import Purpose, keyed_generator

OPERATORS: dict[str, tuple[str, Callable[[int, int], int]]] = {
    "add": ("+", lambda a, b: a + b),
    "subtract": ("-", lambda a, b: a - b),
    "multiply": ("*", lambda a, b: a * b),
    "power": ("^", lambda a, b: a**b),
}


# A row of a data set's table.
Record = Mapping[str, Any]


@dataclass(frozen=True)
class TaskItem:
    """One example before tokenisation.

    Attributes:
        example_id: Unique within the task.
        prompt: Text up to where the answer begins.
        answers: Accepted answers, the canonical one first.
        subject: What the prompt asks about.
        subject_at: Character where the subject's last mention in the prompt begins; None when it
            is not mentioned.
        source: Text that random answers are drawn from, for the chance floor.
        note: What happened to the text, such as a cut; None when nothing did.
        counterfactual: The prompt that the data hold it against, as an item; None without one.
    """

    example_id: str
    prompt: str
    answers: tuple[str, ...]
    subject: str | None = None
    subject_at: int | None = None
    source: str = ""
    note: str | None = None
    counterfactual: "TaskItem | None" = None


@dataclass(frozen=True)
class SetAside:
    """An example that is not used, and why."""

    example_id: str
    subject: str | None
    category: str
    reason: str
    scope: str = "task"
    used: bool = False


@dataclass
class TaskItems:
    """What a task's source gives."""

    items: list[TaskItem] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)


def items_of(task: Task, records: Sequence[Record], tokenizer: Any, seed: int) -> TaskItems:
    """Items of any task.

    Args:
        task: The task.
        records: Rows of its data set's table; arithmetic generates its own.
        tokenizer: Cuts long articles.
        seed: Seed of the order of generated questions.

    Raises:
        UserError: The operand ranges of an arithmetic task are too small.
    """
    if isinstance(task, ArithmeticTask):
        return arithmetic_items(task, seed)
    if isinstance(task, RelationTask):
        return relation_items(task, records)
    if isinstance(task, ExtractiveQaTask):
        return qa_items(task, records)
    return summarisation_items(task, records, tokenizer)


def relation_items(task: RelationTask, records: Sequence[Record]) -> TaskItems:
    """Items of a relation; the subjects of its demonstrations are set aside.

    Args:
        task: The task.
        records: Rows of a table `RELATION`.
    """
    demonstrations = "".join(
        fill(
            task.demonstration,
            prompt=fill(task.prompt, subject=shown.subject),
            answer=shown.answer,
        )
        for shown in task.demonstrations
    )
    shown_subjects = {shown.subject.casefold() for shown in task.demonstrations}
    items = TaskItems()
    for record in records:
        subject, example_id = record["subject"], record["example_id"]
        if subject.casefold() in shown_subjects:
            items.set_aside.append(
                SetAside(
                    example_id, subject, "demonstration", "it is a solved example of the prompt"
                )
            )
            continue
        answers = tuple(record["answers"])
        if record["prompt"]:
            prompt = demonstrations + without_end(record["prompt"])
            at = place_in(prompt, subject)
        else:
            prompt = demonstrations + fill(task.prompt, subject=subject)
            at = len(demonstrations) + place_of(task.prompt, "subject", subject=subject)
        item = TaskItem(example_id, prompt, answers, subject, at)
        # Rows made by hand need not say that they have none.
        if record.get("counterfactual_prompt"):
            other = demonstrations + without_end(record["counterfactual_prompt"])
            item = replace(
                item, counterfactual=_counterfactual(item, other, record["counterfactual_answer"])
            )
        items.items.append(item)
    return items


def _counterfactual(item: TaskItem, prompt: str, answer: str) -> TaskItem:
    """The prompt that an item is held against; its subject is what stands where the item's does."""
    subject, at = None, None
    if item.subject and item.subject_at is not None:
        before = item.prompt[: item.subject_at]
        behind = item.prompt[item.subject_at + len(item.subject) :]
        middle = prompt.removeprefix(before).removesuffix(behind)
        if middle and prompt == before + middle + behind:
            subject, at = middle, len(before)
    return TaskItem(f"{item.example_id} counterfactual", prompt, (answer,), subject, at)


def donor_text(task: RelationTask, item: TaskItem) -> tuple[str, int | None]:
    """The prompt in which an item's subject is a donor, and where the subject begins in it."""
    if task.donors.prompt is None:
        return item.prompt, item.subject_at
    assert item.subject is not None
    template = task.donors.prompt
    at = place_of(template, "subject", subject=item.subject)
    return fill(template, subject=item.subject), at


def arithmetic_items(task: ArithmeticTask, seed: int) -> TaskItems:
    """All questions of the operand ranges, in a keyed random order; the solved ones set aside."""
    symbol, compute = OPERATORS[task.operation]
    pairs = [
        (a, b)
        for a, b in itertools.product(
            range(task.first[0], task.first[1] + 1), range(task.second[0], task.second[1] + 1)
        )
        if task.operation != "subtract" or a >= b
    ]
    if len(pairs) <= task.shots:
        raise UserError(
            f"patching.tasks: the task '{task.name}' has {len(pairs)} questions in its operand "
            f"ranges, too few for {task.shots} solved examples; widen `first` and `second`"
        )
    order = keyed_generator(seed, Purpose.ARITHMETIC, task.name).permutation(len(pairs))
    ordered = [pairs[index] for index in order]
    questions = [fill(task.prompt, a=str(a), b=str(b), operator=symbol) for a, b in ordered]
    results = [str(compute(a, b)) for a, b in ordered]
    shown = "".join(
        f"{question} {result}\n"
        for question, result in list(zip(questions, results, strict=True))[: task.shots]
    )
    items = TaskItems()
    for number, ((a, b), question, result) in enumerate(
        zip(ordered, questions, results, strict=True)
    ):
        example_id = f"{a}{symbol}{b}"
        if number < task.shots:
            items.set_aside.append(
                SetAside(example_id, None, "demonstration", "it is a solved example of the prompt")
            )
        else:
            items.items.append(TaskItem(example_id, shown + question, (result,)))
    return items


def qa_items(task: ExtractiveQaTask, records: Sequence[Record]) -> TaskItems:
    """Items of an extractive task from rows of a table `QUESTIONS`.

    Questions without an answer are set aside.
    """
    items = TaskItems()
    for record in records:
        example_id, context = record["example_id"], record["context"]
        if not record["answers"]:
            items.set_aside.append(
                SetAside(
                    example_id, None, "unanswerable", "the question has no answer in the context"
                )
            )
            continue
        prompt = fill(task.prompt, question=record["question"], context=context)
        answers = tuple(record["answers"])
        items.items.append(TaskItem(example_id, prompt, answers, source=context))
    return items


def summarisation_items(
    task: SummarisationTask, records: Sequence[Record], tokenizer: Any
) -> TaskItems:
    """Items of a summarisation task from rows of a table `ARTICLES`.

    Long articles are cut, and say so.
    """
    items = TaskItems()
    for record in records:
        article, note = record["article"], None
        encoded = tokenizer(article, add_special_tokens=False, return_offsets_mapping=True)
        count = len(encoded["input_ids"])
        if count > task.max_article_tokens:
            article = article[: encoded["offset_mapping"][task.max_article_tokens - 1][1]]
            note = f"the article has {count} tokens and is cut to {task.max_article_tokens}"
        items.items.append(
            TaskItem(
                record["example_id"],
                fill(task.prompt, article=article),
                (record["summary"],),
                source=article,
                note=note,
            )
        )
    return items
