"""From items to token ids: subject spans, first tokens of answers, and what cannot be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llm_anatomy.model.run.answers import answer_tokens, tokenise
from llm_anatomy.patching.tasks import SetAside, TaskItem
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.statistics.sampling import sample_rows


@dataclass(frozen=True)
class TaskExample:
    """An item as the model reads it; columns of the table `patching/examples`.

    Attributes:
        item: The item.
        tokens: Token ids of the prompt, special tokens included.
        span: First and one past the last token of the subject; None without one in the prompt.
        gold_token: First token of the canonical answer.
        first_tokens: First tokens of every accepted answer.
        answer_tokens: Tokens of the canonical answer.
        counterfactual: The prompt that the data hold it against, or why that cannot be used.
    """

    item: TaskItem
    tokens: tuple[int, ...]
    span: tuple[int, int] | None
    gold_token: int
    first_tokens: tuple[int, ...]
    answer_tokens: int
    counterfactual: "TaskExample | SetAside | None" = None


@dataclass(frozen=True)
class Limits:
    """What a prompt and its answer must fit.

    Attributes:
        context: Most tokens that the model can read; None where it has no limit.
        max_new_tokens: Tokens that are generated.
        whole_answer: Whether an answer must fit into the generated tokens to be reached.
    """

    context: int | None
    max_new_tokens: int
    whole_answer: bool


def make_example(tokenizer: Any, item: TaskItem, limits: Limits) -> TaskExample | SetAside:
    """Tokenise an item, or say why it cannot be used."""
    tokens, span = tokenise(tokenizer, item.prompt, item.subject_at, len(item.subject or ""))

    def refuse(category: str, reason: str) -> SetAside:
        return SetAside(item.example_id, item.subject, category, reason)

    total = len(tokens) + limits.max_new_tokens - 1
    if limits.context is not None and total > limits.context:
        return refuse(
            "prompt_too_long",
            f"its {len(tokens)} tokens and {limits.max_new_tokens} new ones exceed the model's "
            f"context of {limits.context}",
        )
    if not tokens:
        return refuse("prompt_too_long", "its prompt has no token at all")
    continuations = [
        answer_tokens(tokenizer, item.prompt, tokens, answer) for answer in item.answers
    ]
    # Some tokenizers write the space before a number as its own token: it belongs to the prompt.
    while all(ids and not tokenizer.decode(ids[:1]).strip() for ids in continuations):
        tokens = (*tokens, continuations[0][0])
        continuations = [ids[1:] if ids[0] == tokens[-1] else () for ids in continuations]
    reachable = [
        ids
        for ids in continuations
        if ids and (not limits.whole_answer or len(ids) <= limits.max_new_tokens)
    ]
    if not reachable:
        shortest = min((len(ids) for ids in continuations if ids), default=0)
        reason = (
            f"the answer '{item.answers[0]}' needs {shortest} tokens, and {limits.max_new_tokens} "
            "are generated"
            if shortest
            else f"the tokenizer cannot write '{item.answers[0]}' after the prompt"
        )
        return refuse("answer_unreachable", reason)
    gold = continuations[0] or reachable[0]
    firsts = {ids[0] for ids in continuations if ids}
    # A model may also go on without the space that separates an answer from the prompt. Then only
    # the whole answer counts: its beginning may be a lone letter, such as the S of Sofia.
    joined = (answer_tokens(tokenizer, item.prompt, tokens, a, "") for a in item.answers)
    firsts |= {ids[0] for ids in joined if len(ids) == 1}
    other = item.counterfactual
    counterfactual = None if other is None else make_example(tokenizer, other, limits)
    return TaskExample(
        item, tokens, span, gold[0], tuple(sorted(firsts)), len(gold), counterfactual
    )


def sample(
    examples: Sequence[TaskExample], count: int | None, keep: Sequence[str], seed: int, task: str
) -> tuple[list[TaskExample], list[SetAside]]:
    """A keyed random sample, in the source's order; subjects in `keep` are always in it."""
    always = {subject.casefold() for subject in keep}
    wanted = [(example.item.subject or "").casefold() in always for example in examples]
    order = keyed_generator(seed, Purpose.PATCHING_SAMPLE, task).permutation(len(examples))
    chosen = set(sample_rows(order, wanted, count))
    left = [
        SetAside(
            example.item.example_id,
            example.item.subject,
            "not_sampled",
            f"it is not in the sample of {count} out of {len(examples)}",
        )
        for index, example in enumerate(examples)
        if index not in chosen
    ]
    return [example for index, example in enumerate(examples) if index in chosen], left
