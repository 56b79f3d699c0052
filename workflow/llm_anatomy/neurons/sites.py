"""The activations of every layer's neurons, seen while a model runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.config.mlp import Site
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import Batch
from llm_anatomy.model.run.mlp_sites import Note, noted, projection_of

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
    if any(projection_of(block, site) is None for block in decoder.blocks):
        raise UserError(
            f"neurons.contexts.site is '{site}', but the model's MLPs have no {site}; use up or "
            "activation"
        )
    with noted((block, {site: _of_layer(block.index, texts, see)}) for block in decoder.blocks):
        yield


def _of_layer(layer: int, texts: int, see: See) -> Note:
    def note(site: Site, values: Float[Tensor, "*rest neurons"]) -> None:
        # Some families flatten batch and tokens around their MLP.
        see(layer, values.reshape(texts, -1, values.shape[-1]).float())

    return note
