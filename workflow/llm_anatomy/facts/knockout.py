"""Switching units off: zero, scale or replace coefficients while the model runs (section 4.1).

FFN neuron k: input k of the down projection. Attention neuron (j, k): input j·d_h + k of the o
projection. Head j: all of its inputs. At every position, as zeroing the parameters would.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from llm_anatomy.model.architecture import Decoder
from llm_anatomy.model.batching import Batch, equal_length_batches
from llm_anatomy.model.hooks import PreHook, hidden_input, hooked, replace_hidden_input

Operation = Literal["zero", "scale", "replace"]


@dataclass(frozen=True)
class Units:
    """Units to switch off, by layer.

    Attributes:
        ffn: FFN neurons of each layer.
        attention: Inputs j·d_h + k of the o projection of each layer.
    """

    ffn: Mapping[int, frozenset[int]] = field(default_factory=dict)
    attention: Mapping[int, frozenset[int]] = field(default_factory=dict)


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
    )


@dataclass(frozen=True)
class Answer:
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
) -> Iterator[tuple[int, Answer]]:
    """Run prompts, each with its own units switched off; yield index and answer.

    Args:
        decoder: The model.
        prompts: Token ids of each prompt.
        tokens: Token whose probability is read behind each prompt.
        units: What is switched off in each.
        batch_tokens: Most padded tokens in one pass.
        operation: `zero` coefficients, `scale` them by `value`, or `replace` them by it.
        value: The factor or the new coefficient.
    """
    for batch in equal_length_batches(prompts, batch_tokens, device=decoder.device):
        pre = _hooks(decoder, [units[row] for row in batch.rows], operation, value)
        logs = _log_probabilities(decoder, batch, pre)
        asked = torch.tensor([tokens[row] for row in batch.rows], device=logs.device)
        chosen = logs.gather(1, asked[:, None])
        ranks = (logs > chosen).sum(1) + 1
        for row, log, rank in zip(batch.rows, chosen[:, 0].tolist(), ranks.tolist(), strict=True):
            yield row, Answer(log, float(torch.tensor(log).exp()), int(rank))


def _log_probabilities(decoder: Decoder, batch: Batch, pre: dict[nn.Module, PreHook]) -> Tensor:
    rows = torch.arange(len(batch.rows))
    with torch.no_grad(), hooked(pre=pre):
        states = decoder.body(input_ids=batch.input_ids, use_cache=False).last_hidden_state
        return decoder.unembed(states[rows, batch.last.cpu()]).float().log_softmax(-1)


def _hooks(
    decoder: Decoder, units: Sequence[Units], operation: Operation, value: float
) -> dict[nn.Module, PreHook]:
    found: dict[nn.Module, PreHook] = {}
    for block in decoder.blocks:
        for module, sets in (
            (block.down.module, [item.ffn.get(block.index) for item in units]),
            (block.o.module, [item.attention.get(block.index) for item in units]),
        ):
            if any(sets):
                found[module] = _edit(sets, operation, value)
    return found


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
    found: dict[int, set[int]] = {}
    for layer, column in places:
        found.setdefault(layer, set()).add(column)
    return {layer: frozenset(columns) for layer, columns in found.items()}


def _joined(
    first: Mapping[int, frozenset[int]], second: Mapping[int, frozenset[int]]
) -> dict[int, frozenset[int]]:
    return {k: first.get(k, frozenset()) | second.get(k, frozenset()) for k in {*first, *second}}
