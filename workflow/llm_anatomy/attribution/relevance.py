"""RelP: a backward pass in which some factors count as constants (papers/attribution, section 1.9).

    norm        y = g x / s(x)          s constant; a LayerNorm's mean is differentiated
    activation  phi(z)                  phi(z) / z constant
    gate        c = phi(g) u            each factor gets half: dc/dphi = u / 2, dc/du = phi(g) / 2
    attention   z = A v                 A constant where asked, else its own gradient
    linear      W x                     its own gradient

The forward pass keeps its values. With constant attention and without biases the network is then
linear at the point, so that x . R(x) over any cut of the residual stream is the metric, where that
is linear in the logits.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llm_anatomy.attribution.sites import Site, at_sites
from llm_anatomy.model.parts.architecture import Block, Decoder
from llm_anatomy.model.parts.norm import Norm, read_norm
from llm_anatomy.model.parts.projection import Projection
from llm_anatomy.model.run.hooks import hooked
from llm_anatomy.model.run.replay import replaced_forward


@contextmanager
def relevance_rules(decoder: Decoder, rows: int, freeze_attention: bool = False) -> Iterator[None]:
    """Put RelP's rules in force for backward passes through forward passes inside the block.

    Args:
        decoder: The model.
        rows: Prompts in a pass.
        freeze_attention: Whether attention weights count as constants; off in the reference.
    """
    with ExitStack() as stack:
        linear = {norm.module: _linear(norm) for norm in norms(decoder)}
        stack.enter_context(replaced_forward(linear))
        for block in decoder.blocks:
            stack.enter_context(_linear_mlp(decoder, block, rows))
            if freeze_attention:
                stack.enter_context(hooked(forward=_values_alone(block)))
        yield


def norms(decoder: Decoder) -> Iterator[Norm]:
    """Every norm of a model: of the stream, behind attention and MLP, of queries and keys."""
    yield decoder.final_norm
    for block in decoder.blocks:
        parts = (
            block.attention_norm,
            block.mlp_norm,
            block.attention_post_norm,
            block.mlp_post_norm,
        )
        yield from (norm for norm in parts if norm is not None)
        # Norms of queries and keys, of heads or of all heads at once.
        known = type(decoder.final_norm.module)
        for name, module in block.attention.named_modules():
            if isinstance(module, known):
                gain = module.weight
                assert isinstance(gain, Tensor)
                yield read_norm(name, module, gain.shape[-1])


def _linear(norm: Norm) -> Callable[[Tensor], Tensor]:
    """A norm whose scale is a constant of the backward pass."""
    own = type(norm.module).forward

    def forward(states: Tensor) -> Tensor:
        value: Tensor = own(norm.module, states)
        wide = states.to(torch.promote_types(states.dtype, torch.float32))
        surrogate = norm.frozen(wide, wide.detach()).to(value.dtype)
        return value.detach() + (surrogate - surrogate.detach())

    return forward


@contextmanager
def _linear_mlp(decoder: Decoder, block: Block, rows: int) -> Iterator[None]:
    """The neurons of a block as linear functions of what its projections give."""
    seen: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        seen[module] = output

    def neurons(site: Site, activations: Tensor) -> Tensor:
        up = block.up.select(seen[block.up.module]).reshape(activations.shape)
        if block.gate is None:
            surrogate = up * _slope(block.activation, up)
        else:
            gate = block.gate.select(seen[block.gate.module]).reshape(activations.shape)
            active = gate * _slope(block.activation, gate)
            surrogate = (active * up.detach() + active.detach() * up) / 2
        return activations.detach() + (surrogate - surrogate.detach())

    projections = {p.module: keep for p in (block.up, block.gate) if p is not None}
    with (
        hooked(forward=projections),
        at_sites(decoder, [Site("ffn", block.index)], rows, neurons),
    ):
        yield


def _slope(
    activation: Callable[[Tensor], Tensor], inputs: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """phi(z) / z, a constant of the backward pass; at zero its limit phi'(0)."""
    with torch.enable_grad():
        zero = torch.zeros((), dtype=inputs.dtype, device=inputs.device, requires_grad=True)
        (limit,) = torch.autograd.grad(activation(zero), zero)
    with torch.no_grad():
        return torch.where(inputs == 0, limit, activation(inputs) / inputs)


def _values_alone(block: Block) -> dict[nn.Module, Callable[..., Tensor]]:
    """Hooks that let gradients through to value states, and to queries and keys none."""
    modules = {projection.module for projection in (block.q, block.k, block.v)}
    return {m: _let_through(block.v if m is block.v.module else None) for m in modules}


def _let_through(values: Projection | None) -> Callable[..., Tensor]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        if values is None:
            return output.detach()
        if values.rows is None:
            return output
        passes = output.new_zeros(output.shape[-1])
        passes[values.rows.to(output.device)] = 1
        return output.detach() + passes * (output - output.detach())

    return hook
