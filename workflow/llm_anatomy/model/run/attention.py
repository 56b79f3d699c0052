"""Attention weights of chosen query positions, without keeping whole attention maps.

Outputs always come from the model's own kernel; only the asked rows are computed a second time,
from their queries and the keys. Where queries and keys are found depends on the family: at
transformers' attention interface, or at torch's fused kernel (Falcon). Bloom and MPT return whole
maps, which are reduced to the asked rows at once.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask, sdpa_mask

from llm_anatomy.model.parts.architecture import Block, Decoder
from llm_anatomy.model.run.hooks import hooked

RECORDER = "llm_anatomy_recorder"
EAGER_RECORDER = "llm_anatomy_eager_recorder"

OnAttention = Callable[[int, Tensor, Tensor], None]


@dataclass
class _Recording:
    """What the registered attention functions report to while a recorder is open."""

    layer_of: dict[nn.Module, int]
    queries: Tensor | None
    on_attention: OnAttention


_active: list[_Recording] = []


@dataclass
class AttentionRecords:
    """What was seen in one forward pass.

    Attributes:
        weights: Per layer, attention weights [batch, head, query, key] of the asked queries.
        values: Per layer, value states [batch, kv_head, key, head_dim].
    """

    weights: dict[int, Float[Tensor, "batch head query key"]] = field(default_factory=dict)
    values: dict[int, Float[Tensor, "batch kv_head key head_dim"]] = field(default_factory=dict)


@contextmanager
def record_attention(
    decoder: Decoder,
    queries: Int[Tensor, "batch query"] | None = None,
    on_attention: OnAttention | None = None,
) -> Iterator[AttentionRecords]:
    """Record attention during forward passes inside the block.

    Args:
        decoder: The model.
        queries: Positions of the asked query tokens per row of the batch; None for all.
        on_attention: Called as `on_attention(layer, weights, values)` instead of keeping them, to
            reduce each layer at once: weights float32 [batch, head, query, key], exactly 0 where
            the query may not attend, values [batch, kv_head, key, head_dim].

    Raises:
        UserError: The attention of a layer is not proven to be what is recorded.
    """
    for block in decoder.blocks:
        block.proven_attention()
    with observe_attention(decoder, queries, on_attention) as records:
        yield records


@contextmanager
def observe_attention(
    decoder: Decoder,
    queries: Int[Tensor, "batch query"] | None = None,
    on_attention: OnAttention | None = None,
) -> Iterator[AttentionRecords]:
    """Record attention as `record_attention` does, for the proof; layers without any have none."""
    records = AttentionRecords()

    def keep(layer: int, weights: Tensor, values: Tensor) -> None:
        records.weights[layer] = weights
        records.values[layer] = values

    report = on_attention or keep
    if _uses_interface(decoder):
        recording = _Recording({b.attention: b.index for b in decoder.blocks}, queries, report)
        with _attention_implementation(decoder, _recorder_name(decoder)):
            _active.append(recording)
            try:
                yield records
            finally:
                _active.remove(recording)
    elif decoder.config._attn_implementation == "sdpa":
        recorder, projected = _KernelRecorder(queries), _ProjectedValues(decoder)
        hooks = {b.attention: recorder.hook(b, report, projected) for b in decoder.blocks}
        with recorder, hooked(forward=projected.hooks | hooks):
            yield records
    else:
        projected = _ProjectedValues(decoder)
        hooks = {b.attention: _output_hook(b, queries, report, projected) for b in decoder.blocks}
        with hooked(forward=projected.hooks | hooks):
            yield records


def attention_rows(
    queries: Float[Tensor, "batch head query head_dim"],
    keys: Float[Tensor, "batch kv_head key head_dim"],
    allowed: Bool[Tensor, "#batch #head query key"] | Float[Tensor, "#batch #head query key"],
    scaling: float,
    softcap: float | None = None,
) -> Float[Tensor, "batch head query key"]:
    """Attention weights in float32: `softmax(q k^T * scaling)` over the allowed keys.

    Args:
        queries: Query states of the asked positions, positions already encoded.
        keys: Key states; query head j reads key head `j // (heads / kv_heads)`.
        allowed: True where the query may attend, or an additive mask.
        scaling: Usually `head_dim ** -0.5`.
        softcap: Cap of `c * tanh(scores / c)` (Gemma 2), or None.
    """
    batch, heads, asked, head_dim = queries.shape
    grouped = queries.float().reshape(batch, keys.shape[1], -1, head_dim)
    scores = (grouped @ keys.float().transpose(-1, -2)).reshape(batch, heads, asked, -1) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if allowed.dtype == torch.bool:
        scores = scores.masked_fill(~allowed, -torch.inf)
    else:
        scores = scores + allowed.float()
    return scores.softmax(-1)


def _uses_interface(decoder: Decoder) -> bool:
    home = sys.modules[type(decoder.blocks[0].attention).__module__]
    return hasattr(home, "ALL_ATTENTION_FUNCTIONS")


def _recorder_name(decoder: Decoder) -> str:
    eager = decoder.config._attn_implementation == "eager"
    return EAGER_RECORDER if eager else RECORDER


@contextmanager
def _attention_implementation(decoder: Decoder, name: str) -> Iterator[None]:
    configs = {id(m.config): m.config for m in decoder.model.modules() if hasattr(m, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation_internal = name
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation_internal = before[key]


def _record(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None,
    softcap: float | None,
) -> None:
    recording = _active[-1]
    layer = recording.layer_of.get(module)
    if layer is None:
        return
    queries, allowed = _asked_rows(query, key, attention_mask, recording.queries)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    recording.on_attention(layer, attention_rows(queries, key, allowed, scaling, softcap), value)


def _asked_rows(
    query: Tensor, key: Tensor, mask: Tensor | None, asked: Tensor | None
) -> tuple[Tensor, Tensor]:
    batch, heads, length, head_dim = query.shape
    if mask is None:
        # No mask means plain causal attention (or one query that sees every key).
        offset = key.shape[2] - length
        positions = torch.arange(length, device=query.device)[:, None] + offset
        mask = (torch.arange(key.shape[2], device=query.device)[None, :] <= positions)[None, None]
    mask = mask[..., : key.shape[2]]
    if asked is None:
        return query, mask
    rows = asked[:, None, :, None].expand(batch, heads, -1, head_dim)
    mask = mask.expand(batch, -1, length, -1)
    mask_rows = asked[:, None, :, None].expand(batch, mask.shape[1], -1, mask.shape[3])
    return query.gather(2, rows), mask.gather(2, mask_rows)


def _recording_function(kernel: Callable[..., Any] | None) -> Callable[..., Any]:
    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **kwargs: Any,
    ) -> Any:
        _record(
            module,
            query,
            key,
            value,
            attention_mask,
            kwargs.get("scaling"),
            kwargs.get("softcap"),
        )
        run = kernel or sys.modules[type(module).__module__].eager_attention_forward
        return run(module, query, key, value, attention_mask, **kwargs)

    return attend


class _KernelRecorder(TorchFunctionMode):
    """Sees each call of torch's fused attention kernel and keeps the asked rows until its hook."""

    def __init__(self, asked: Tensor | None) -> None:
        super().__init__()
        self.asked = asked
        self.weights: Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.scaled_dot_product_attention:
            query, key = args[:2]
            queries, allowed = _asked_rows(query, key, kwargs.get("attn_mask"), self.asked)
            scaling = kwargs.get("scale") or query.shape[-1] ** -0.5
            self.weights = attention_rows(queries, key, allowed, scaling)
        return func(*args, **kwargs)

    def hook(
        self, block: Block, report: OnAttention, projected: "_ProjectedValues"
    ) -> Callable[..., None]:
        def report_layer(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            assert self.weights is not None
            report(block.index, self.weights, projected.take(block))

        return report_layer


def _output_hook(
    block: Block, asked: Tensor | None, report: OnAttention, projected: "_ProjectedValues"
) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        weights = output[1].float()
        if asked is not None:
            rows = asked[:, None, :, None].expand(-1, weights.shape[1], -1, weights.shape[3])
            weights = weights.gather(2, rows)
        report(block.index, weights, projected.take(block))

    return hook


class _ProjectedValues:
    """Value states of families that apply nothing but the projection to them."""

    def __init__(self, decoder: Decoder) -> None:
        self._outputs: dict[nn.Module, Tensor] = {}
        self.hooks: dict[nn.Module, Callable[..., None]] = {
            block.v.module: self._keep for block in decoder.blocks
        }

    def _keep(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        self._outputs[module] = output

    def take(self, block: Block) -> Float[Tensor, "batch kv_head key head_dim"]:
        """The value states of a block that has just run."""
        values: Tensor = block.v.select(self._outputs.pop(block.v.module))
        split: Tensor = values.unflatten(-1, (block.n_kv_heads, block.head_dim))
        return split.transpose(1, 2)


def _register() -> None:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register(RECORDER, _recording_function(sdpa_attention_forward))
    AttentionMaskInterface.register(RECORDER, sdpa_mask)
    AttentionInterface.register(EAGER_RECORDER, _recording_function(None))
    AttentionMaskInterface.register(EAGER_RECORDER, eager_mask)


_register()
