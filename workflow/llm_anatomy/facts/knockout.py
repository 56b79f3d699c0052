"""Switching units off: zero, scale or replace coefficients while the model runs (section 4.1).

FFN neuron k: input k of the down projection. Attention neuron (j, k): input j·d_h + k of the o
projection. Head j: all of its inputs. Layer: the projection's whole output, bias included. At every
position, as zeroing the parameters would.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_anatomy.model.parts.architecture import Block, Decoder
from llm_anatomy.model.run.batching import Batch, equal_length_batches
from llm_anatomy.model.run.hooks import (
    ForwardHook,
    PreHook,
    hidden_input,
    hooked,
    replace_hidden_input,
)
from llm_anatomy.model.run.logprobs import token_log_probability, token_rank
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import Replay

Operation = Literal["zero", "scale", "replace"]


@dataclass(frozen=True)
class Units:
    """Units to switch off, by layer.

    Attributes:
        ffn: FFN neurons of each layer.
        attention: Inputs j·d_h + k of the o projection of each layer.
        ffn_layers: Layers whose whole FFN output is switched off.
        attention_layers: Layers whose whole attention output is switched off.
    """

    ffn: Mapping[int, frozenset[int]] = field(default_factory=dict)
    attention: Mapping[int, frozenset[int]] = field(default_factory=dict)
    ffn_layers: frozenset[int] = frozenset()
    attention_layers: frozenset[int] = frozenset()

    def first_layer(self, otherwise: int) -> int:
        """The lowest layer in which something is switched off; `otherwise` when nothing is."""
        return min(
            [*self.ffn, *self.attention, *self.ffn_layers, *self.attention_layers],
            default=otherwise,
        )


def ffn_units(places: Iterable[tuple[int, int]]) -> Units:
    """FFN neurons given as (layer, neuron)."""
    return Units(ffn=_by_layer(places))


def attention_units(places: Iterable[tuple[int, int, int]], head_dim: int) -> Units:
    """Attention neurons given as (layer, head, dimension); repeats count once."""
    return Units(attention=_by_layer((layer, head * head_dim + k) for layer, head, k in places))


def head_units(places: Iterable[tuple[int, int]], head_dim: int) -> Units:
    """Whole heads given as (layer, head)."""
    heads = list(places)
    return attention_units(
        ((layer, head, k) for layer, head in heads for k in range(head_dim)), head_dim
    )


def joined(first: Units, second: Units) -> Units:
    """The units of both."""
    return Units(
        _joined(first.ffn, second.ffn),
        _joined(first.attention, second.attention),
        first.ffn_layers | second.ffn_layers,
        first.attention_layers | second.attention_layers,
    )


@dataclass(frozen=True)
class Hooks:
    """What switches units off: edited inputs and outputs of projections."""

    pre: dict[nn.Module, PreHook]
    forward: dict[nn.Module, ForwardHook]

    def attached(self) -> AbstractContextManager[None]:
        """The hooks in force."""
        return hooked(forward=self.forward, pre=self.pre)


@dataclass(frozen=True)
class TokenScore:
    """What became of an answer's token.

    Attributes:
        logprob: Its log-probability.
        probability: Its probability.
        rank: Its rank among all tokens, from 1.
    """

    logprob: float
    probability: float
    rank: int


def answers_without(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    tokens: Sequence[int],
    units: Sequence[Units],
    batch_tokens: int,
    operation: Operation = "zero",
    value: float = 0.0,
    replay: Replay | None = None,
) -> Iterator[tuple[int, TokenScore]]:
    """Run prompts, each with its own units switched off; yield index and answer.

    Args:
        decoder: The model.
        prompts: Token ids of each prompt.
        tokens: Token whose probability is read behind each prompt.
        units: What is switched off in each.
        batch_tokens: Most padded tokens in one pass.
        operation: `zero` coefficients, `scale` them by `value`, or `replace` them by it.
        value: The factor or the new coefficient.
        replay: The decoder's blocks, to run each prompt only from its first switched layer on;
            None runs every prompt as a whole.
    """
    for batch in equal_length_batches(prompts, batch_tokens, device=decoder.device):
        chosen = [units[row] for row in batch.rows]
        if replay is None:
            logits = _whole(decoder, batch, _hooks(decoder.blocks, chosen, operation, value))
        else:
            logits = _joining(replay, batch.input_ids, chosen, operation, value)
        targets = torch.tensor([tokens[row] for row in batch.rows], device=logits.device)
        logs, ranks = token_log_probability(logits, targets), token_rank(logits, targets)
        for row, log, rank in zip(batch.rows, logs.tolist(), ranks.tolist(), strict=True):
            yield row, TokenScore(log, math.exp(log), rank)


def _whole(decoder: Decoder, batch: Batch, hooks: Hooks) -> Tensor:
    rows = torch.arange(len(batch.rows))
    with torch.no_grad(), hooks.attached():
        states = decoder.body(input_ids=batch.input_ids, use_cache=False).last_hidden_state
        return unembedding_of(decoder).unembed(states[rows, batch.last.cpu()])


def _joining(
    replay: Replay,
    input_ids: Int[Tensor, "rows tokens"],
    units: Sequence[Units],
    operation: Operation,
    value: float,
) -> Float[Tensor, "rows vocab"]:
    """Logits behind rows that leave their prompt's clean run where units are missing.

    Every different prompt is run once without a change; a row joins at the first block in which
    something of it is switched off.
    """
    decoder = replay.decoder
    firsts = [item.first_layer(decoder.n_layers) for item in units]
    order = sorted(range(len(units)), key=lambda row: firsts[row])
    with torch.no_grad():
        distinct, prompt_of = input_ids.unique(dim=0, return_inverse=True)
        clean = replay.embed(distinct)
        edited, joined = clean[:0], 0
        for block in decoder.blocks:
            until = sum(first <= block.index for first in firsts)
            edited = torch.cat([edited, clean[prompt_of[order[joined:until]]]])
            joined = until
            if joined:
                chosen = [units[row] for row in order[:joined]]
                with _hooks([block], chosen, operation, value).attached():
                    edited, _ = replay.block(block.index, edited)
            if joined < len(order):
                clean, _ = replay.block(block.index, clean)
        edited = torch.cat([edited, clean[prompt_of[order[joined:]]]])
        logits = unembedding_of(decoder).logits(edited[:, -1])
        back = torch.empty(len(order), dtype=torch.long)
        back[order] = torch.arange(len(order))
        return logits[back]


def _hooks(
    blocks: Iterable[Block], units: Sequence[Units], operation: Operation, value: float
) -> Hooks:
    hooks = Hooks({}, {})
    for block in blocks:
        for module, columns, layers in (
            (
                block.down.module,
                [item.ffn.get(block.index) for item in units],
                [block.index in item.ffn_layers for item in units],
            ),
            (
                block.o.module,
                [item.attention.get(block.index) for item in units],
                [block.index in item.attention_layers for item in units],
            ),
        ):
            if any(columns):
                hooks.pre[module] = _edit(columns, operation, value)
            if any(layers):
                hooks.forward[module] = _silence(layers, value if operation == "scale" else 0.0)
    return hooks


def _silence(rows: Sequence[bool], factor: float) -> ForwardHook:
    """Multiply some rows of a projection's output, bias included."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        view = output if output.ndim == 3 else output.reshape(len(rows), -1, output.shape[-1])
        factors = [factor if chosen else 1.0 for chosen in rows]
        return (view * view.new_tensor(factors)[:, None, None]).reshape(output.shape)

    return hook


def _edit(sets: Sequence[frozenset[int] | None], operation: Operation, value: float) -> PreHook:
    rows = [row for row, chosen in enumerate(sets) for _ in chosen or ()]
    columns = [column for chosen in sets for column in sorted(chosen or ())]

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        original = hidden_input(args, kwargs)
        edited = original.clone()
        # Some families flatten batch and positions before the down projection.
        view = edited if edited.ndim == 3 else edited.reshape(len(sets), -1, edited.shape[-1])
        if operation == "scale":
            view[rows, :, columns] *= value
        else:
            view[rows, :, columns] = 0.0 if operation == "zero" else value
        return replace_hidden_input(args, kwargs, view.reshape(original.shape))

    return hook


def _by_layer(places: Iterable[tuple[int, int]]) -> dict[int, frozenset[int]]:
    by_layer: dict[int, set[int]] = {}
    for layer, column in places:
        by_layer.setdefault(layer, set()).add(column)
    return {layer: frozenset(columns) for layer, columns in by_layer.items()}


def _joined(
    first: Mapping[int, frozenset[int]], second: Mapping[int, frozenset[int]]
) -> dict[int, frozenset[int]]:
    return {k: first.get(k, frozenset()) | second.get(k, frozenset()) for k in {*first, *second}}
