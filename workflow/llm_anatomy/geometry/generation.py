"""Greedy answers to many prompts."""

from collections.abc import Sequence
from typing import Any

import torch

from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import token_budget_batches
from llm_anatomy.progress import Progress


def greedy_answers(
    decoder: Decoder,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    batch_tokens: int,
) -> list[list[int]]:
    """The most likely next token, again and again, until the end token or the limit.

    Args:
        decoder: The model.
        tokenizer: Its tokenizer, for the end token.
        prompts: Token ids of the prompts.
        max_new_tokens: Most tokens of an answer.
        batch_tokens: Most padded prompt tokens in one batch.

    Returns:
        Token ids of each answer, without the end token.
    """
    from transformers import GenerationConfig

    ends = end_tokens(decoder, tokenizer)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(ends) or None,
        pad_token_id=min(ends, default=0),
    )
    answers: list[list[int]] = [[] for _ in prompts]
    with torch.inference_mode(), Progress(len(prompts), "prompts", "greedy answers") as progress:
        for batch in token_budget_batches(prompts, batch_tokens, device=decoder.device):
            ids, mask = left_padded([prompts[row] for row in batch.rows])
            made = decoder.model.generate(
                input_ids=ids.to(decoder.device),
                attention_mask=mask.to(decoder.device),
                generation_config=config,
            )
            for row, tokens in zip(batch.rows, made[:, ids.shape[1] :].tolist(), strict=True):
                stop = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
                answers[row] = tokens[:stop]
            progress.advance(len(batch.rows))
    return answers


def end_tokens(decoder: Decoder, tokenizer: Any) -> set[int]:
    """Tokens that end an answer: the model's own list, and the tokenizer's."""
    own = decoder.model.generation_config.eos_token_id
    ends = set(own) if isinstance(own, list) else {own}
    return {int(token) for token in ends | {tokenizer.eos_token_id} if token is not None}


def left_padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids with padding on the left, so that every answer begins in the same column."""
    width = max(map(len, rows))
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = torch.tensor(list(row))
        mask[index, width - len(row) :] = 1
    return ids, mask
