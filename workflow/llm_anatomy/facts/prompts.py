"""From subjects and answers to prompts that a model completes with the fact (section 4.1).

A fact is studied when its answer's first token is among the model's top predictions and above
every other answer of its relation. Every row is accounted for: used, or set aside with a reason.
"""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.config.facts import FactFilter
from llm_anatomy.config.templates import fill, without_end
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.answers import answer_tokens, prompt_tokens
from llm_anatomy.model.run.batching import context_length, equal_length_batches
from llm_anatomy.model.run.logprobs import log_probabilities
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.tokenizer import TextTokenizer
from llm_anatomy.statistics.random import Purpose, keyed_generator
from llm_anatomy.statistics.sampling import sample_rows

logger = logging.getLogger(__name__)

USED = "used"


@dataclass(frozen=True)
class OtherPrompt:
    """The prompt that a user holds a row's prompt against.

    Attributes:
        prompt: Its text.
        ids: Its token ids.
        token: First token of its answer; None where the model cannot be asked for it.
    """

    prompt: str
    ids: tuple[int, ...]
    token: int | None


@dataclass(frozen=True)
class Question:
    """A row of a relation, asked with one template.

    Attributes:
        example_id: Id of the row.
        subject: Its subject.
        answers: Accepted spellings, the canonical one first.
        prompt: Text of the prompt.
        ids: Token ids of the prompt.
        options: First token and number of tokens of every spelling that the tokenizer can write.
        counterfactual: The prompt that the row is held against; None where it names none.
    """

    example_id: str
    subject: str
    answers: tuple[str, ...]
    prompt: str
    ids: tuple[int, ...]
    options: dict[str, tuple[int, int]]
    counterfactual: OtherPrompt | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a question.

    Attributes:
        question: The question.
        outcome: `used`, or why it is set aside.
        answer: The first accepted spelling, the canonical one, that the vocabulary can write.
        token: That first token.
        n_tokens: Tokens of the spelling.
        rank: Rank of the token among all tokens, from 1.
        probability: Its probability.
        rival: The most likely answer of the relation that is not accepted here.
        predicted: The model's most likely token.
    """

    question: Question
    outcome: str
    answer: str | None = None
    token: int | None = None
    n_tokens: int | None = None
    rank: int | None = None
    probability: float | None = None
    rival: str | None = None
    predicted: int | None = None


def ask_relation(
    decoder: Decoder,
    tokenizer: Any,
    relation: pd.DataFrame,
    templates: Sequence[str],
    rules: FactFilter,
    batch_tokens: int,
) -> dict[str, list[Outcome]]:
    """Ask every row of a relation with every template: by template, what became of each row.

    Args:
        decoder: The model.
        tokenizer: Its tokenizer.
        relation: Rows of a table `data/relation`.
        templates: Prompts with `{subject}`; a row's own prompt goes before them.
        rules: Which facts are studied.
        batch_tokens: Most padded tokens in one pass.
    """
    outcomes: dict[str, list[Outcome]] = {}
    context = context_length(decoder.config)
    rows = relation.to_dict("records")
    for template in templates:
        questions = [ask(tokenizer, row, template, context) for row in rows]
        TextTokenizer.of(tokenizer).warn([question.prompt for question in questions], "prompts")
        # What cannot be asked is judged by its length alone.
        ids = [
            question.ids if 0 < len(question.ids) <= (context or math.inf) else (0,)
            for question in questions
        ]
        logs = next_token_log_probabilities(decoder, ids, batch_tokens)
        outcomes[template] = judge(questions, logs, rules, context)
        for outcome, number in sorted(counts(outcomes[template]).items()):
            logger.info("'%s': %d of %d %s", template, number, len(rows), outcome)
    return outcomes


def ask(
    tokenizer: Any, row: Mapping[Hashable, Any], template: str, context: int | None = None
) -> Question:
    """A row of a relation as a prompt with the first tokens of its accepted answers."""
    prompt = _own_text(row["prompt"]) or fill(template, subject=row["subject"])
    ids, _ = prompt_tokens(tokenizer, prompt)
    options = {}
    for answer in row["answers"]:
        tokens = answer_tokens(tokenizer, prompt, ids, answer)
        if tokens:
            options[answer] = (tokens[0], len(tokens))
    counterfactual = _other_prompt(tokenizer, row, context)
    answers = tuple(row["answers"])
    return Question(
        row["example_id"], row["subject"], answers, prompt, ids, options, counterfactual
    )


def _other_prompt(
    tokenizer: Any, row: Mapping[Hashable, Any], context: int | None
) -> OtherPrompt | None:
    prompt = _own_text(row.get("counterfactual_prompt"))
    if not prompt:
        return None
    ids, _ = prompt_tokens(tokenizer, prompt)
    answer = answer_tokens(tokenizer, prompt, ids, row["counterfactual_answer"])
    readable = 0 < len(ids) <= (context or math.inf)
    return OtherPrompt(prompt, ids, answer[0] if answer and readable else None)


def _own_text(given: Any) -> str:
    """A prompt of the data; a missing one is None or NaN, whatever read the table."""
    return without_end(given) if isinstance(given, str) else ""


def next_token_log_probabilities(
    decoder: Decoder, ids: Sequence[Sequence[int]], batch_tokens: int
) -> Float[Tensor, "prompts vocab"]:
    """Log-probabilities of the token after every prompt."""
    unembedding = unembedding_of(decoder)
    result = torch.empty(len(ids), decoder.vocab_size, dtype=unembedding.dtype)
    for batch in equal_length_batches(ids, batch_tokens, device=decoder.device):
        rows = torch.arange(len(batch.rows))
        with torch.no_grad():
            states = decoder.body(input_ids=batch.input_ids, use_cache=False).last_hidden_state
            logits = unembedding.unembed(states[rows, batch.last.cpu()])
        result[batch.rows] = log_probabilities(logits).cpu()
    return result


def judge(
    questions: Sequence[Question],
    log_probabilities: Float[Tensor, "prompts vocab"],
    rules: FactFilter,
    context: int | None = None,
) -> list[Outcome]:
    """Which questions pass the filter, in order, and why the others do not.

    Args:
        questions: The questions of a relation.
        log_probabilities: What the model gives the token after each prompt.
        rules: The filter.
        context: Most tokens that the model can read; None where it has no limit.
    """
    owners: dict[int, set[str]] = defaultdict(set)
    for question in questions:
        for token, _ in question.options.values():
            owners[token].add(question.answers[0])
    return [
        _judge(question, row, owners, rules, context)
        for question, row in zip(questions, log_probabilities, strict=True)
    ]


def _judge(
    question: Question,
    log_probs: Tensor,
    owners: dict[int, set[str]],
    rules: FactFilter,
    context: int | None,
) -> Outcome:
    if not question.ids:
        return Outcome(question, "the prompt has no token")
    if context is not None and len(question.ids) > context:
        return Outcome(question, "the prompt is longer than the model's context")
    if not question.options:
        return Outcome(question, "the answer cannot be written behind the prompt")
    # Canonical first: another spelling may begin with what the subject gives away ("Danish krone").
    answer, (token, n_tokens) = next(iter(question.options.items()))
    rank = int((log_probs > log_probs[token]).sum()) + 1
    own = {first for first, _ in question.options.values()}
    rivals = [other for other in owners if other not in own]
    rival = max(rivals, key=lambda other: float(log_probs[other]), default=None)
    if rules.multi_token == "set_aside" and n_tokens > 1:
        outcome = "the answer has several tokens"
    elif rules.ambiguous == "set_aside" and len(owners[token]) > 1:
        outcome = "the answer's first token begins another answer too"
    elif rules.top is not None and rank > rules.top:
        outcome = f"the answer is not in the top {rules.top}"
    elif rules.above_others and rival is not None and log_probs[rival] >= log_probs[token]:
        outcome = "another answer of the relation is as likely"
    else:
        outcome = USED
    return Outcome(
        question,
        outcome,
        answer,
        token,
        n_tokens,
        rank,
        float(log_probs[token].exp()),
        None if rival is None else min(owners[rival]),
        int(log_probs.argmax()),
    )


def best_template(outcomes: dict[str, list[Outcome]]) -> str:
    """The template that leaves most facts; of equals, the first."""
    return max(outcomes, key=lambda template: counts(outcomes[template])[USED])


def counts(outcomes: Sequence[Outcome]) -> Counter[str]:
    """How often each outcome occurred."""
    return Counter(item.outcome for item in outcomes)


def sample(
    outcomes: Sequence[Outcome], limit: int | None, keep: Sequence[str], seed: int, relation: str
) -> list[Outcome]:
    """The used facts, cut to a seeded sample that always contains the subjects to keep."""
    used = [item for item in outcomes if item.outcome == USED]
    order = keyed_generator(seed, Purpose.FACTS_SAMPLE, relation).permutation(len(used)).tolist()
    wanted = [item.question.subject in keep for item in used]
    return [used[row] for row in sample_rows(order, wanted, limit)]
