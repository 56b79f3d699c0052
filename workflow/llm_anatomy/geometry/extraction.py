"""One forward pass over a batch of texts, reduced inside the hooks to what the studies need."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_anatomy.geometry.partition import Partition, partition, token_statistics
from llm_anatomy.model.parts.architecture import Block, Decoder
from llm_anatomy.model.run.attention import record_attention
from llm_anatomy.model.run.batching import Batch
from llm_anatomy.model.run.hooks import PassEnded, first_tensor, hooked


@dataclass(frozen=True)
class Request:
    """What to read from the model.

    Attributes:
        n_layers: Number of layers to read; the pass stops behind the last of them. None: all.
        state_layers: Layers whose hidden states are read.
        attention_tokens: Tokens whose attention is counted.
        relative_threshold: Share of a head's largest attention above which a token counts.
        absolute_threshold: Attention above which a token counts.
    """

    n_layers: int | None = None
    state_layers: tuple[int, ...] = ()
    attention_tokens: Literal["none", "last", "all"] = "none"
    relative_threshold: float = 0.1
    absolute_threshold: float = 0.1


@dataclass(frozen=True)
class BatchActivations:
    """What one forward pass gave, on the CPU. Positions behind a text's length are meaningless.

    Attributes:
        active: Share of active units, per token.
        distance: Distance to the nearest boundary, per token.
        last_states: State of each text's last token, per requested layer.
        mean_states: Mean state over each text's tokens, per requested layer.
        relative_counts: Tokens attended to above the relative threshold; `query` is 1 for the last
            token alone. None when attention was not asked for.
        absolute_counts: The same for the absolute threshold.
    """

    active: Float[Tensor, "layers batch tokens"]
    distance: Float[Tensor, "layers batch tokens"]
    last_states: Float[Tensor, "states batch d_model"]
    mean_states: Float[Tensor, "states batch d_model"]
    relative_counts: Int[Tensor, "layers batch query heads"] | None
    absolute_counts: Int[Tensor, "layers batch query heads"] | None


def relative_count(
    attention: Float[Tensor, "*batch keys"], threshold: float
) -> Int[Tensor, "*batch"]:
    """Tokens whose attention exceeds `threshold` times the largest in the row."""
    largest = attention.amax(-1, keepdim=True)
    return (attention > threshold * largest).sum(-1)


def absolute_count(
    attention: Float[Tensor, "*batch keys"], threshold: float
) -> Int[Tensor, "*batch"]:
    """Tokens whose attention exceeds `threshold`."""
    return (attention > threshold).sum(-1)


def partitions(decoder: Decoder, n_layers: int | None = None) -> list[Partition]:
    """The hyperplanes of the first `n_layers` layers (None: all); compute them once per model.

    Raises:
        UserError: A layer is a mixture of experts.
    """
    blocks = decoder.blocks[:n_layers]
    return [partition(block.preactivation.weight(_accumulation(decoder))) for block in blocks]


def read_activations(
    decoder: Decoder, planes: list[Partition], batch: Batch, request: Request
) -> BatchActivations:
    """Run the model's body over a batch once and reduce every layer as it is computed.

    Args:
        decoder: The model.
        planes: Its `partitions`, at least for the layers asked for.
        batch: Right-padded texts.
        request: What to read.
    """
    reader = _Reader(decoder, planes, batch, request)
    with torch.inference_mode(), ExitStack() as stack:
        if request.attention_tokens != "none":
            queries = batch.last[:, None] if request.attention_tokens == "last" else None
            stack.enter_context(record_attention(decoder, queries, reader.on_attention))
        stack.enter_context(hooked(forward=reader.hooks()))
        with suppress(PassEnded):
            decoder.body(input_ids=batch.input_ids, use_cache=False)
    return reader.result()


@dataclass
class _Reader:
    decoder: Decoder
    planes: list[Partition]
    batch: Batch
    request: Request
    statistics: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    states: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    counts: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def blocks(self) -> tuple[Block, ...]:
        return self.decoder.blocks[: self.request.n_layers]

    def hooks(self) -> dict[nn.Module, Callable[..., None]]:
        hooks: dict[nn.Module, Callable[..., None]] = {}
        for block in self.blocks:
            hooks[block.preactivation.module] = self._preactivation_hook(block)
        for layer in self.request.state_layers:
            block = self.blocks[layer]
            hooks[block.module] = self._state_hook(block)
        if len(self.blocks) < self.decoder.n_layers:
            # Attention may come after the MLP's first map; the end of the block is behind both.
            final = self.blocks[-1]
            states = final.index in self.request.state_layers
            whole = states or self.request.attention_tokens != "none"
            module = final.module if whole else final.preactivation.module
            hooks[module] = _then_stop(hooks.get(module))
        return hooks

    def on_attention(self, layer: int, weights: Tensor, values: Tensor) -> None:
        if layer >= len(self.blocks):
            return
        by_token = weights.transpose(1, 2)
        self.counts[layer] = (
            relative_count(by_token, self.request.relative_threshold).int(),
            absolute_count(by_token, self.request.absolute_threshold).int(),
        )

    def result(self) -> BatchActivations:
        layers = range(len(self.blocks))
        counted = bool(self.counts)
        return BatchActivations(
            active=_stack([self.statistics[layer][0] for layer in layers]),
            distance=_stack([self.statistics[layer][1] for layer in layers]),
            last_states=self._states(0),
            mean_states=self._states(1),
            relative_counts=_stack([self.counts[i][0] for i in layers]) if counted else None,
            absolute_counts=_stack([self.counts[i][1] for i in layers]) if counted else None,
        )

    def _states(self, which: int) -> Tensor:
        if not self.request.state_layers:
            return torch.empty(0, len(self.batch.rows), self.decoder.d_model)
        return _stack([self.states[layer][which] for layer in self.request.state_layers])

    def _preactivation_hook(self, block: Block) -> Callable[..., None]:
        def reduce(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            preactivations = block.preactivation.select(output)
            # Some families flatten batch and tokens before the MLP.
            flat = preactivations.reshape(-1, preactivations.shape[-1])
            active, distance = token_statistics(flat, self.planes[block.index])
            shape = self.batch.input_ids.shape
            self.statistics[block.index] = (active.view(shape), distance.view(shape))

        return reduce

    def _state_hook(self, block: Block) -> Callable[..., None]:
        def reduce(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            states = first_tensor(output)
            self.states[block.index] = _last_and_mean(
                states, self.batch, _accumulation(self.decoder)
            )

        return reduce


def _last_and_mean(
    states: Float[Tensor, "batch tokens d_model"], batch: Batch, dtype: torch.dtype
) -> tuple[Float[Tensor, "batch d_model"], Float[Tensor, "batch d_model"]]:
    rows = torch.arange(len(states), device=states.device)
    last = states[rows, batch.last.to(states.device)].to(dtype)
    shares = batch.mask.to(states.device, dtype) / batch.lengths.to(states.device, dtype)[:, None]
    return last, torch.bmm(shares[:, None], states.to(dtype))[:, 0]


def _then_stop(hook: Callable[..., None] | None) -> Callable[..., None]:
    def run(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if hook is not None:
            hook(module, args, output)
        raise PassEnded

    return run


def _stack(tensors: list[Tensor]) -> Tensor:
    """Stack on the device, so that a batch is copied to the CPU once."""
    return torch.stack(tensors).cpu()


def _accumulation(decoder: Decoder) -> torch.dtype:
    """Statistics are computed in float32, or in float64 for a float64 model."""
    return torch.promote_types(decoder.dtype, torch.float32)
