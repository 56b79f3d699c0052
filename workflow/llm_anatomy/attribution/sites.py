"""Where a model's units are read, replaced and differentiated (papers/attribution, section 1.1).

A site is one tensor of one layer: the input of the down projection (FFN neurons), the input of the
o projection (attention neurons and heads), or what attention or the MLP adds to the residual
stream, behind any post-norm.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_anatomy.config.attribution import UnitKind
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.hooks import (
    ForwardHook,
    PreHook,
    first_tensor,
    hidden_input,
    hooked,
    replace_first,
    replace_hidden_input,
)

SiteKind = Literal["ffn", "attention", "ffn_output", "attention_output"]
INPUTS = ("ffn", "attention")


class Site(NamedTuple):
    """One tensor of one layer."""

    kind: SiteKind
    layer: int


@dataclass(frozen=True)
class Unit:
    """A slice of a site's activations.

    Attributes:
        site: The site.
        first: First entry of the unit.
        width: Its number of entries: 1 for a neuron, head_dim for a head, all for a layer.
    """

    site: Site
    first: int
    width: int = 1

    @property
    def entries(self) -> slice:
        """Its entries."""
        return slice(self.first, self.first + self.width)


# Called with a site and its activations; what it returns, if anything, takes their place.
OnSite = Callable[[Site, Float[Tensor, "batch tokens _"]], Tensor | None]
Activations = dict[Site, Float[Tensor, "batch tokens _"]]


def all_sites(decoder: Decoder, kinds: Iterable[SiteKind]) -> list[Site]:
    """Every layer's site of some kinds, bottom first."""
    return [Site(kind, layer) for layer in range(decoder.n_layers) for kind in kinds]


def all_units(decoder: Decoder, kind: UnitKind) -> list[Unit]:
    """Every unit of a kind, layer by layer."""
    units = []
    for block in decoder.blocks:
        layer, width = block.index, block.n_heads * block.head_dim
        if kind == "ffn_neuron":
            units += [Unit(Site("ffn", layer), n) for n in range(block.n_neurons)]
        elif kind == "attention_neuron":
            units += [Unit(Site("attention", layer), n) for n in range(width)]
        else:
            heads = range(0, width, block.head_dim)
            units += [Unit(Site("attention", layer), n, block.head_dim) for n in heads]
    return units


def sites_of(units: Iterable[Unit]) -> list[Site]:
    """The sites that units are slices of, each once, in the order of the units."""
    return list(dict.fromkeys(unit.site for unit in units))


@contextmanager
def at_sites(decoder: Decoder, sites: Iterable[Site], rows: int, on_site: OnSite) -> Iterator[None]:
    """Show the activations of sites to a function during forward passes inside the block.

    Args:
        decoder: The model.
        sites: The sites.
        rows: Prompts in a pass: some families flatten batch and tokens around their MLP.
        on_site: What sees, and may replace, the activations.
    """
    pre: dict[nn.Module, PreHook] = {}
    forward: dict[nn.Module, ForwardHook] = {}
    for site in sites:
        if site.kind in INPUTS:
            pre[site_module(decoder, site)] = _input_hook(site, rows, on_site)
        else:
            forward[site_module(decoder, site)] = _output_hook(site, rows, on_site)
    with hooked(forward=forward, pre=pre):
        yield


def site_module(decoder: Decoder, site: Site) -> nn.Module:
    """The module whose input or output a site is."""
    block = decoder.blocks[site.layer]
    if site.kind == "ffn":
        return block.down.module
    if site.kind == "attention":
        return block.o.module
    norm = block.mlp_post_norm if site.kind == "ffn_output" else block.attention_post_norm
    projection = block.down if site.kind == "ffn_output" else block.o
    return projection.module if norm is None else norm.module


def read_sites(
    decoder: Decoder, tokens: Int[Tensor, "batch tokens"], sites: Iterable[Site]
) -> Activations:
    """Activations of some sites in one forward pass."""
    found: Activations = {}

    def keep(site: Site, activations: Tensor) -> None:
        # A copy: Falcon adds attention's output to the MLP's in place.
        found[site] = activations.clone()

    with torch.no_grad(), at_sites(decoder, sites, len(tokens), keep):
        decoder.body(input_ids=tokens, use_cache=False)
    return found


def _input_hook(site: Site, rows: int, on_site: OnSite) -> PreHook:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        original = hidden_input(args, kwargs)
        changed = on_site(site, _batched(original, rows))
        if changed is None:
            return None
        return replace_hidden_input(args, kwargs, changed.reshape(original.shape))

    return hook


def _output_hook(site: Site, rows: int, on_site: OnSite) -> ForwardHook:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        original = first_tensor(output)
        changed = on_site(site, _batched(original, rows))
        return None if changed is None else replace_first(output, changed.reshape(original.shape))

    return hook


def _batched(tensor: Tensor, rows: int) -> Tensor:
    return tensor if tensor.ndim == 3 else tensor.reshape(rows, -1, tensor.shape[-1])
