"""The proof, at load, that a model's resolved parts are what they are taken for.

One short probe is run through the model and taken apart; every identity that the four studies
build on is checked on it. A model that fails as a whole is refused, because its numbers would be
wrong. Where only attention or only the MLP of a block computes something else than the formulas,
the block refuses those parts to the studies that ask for them, and the others run.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Block, Decoder
from llm_anatomy.model.parts.resolve import module_tree
from llm_anatomy.model.run.attention import observe_attention
from llm_anatomy.model.run.hooks import first_tensor, hidden_input, hooked
from llm_anatomy.model.run.readout import Unembedding
from llm_anatomy.model.run.weight_proof import weight_failure

logger = logging.getLogger(__name__)

PROBE_TOKENS = 6


def prove(decoder: Decoder) -> Decoder:
    """Check the resolved parts against the model's own forward pass.

    Returns:
        The decoder, whose blocks refuse the parts that are not proven.

    Raises:
        UserError: An identity of the whole model does not hold; the message names it and ends with
            the module tree.
    """
    with torch.no_grad():
        failure, blocks = _checked(decoder)
    if failure is not None:
        raise UserError(
            f"the model type '{decoder.config.model_type}' does not compute what its structure "
            f"suggests: {failure}; its numbers would be wrong, so it is refused; its module tree "
            f"is:\n{module_tree(decoder.model)}"
        )
    reasons = [r for b in blocks for r in (b.attention_refusal, b.mlp_refusal) if r is not None]
    if reasons:
        logger.warning("some studies will refuse this model: %s", reasons[0])
    return replace(decoder, blocks=blocks)


def _checked(decoder: Decoder) -> tuple[str | None, tuple[Block, ...]]:
    """What does not hold of the whole model, and the blocks with what does not hold of them."""
    ids = _probe_ids(decoder)
    expected = decoder.model(input_ids=ids, use_cache=False).logits
    parts = _Parts(decoder)
    with parts.recording(), observe_attention(decoder) as attention:
        observed = decoder.model(input_ids=ids, use_cache=False).logits
    failure = weight_failure(decoder, ids, partial(_close, decoder))
    if failure is not None:
        return failure, ()
    if not torch.equal(observed, expected):
        return "hooks that change nothing change the logits", ()
    wrong = [block.index for block in decoder.blocks if parts.calls[block.index] != 1]
    if wrong:
        return f"layer {wrong[0]} ran {parts.calls[wrong[0]]} times in one forward pass", ()
    last = parts.outputs[decoder.n_layers - 1]
    if not _close(decoder, Unembedding(decoder).logits(last), expected):
        return "final norm and LM head on the last block's output are not the model's logits", ()
    short = decoder.model(input_ids=ids[:1, : PROBE_TOKENS - 2], use_cache=False).logits
    if not _close(decoder, short[0], expected[0, : PROBE_TOKENS - 2]):
        return "tokens behind a text change its own logits, so padded batches would be wrong", ()
    return None, tuple(
        _block_checked(decoder, block, parts, attention.weights.get(block.index))
        for block in decoder.blocks
    )


def _block_checked(
    decoder: Decoder, block: Block, parts: "_Parts", weights: Tensor | None
) -> Block:
    """A block with the reasons why its attention or its MLP is not for the studies' formulas."""
    layer = block.index
    before, after = parts.inputs[layer], parts.outputs[layer]
    attention_out, mlp_out = parts.attention[layer], parts.mlp.get(layer)
    if mlp_out is not None and not _close(decoder, before + attention_out + mlp_out, after):
        reason = (
            f"in layer {layer}, the residual stream is not its input plus attention's and the "
            "MLP's outputs"
        )
        return replace(block, attention_refusal=reason, mlp_refusal=reason)
    attention = block.attention_refusal or _attention_failure(decoder, block, parts, weights)
    mlp = block.mlp_refusal or _mlp_failure(decoder, block, parts)
    return replace(block, attention_refusal=attention, mlp_refusal=mlp)


