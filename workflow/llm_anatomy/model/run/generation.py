"""Generation: the one loop, and greedy answers of a plain model to many prompts.

The loop knows nothing of models: studies that clamp neurons or replace states while an answer is
made hand it their own step. Nothing of a model's `generation_config` but its end tokens is used,
so greedy means the most likely token, whatever penalties a model ships with.
"""

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.answers import until_end
from llm_anatomy.model.run.batching import equal_length_batches, token_budget_batches
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.progress import Progress

# The newest token of every row -> logits of the next, [rows, 1] -> [rows, vocab].
Step: TypeAlias = Callable[[Tensor], Tensor]
# Whether a row has its answer: its tokens so far, [rows, steps] -> [rows].
Finished: TypeAlias = Callable[[Tensor], Tensor]


def most_likely(logits: Float[Tensor, "rows vocab"]) -> Int[Tensor, " rows"]:
    """Greedy decoding: the token with the largest logit."""
    return logits.argmax(-1)


def ended(ends: Collection[int]) -> Finished:
    """A row has its answer once it holds an end token."""

    def finished(tokens: Int[Tensor, "rows steps"]) -> Bool[Tensor, " rows"]:
        return torch.isin(tokens, torch.tensor(sorted(ends), device=tokens.device)).any(1)

    return finished


def generate(
    logits: Float[Tensor, "rows vocab"],
    step: Step,
    steps: int,
    finished: Finished,
    choose: Callable[[Tensor], Tensor] = most_likely,
) -> Int[Tensor, "rows steps"]:
    """Tokens one after the other, at most `steps`; ends early when all rows are finished.

    Args:
        logits: Logits of the first token.
        step: Takes in every row's newest token and gives the logits of the next.
        steps: Tokens to generate, the first one included.
        finished: Tells the rows that have their answer.
        choose: Picks every row's next token from its logits.
    """
    tokens = choose(logits)[:, None]
    while tokens.shape[1] < steps and not bool(finished(tokens).all()):
        tokens = torch.cat([tokens, choose(step(tokens[:, -1:]))[:, None]], dim=1)
    return tokens


class CachedRun:
    """A model that reads the tokens of several rows and remembers keys and values.

    Args:
        decoder: The model.
        mask: Real tokens of the first input; rows shorter than the longest are padded on the left.
    """

    def __init__(self, decoder: Decoder, mask: Bool[Tensor, "rows tokens"]) -> None:
        self.decoder, self.mask = decoder, mask.long()
        self._takes_positions = takes_positions(decoder)
        self._cache: Any = None

    def __call__(self, tokens: Int[Tensor, "rows new"]) -> Float[Tensor, "rows vocab"]:
        """Read the next tokens of every row; logits of the token behind them."""
        if self._cache is not None:
            self.mask = torch.cat([self.mask, torch.ones_like(tokens)], dim=1)
        inputs: dict[str, Any] = {"input_ids": tokens, "attention_mask": self.mask}
        if self._takes_positions:
            positions = (self.mask.cumsum(1) - 1).clamp_min(0)
            inputs["position_ids"] = positions[:, -tokens.shape[1] :]
        output = self.decoder.body(**inputs, past_key_values=self._cache, use_cache=True)
        self._cache = output.past_key_values
        return unembedding_of(self.decoder).unembed(output.last_hidden_state[:, -1])


def takes_positions(decoder: Decoder) -> bool:
    """Whether a model can be told where the positions of a padded row begin."""
    return "position_ids" in inspect.signature(decoder.body.forward).parameters


@torch.no_grad()
def greedy_answers(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    ends: Collection[int],
    max_new_tokens: int,
    batch_tokens: int,
) -> list[list[int]]:
    """The most likely next token, again and again, until an end token or the limit.

    Args:
        decoder: The model.
        prompts: Token ids of the prompts.
        ends: Tokens that end an answer.
        max_new_tokens: Most tokens of an answer.
        batch_tokens: Most padded prompt tokens in one batch.

    Returns:
        Token ids of each answer, without the end token.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    batches = token_budget_batches if takes_positions(decoder) else equal_length_batches
    with Progress(len(prompts), "prompts", "greedy answers") as progress:
        for batch in batches(prompts, batch_tokens):
            ids, mask = left_padded([prompts[row] for row in batch.rows])
            run = CachedRun(decoder, mask.to(decoder.device))
            first = run(ids.to(decoder.device))
            tokens = generate(first, run, max_new_tokens, ended(ends))
            for row, answer in zip(batch.rows, until_end(tokens, ends), strict=True):
                answers[row] = answer
            progress.advance(len(batch.rows))
    return answers


def left_padded(
    rows: Sequence[Sequence[int]],
) -> tuple[Int[Tensor, "rows tokens"], Bool[Tensor, "rows tokens"]]:
    """Token ids with padding on the left, so that every answer begins in the same column."""
    width = max(map(len, rows))
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = torch.tensor(list(row))
        mask[index, width - len(row) :] = True
    return ids, mask
