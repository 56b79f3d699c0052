"""From logits and generated tokens to the records of the table `patching/sweeps`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.config.patching import ExtractiveQaTask, SummarisationTask, Task
from llm_anatomy.model.run.answers import end_tokens
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.logprobs import Divergence, log_normaliser, token_rank
from llm_anatomy.patching.cases import AcceptedAnswers, SweepCase
from llm_anatomy.patching.metrics import ROUGE, exact_match, f1, rouge, starts_with_answer

# Rows of logits that are held in float32 at once.
LOGIT_ROWS = 256

Scoring = Literal["first_token", "continuation", "span", "summary"]


@dataclass(frozen=True)
class NextToken:
    """What the next-token distribution says, one entry per row.

    Attributes:
        token: The most probable token.
        gold_logprob: Log-probability of the answer's first token, in nats.
        gold_rank: Its rank from 1; tokens of equal probability share the better rank.
        donor_logprob: The same of the donor's answer; NaN without a donor.
        donor_rank: Its rank; 0 without a donor.
        kl: KL(clean || this), in nats.
    """

    token: np.ndarray
    gold_logprob: np.ndarray
    gold_rank: np.ndarray
    donor_logprob: np.ndarray
    donor_rank: np.ndarray
    kl: np.ndarray


def next_token(
    logits: Callable[[Tensor], Tensor],
    final: Float[Tensor, "rows d_model"],
    clean_final: Float[Tensor, "prompts d_model"],
    cases: Sequence[SweepCase],
) -> NextToken:
    """Score the next-token distributions of all variants of a batch.

    Args:
        logits: The model's unembedding.
        final: Final states, ordered by variant, then by case.
        clean_final: Clean final states of the cases.
        cases: The cases of the batch.
    """
    clean = logits(clean_final)
    divergence = Divergence(clean)
    device, prompts = clean.device, len(cases)
    gold = torch.tensor([case.answer.gold_token for case in cases], device=device)
    donor = torch.tensor(
        [c.donor.answer.gold_token if c.donor else -1 for c in cases], device=device
    )
    columns: list[list[Tensor]] = [[], [], [], [], [], []]
    at_once = max(1, LOGIT_ROWS // prompts)
    for states in final.view(-1, prompts, final.shape[-1]).split(at_once):
        part = logits(states)
        normaliser = log_normaliser(part)
        values = (
            part.argmax(-1),
            *_of(part, normaliser, gold),
            *_of(part, normaliser, donor),
            divergence.of(part, normaliser),
        )
        for column, value in zip(columns, values, strict=True):
            column.append(value.flatten())
    return NextToken(*(torch.cat(column).cpu().numpy() for column in columns))


def _of(
    logits: Float[Tensor, "variants prompts vocab"],
    normaliser: Float[Tensor, "variants prompts"],
    tokens: Int[Tensor, " prompts"],
) -> tuple[Tensor, Tensor]:
    """Log-probability and rank of one token per prompt; NaN and 0 where the token is -1."""
    index = tokens.clamp_min(0).expand(normaliser.shape)
    chosen = logits.gather(-1, index[..., None])[..., 0].double() - normaliser
    missing = tokens < 0
    return (
        chosen.masked_fill(missing, torch.nan),
        token_rank(logits, index).masked_fill(missing, 0),
    )


@dataclass(frozen=True)
class ContinuationScorer:
    """Reads generated tokens as an answer and scores it.

    Attributes:
        tokenizer: The model's tokenizer.
        scoring: How answers are compared.
        max_new_tokens: Tokens that are generated.
        end_tokens: Tokens that end a text.
    """

    tokenizer: Any
    scoring: Scoring
    max_new_tokens: int
    end_tokens: frozenset[int]

    @classmethod
    def of_task(cls, task: Task, loaded: LoadedModel) -> "ContinuationScorer":
        """The scorer of a task's answers by a model."""
        scoring: Scoring = "first_token" if task.max_new_tokens == 1 else "continuation"
        if isinstance(task, ExtractiveQaTask):
            scoring = "span"
        elif isinstance(task, SummarisationTask):
            scoring = "summary"
        ends = end_tokens(loaded.decoder, loaded.tokenizer)
        return cls(loaded.tokenizer, scoring, task.max_new_tokens, ends)

    def text(self, tokens: Sequence[int]) -> str:
        """The answer in a continuation: up to the end token, and for answers to the newline."""
        answer = list(takewhile(lambda token: token not in self.end_tokens, tokens))
        text = str(self.tokenizer.decode(answer, skip_special_tokens=True)).strip()
        return text if self.scoring == "summary" else text.split("\n")[0].strip()

    def finished(self, tokens: Int[Tensor, "rows steps"]) -> torch.Tensor:
        """Rows whose answer is complete."""
        return torch.tensor([self._complete(row) for row in tokens.tolist()])

    def _complete(self, tokens: list[int]) -> bool:
        if any(token in self.end_tokens for token in tokens):
            return True
        return self.scoring != "summary" and "\n" in str(self.tokenizer.decode(tokens)).lstrip()

    def score(self, case: SweepCase, tokens: Sequence[int]) -> dict[str, Any]:
        """Score columns of one record."""
        text = self.text(tokens)
        record: dict[str, Any] = {"prediction": text, "correct": None, "donor_correct": None}
        record |= dict.fromkeys(("exact_match", "f1", *ROUGE))
        if self.scoring == "summary":
            return record | rouge(text, case.answer.texts[0])
        if self.scoring == "span":
            match = exact_match(text, case.answer.texts)
            return record | {
                "correct": match == 1.0,
                "exact_match": match,
                "f1": f1(text, case.answer.texts),
            }
        record["correct"] = self._right(case.answer, tokens, text)
        if case.donor is not None:
            record["donor_correct"] = self._right(case.donor.answer, tokens, text)
        return record

    def _right(self, answer: AcceptedAnswers, tokens: Sequence[int], text: str) -> bool:
        if self.scoring == "first_token":
            return int(tokens[0]) in answer.first_tokens
        return starts_with_answer(text, answer.texts)