def _attention_failure(
    decoder: Decoder, block: Block, parts: "_Parts", weights: Tensor | None
) -> str | None:
    layer = block.index
    values = block.v.select(block.v.module(parts.attention_inputs[layer]))
    clip = getattr(decoder.config, "clip_qkv", None) or getattr(
        getattr(decoder.config, "attn_config", None), "clip_qkv", None
    )
    if clip:
        values = values.clamp(-clip, clip)
    values = values.unflatten(-1, (block.n_kv_heads, block.head_dim)).transpose(1, 2)
    values = values.repeat_interleave(block.n_heads // block.n_kv_heads, dim=1).float()
    mixed = None if weights is None else (weights @ values).transpose(1, 2).flatten(2)
    if mixed is None or not _close(decoder, mixed, parts.o_inputs[layer]):
        return (
            f"in layer {layer}, attention weights times value states are not the output "
            "projection's input"
        )
    return None


def _mlp_failure(decoder: Decoder, block: Block, parts: "_Parts") -> str | None:
    layer = block.index
    before = parts.inputs[layer]
    stream = before if block.parallel else before + parts.attention[layer]
    normed = stream if block.mlp_norm is None else block.mlp_norm.module(stream)
    if not _close(decoder, normed, parts.mlp_inputs[layer]):
        return f"in layer {layer}, the MLP does not read the normalised residual stream"
    up = block.up.select(parts.up_outputs[layer])
    if block.gate is None:
        coefficients = block.activation(up)
    else:
        coefficients = block.activation(block.gate.select(parts.gate_outputs[layer])) * up
    if not _close(decoder, coefficients, parts.coefficients[layer]):
        return f"in layer {layer}, the down projection does not read act(gate) * up"
    return None


class _Parts:
    """What flows between the parts of each block during one forward pass."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.calls: Counter[int] = Counter()
        self.inputs: dict[int, Tensor] = {}
        self.outputs: dict[int, Tensor] = {}
        self.attention: dict[int, Tensor] = {}
        self.attention_inputs: dict[int, Tensor] = {}
        self.o_inputs: dict[int, Tensor] = {}
        self.mlp: dict[int, Tensor] = {}
        self.mlp_inputs: dict[int, Tensor] = {}
        self.up_outputs: dict[int, Tensor] = {}
        self.gate_outputs: dict[int, Tensor] = {}
        self.coefficients: dict[int, Tensor] = {}

    def recording(self) -> Any:
        """Hooks on every part of every block."""
        forward: dict[nn.Module, Callable[..., None]] = {}
        pre: dict[nn.Module, Callable[..., None]] = {}
        for block in self.decoder.blocks:
            pre[block.module] = self._block_input(block.index)
            forward[block.module] = self._block_output(block.index)
            own = block.projections
            if own is None:
                forward[block.attention] = self._sublayer(block, None, self.attention)
            else:
                inputs = self.attention_inputs
                forward[own.v.module] = self._projection(block.index, inputs, None)
                forward[own.o.module] = self._sublayer(block, self.o_inputs, self.attention)
            if block.mlp is None:
                continue
            forward[block.down.module] = self._sublayer(block, self.coefficients, self.mlp)
            forward[block.up.module] = self._projection(
                block.index, self.mlp_inputs, self.up_outputs
            )
            if block.gate is not None:
                outputs = self.gate_outputs
                if block.gate.module is block.up.module:
                    forward[block.up.module] = self._fused(block.index)
                else:
                    forward[block.gate.module] = self._projection(block.index, None, outputs)
        return hooked(forward=forward, pre=pre)

    def _block_input(self, layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.calls[layer] += 1
            # Some families update the residual stream in place.
            self.inputs[layer] = hidden_input(args, kwargs).clone()

        return hook

    def _block_output(self, layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self.outputs[layer] = first_tensor(output).clone()

        return hook

    def _projection(
        self, layer: int, inputs: dict[int, Tensor] | None, outputs: dict[int, Tensor] | None
    ) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            shape = self.inputs[layer].shape[:2]
            if inputs is not None:
                # OPT flattens batch and tokens around its MLP.
                inputs[layer] = args[0].reshape(*shape, -1)
            if outputs is not None:
                outputs[layer] = output.reshape(*shape, -1)

        return hook

    def _fused(self, layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self.mlp_inputs[layer] = args[0]
            self.up_outputs[layer] = self.gate_outputs[layer] = output

        return hook

    def _sublayer(
        self, block: Block, inputs: dict[int, Tensor] | None, outputs: dict[int, Tensor]
    ) -> Callable[..., None]:
        norm = block.attention_post_norm if outputs is self.attention else block.mlp_post_norm

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            shape = self.inputs[block.index].shape[:2]
            if inputs is not None:
                inputs[block.index] = args[0].reshape(*shape, -1)
            added = first_tensor(output).reshape(*shape, -1).clone()
            if norm is not None:
                added = norm.module(added)
            outputs[block.index] = added * block.residual_scale

        return hook


def _probe_ids(decoder: Decoder) -> Tensor:
    # Spread over the vocabulary, the same for every load; no tokenizer is needed.
    steps = torch.arange(2 * PROBE_TOKENS) * 7919 + 13
    return (steps % decoder.vocab_size).view(2, PROBE_TOKENS).to(decoder.device)


def _close(decoder: Decoder, actual: Tensor, expected: Tensor) -> bool:
    expected, actual = expected.double(), actual.double().to(expected.device)
    largest = expected.abs().amax().clamp_min(1e-6)
    return bool((actual - expected).abs().amax() <= decoder.accepted("proof") * largest)
