"""Clamping: fix, shift or scale one neuron's value at chosen positions while the model runs.

    y = W_down ( act(W_gate x) * (W_up x) )

Sites: `up`, the output of W_up; `gate`, the output of W_gate before the non-linearity;
`activation`, what enters W_down. A clamp of `up` leaves the gate in control, so its effect
vanishes where act(W_gate x) is near 0; a clamp of `activation` does not.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llm_anatomy.config.neurons import Operation, Site
from llm_anatomy.config.ranges import check_layer
from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.projection import Projection
from llm_anatomy.model.run.hooks import hooked
from llm_anatomy.model.run.logprobs import top_tokens


@dataclass(frozen=True)
class Clamp:
    """One clamped neuron per row of a batch, all in one layer and at one site.

    Attributes:
        layer: The layer.
        site: The tensor.
        operation: `set` to the value, `add` it, or `scale` by it.
        neurons: Neuron of every row.
        values: Value of every row.
        mask: Positions that are clamped; a row without any stays clean.
    """

    layer: int
    site: Site
    operation: Operation
    neurons: Int[Tensor, " rows"]
    values: Float[Tensor, " rows"]
    mask: Bool[Tensor, "rows tokens"]

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return len(self.neurons)

    def applied(self, decoder: Decoder) -> AbstractContextManager[None]:
        """See `clamped`."""
        return clamped(decoder, self)


def sites_of(decoder: Decoder, sites: list[Site]) -> list[Site]:
    """Those of some sites that the model has; without a gate there is none to clamp."""
    return [site for site in sites if site != "gate" or decoder.blocks[0].gate is not None]


def check_neuron(decoder: Decoder, key: str, layer: int, neuron: int) -> None:
    """Check that a configured neuron exists.

    Raises:
        UserError: It does not; the sentence names the key and the ranges.
    """
    check_layer(key, layer, decoder.n_layers)
    count = decoder.blocks[layer].n_neurons
    if neuron >= count:
        raise UserError(
            f"the key '{key}' names neuron {neuron}, but layer {layer} has the neurons 0 to "
            f"{count - 1}"
        )


@contextmanager
def clamped(decoder: Decoder, clamp: Clamp) -> Iterator[None]:
    """Run the model with the clamp in place."""
    block = decoder.blocks[clamp.layer]
    if clamp.site == "activation":

        def replace_input(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return (_replaced(args[0], clamp, _features(block.down, clamp.neurons, True)),), kwargs

        with hooked(pre={block.down.module: replace_input}):
            yield
        return
    projection = block.up if clamp.site == "up" else block.gate
    if projection is None:
        raise UserError("the model's MLPs have no gate to clamp; choose the site up or activation")
    features = _features(projection, clamp.neurons, False)

    def replace_output(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return _replaced(output, clamp, features)

    with hooked(forward={projection.module: replace_output}):
        yield


def _features(
    projection: Projection, neurons: Int[Tensor, " rows"], is_input: bool
) -> Int[Tensor, " rows"]:
    """Where the neurons lie in a module's output, which may hold several projections."""
    if projection.rows is None or is_input:
        return neurons
    return projection.rows.to(neurons.device)[neurons]


def _replaced(values: Tensor, clamp: Clamp, features: Tensor) -> Tensor:
    rows, tokens = clamp.mask.shape
    # Some families flatten batch and positions inside the MLP.
    changed = values.clone().view(rows, tokens, -1)
    row = torch.arange(rows, device=values.device)
    old = changed[row, :, features.to(values.device)]
    target = clamp.values.to(old)[:, None]
    new = {"set": lambda: target.expand_as(old), "add": lambda: old + target}.get(
        clamp.operation, lambda: old * target
    )()
    changed[row, :, features.to(values.device)] = torch.where(
        clamp.mask.to(values.device), new, old
    )
    return changed.view(values.shape)


def positions_mask(rows: int, tokens: int, positions: str) -> Bool[Tensor, "rows tokens"]:
    """`all` positions, only the `last`, or none of the prompt's (`generated`)."""
    mask = torch.zeros(rows, tokens, dtype=torch.bool)
    if positions == "all":
        mask[:] = True
    elif positions == "last":
        mask[:, -1] = True
    return mask


def kl_from(
    clean: Float[Tensor, " vocab"], logprobs: Float[Tensor, "rows vocab"]
) -> Float[Tensor, " rows"]:
    """KL(clean || row) of every row, in nats."""
    return (clean.exp() * (clean - logprobs)).sum(-1).clamp_min(0)


def summarise(
    clean: Float[Tensor, " vocab"],
    logprobs: Float[Tensor, " vocab"],
    concept: list[int],
    top: int,
) -> Mapping[str, Any]:
    """What a clamp did to the next token; the first token of the concept is its main one."""
    chances = logprobs.exp()
    best = float(logprobs[concept].max())
    together = float(logprobs[concept].logsumexp(0))
    (tops,) = top_tokens(logprobs[None], min(top, len(logprobs)))
    return {
        "probability": float(chances[concept].sum()),
        "logprob": together,
        "rank": int((logprobs > best).sum()) + 1,
        "token_probability": float(chances[concept[0]]),
        "kl": float(kl_from(clean, logprobs[None])[0]),
        "top_ids": tops.tolist(),
        "top_probabilities": chances[tops].tolist(),
    }
