"""The manipulations as the paper defines them: one full forward pass with hooks per layer k.

Slow and plain. The fast paths must give the same logits, and `method: reference` runs these.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.generation import ended, generate
from llm_anatomy.model.run.hooks import (
    PreHook,
    first_tensor,
    hidden_input,
    hooked,
    replace_first,
    replace_hidden_input,
)
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.patching.manipulations import Positions, RandomEdit, SwitchEdit

Logits = Float[Tensor, "rows vocab"]
Tokens = Int[Tensor, "rows tokens"]


def clean_logits(decoder: Decoder, tokens: Tokens) -> Logits:
    """Next-token logits of the unmanipulated model."""
    output = decoder.body(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    return unembedding_of(decoder).unembed(output.last_hidden_state[:, -1])


def edited_logits(
    decoder: Decoder, tokens: Tokens, layer: int, edit: RandomEdit | SwitchEdit
) -> Logits:
    """Noise, shuffle, angle: X^k_j := edit(X^k_j) for previous tokens j; switch: for the span."""

    def edit_input(states: Tensor) -> Tensor:
        if isinstance(edit, SwitchEdit):
            return edit(layer, states, 0)
        return torch.cat([edit(layer, states[:, :-1], 0), states[:, -1:]], dim=1)

    with hooked(pre={decoder.blocks[layer].module: _on_input(edit_input)}):
        return clean_logits(decoder, tokens)


def frozen_logits(decoder: Decoder, tokens: Tokens, layer: int, positions: Positions) -> Logits:
    """Freeze: X^l_j := X^k_j for every block l >= k and every manipulated previous token j."""
    where = positions.of(0, tokens.shape[1] - 1)
    start: list[Tensor] = []

    def freeze(states: Tensor) -> Tensor:
        if not start:
            start.append(states)
        frozen = states.clone()
        frozen[:, where] = start[0][:, where]
        return frozen

    blocks = decoder.blocks[layer:]
    with hooked(pre={block.module: _on_input(freeze) for block in blocks}):
        return clean_logits(decoder, tokens)


def skipped_logits(decoder: Decoder, tokens: Tokens, layer: int, width: int | None) -> Logits:
    """Skip: in blocks k to k + width - 1 (or all from k on) attention adds nothing."""
    last = decoder.n_layers if width is None else layer + width

    def nothing(_module: nn.Module, _args: object, output: object) -> object:
        tensor = output[0] if isinstance(output, tuple) else output
        assert isinstance(tensor, Tensor)
        return replace_first(output, torch.zeros_like(tensor))

    outputs = [
        block.attention if block.projections is None else block.projections.o.module
        for block in decoder.blocks[layer:last]
    ]
    with hooked(forward=dict.fromkeys(outputs, nothing)):
        return clean_logits(decoder, tokens)


def donor_states(
    decoder: Decoder, tokens: Tokens, span: tuple[int, int]
) -> Float[Tensor, "layers rows span d_model"]:
    """Y^k of a span in the clean run of the donor prompts, for every layer k."""
    seen: list[Tensor] = []

    def record(states: Tensor) -> Tensor:
        seen.append(states[:, span[0] : span[1]].clone())
        return states

    with hooked(pre={block.module: _on_input(record) for block in decoder.blocks}):
        clean_logits(decoder, tokens)
    return torch.stack(seen)


def continued(
    next_logits: Callable[[Tokens, int], Logits], tokens: Tokens, steps: int
) -> Int[Tensor, "rows steps"]:
    """Greedy tokens, every one from a full recomputation over all tokens so far.

    Args:
        next_logits: Logits of the token after these, under the manipulation, at a decoding step.
        tokens: Prompts.
        steps: Tokens to generate.
    """
    read, length = tokens, tokens.shape[1]

    def step(newest: Int[Tensor, "rows 1"]) -> Logits:
        nonlocal read
        read = torch.cat([read, newest], dim=1)
        return next_logits(read, read.shape[1] - length)

    return generate(next_logits(read, 0), step, steps, ended([]))


def final_state(
    decoder: Decoder, next_logits: Callable[[Tokens, int], Logits], tokens: Tokens
) -> Float[Tensor, "rows d_model"]:
    """State of the current token after the last block, under a manipulation."""
    seen: list[Tensor] = []

    def record(_module: nn.Module, _args: object, output: object) -> None:
        seen.append(first_tensor(output)[:, -1])

    with hooked(forward={decoder.blocks[-1].module: record}):
        next_logits(tokens, 0)
    return seen[0]


def _on_input(function: Callable[[Tensor], Tensor]) -> PreHook:
    def hook(_module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        return replace_hidden_input(args, kwargs, function(hidden_input(args, kwargs)))

    return hook
