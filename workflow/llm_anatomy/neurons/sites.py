"""What counts as a neuron's activation, seen in every layer while a model runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llm_anatomy.config.mlp import Site
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Block, Decoder
from llm_anatomy.model.run.batching import Batch
from llm_anatomy.model.run.hooks import hooked

See = Callable[[int, Float[Tensor, "texts tokens neurons"]], None]


def run_watched(decoder: Decoder, batch: Batch, site: Site, see: See) -> None:
    """Run a model's body over a batch and show the activations of every layer to a function.

    Args:
        decoder: The model.
        batch: The texts.
        site: What counts as activation.
        see: Called with the layer and its values, float32, which are not kept.

    Raises:
        UserError: The site is the gate, and the model has none.
    """
    with torch.inference_mode(), watched(decoder, site, len(batch.rows), see):
        decoder.body(input_ids=batch.input_ids, use_cache=False)


@contextmanager
def watched(decoder: Decoder, site: Site, texts: int, see: See) -> Iterator[None]:
    """Show the activations of every layer to a function; see `run_watched`."""
    pre: dict[nn.Module, Any] = {}
    forward: dict[nn.Module, Any] = {}
    for block in decoder.blocks:
        if site == "activation":
            pre[block.down.module] = _of_input(block, texts, see)
        else:
            projection = block.up if site == "up" else block.gate
            if projection is None:
                raise UserError(
                    "neurons.contexts.site is 'gate', but the model's MLPs have no gate; use up or "
                    "activation"
                )
            forward[projection.module] = _of_output(block, site, texts, see)
    with hooked(forward=forward, pre=pre):
        yield


def _of_input(block: Block, texts: int, see: See) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        see(block.index, _batched(args[0], texts))

    return hook


def _of_output(block: Block, site: Site, texts: int, see: See) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        projection = block.up if site == "up" else block.gate
        assert projection is not None
        see(block.index, _batched(projection.select(output), texts))

    return hook


def _batched(values: Tensor, texts: int) -> Float[Tensor, "texts tokens neurons"]:
    """Some families flatten batch and tokens around their MLP."""
    return values.reshape(texts, -1, values.shape[-1]).float()
