"""Which tensor of an MLP a neuron's activation is, and how it is seen while a model runs.

The pre-activations `up` and `gate` are the outputs of those projections, which may be one fused
module; `activation` is what enters the down projection.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

from jaxtyping import Float
from torch import Tensor, nn

from llm_anatomy.config.mlp import Matrix, Site
from llm_anatomy.model.parts.architecture import Block
from llm_anatomy.model.parts.projection import Projection
from llm_anatomy.model.run.hooks import ForwardHook, PreHook, hidden_input, hooked

# What a matrix's neurons compute, or are scaled by: a row's output, a column's input.
SITE_OF: Mapping[Matrix, Site] = {"up": "up", "gate": "gate", "down": "activation"}
# Called with the site and its values, as the family shapes them: some flatten batch and tokens.
Note = Callable[[Site, Float[Tensor, "*rest neurons"]], None]


def projection_of(block: Block, site: Site) -> Projection | None:
    """The projection whose output, or for `activation` whose input, a site is; None without it."""
    projections: dict[Site, Projection | None] = {
        "up": block.up,
        "gate": block.gate,
        "activation": block.down,
    }
    return projections[site]


def sites_there(block: Block) -> list[Site]:
    """The sites that a block has; without a gate there is none of it."""
    sites: tuple[Site, ...] = get_args(Site)
    return [site for site in sites if projection_of(block, site) is not None]


@contextmanager
def noted(notes: Iterable[tuple[Block, Mapping[Site, Note]]]) -> Iterator[None]:
    """Show sites to functions during forward passes inside the block; others are not touched.

    Args:
        notes: A block, and what sees each of its sites that are to be seen; it has them all.
    """
    forward: dict[nn.Module, ForwardHook] = {}
    pre: dict[nn.Module, PreHook] = {}
    for block, own in notes:
        outputs: dict[nn.Module, dict[Site, Note]] = {}
        for site, note in own.items():
            projection = projection_of(block, site)
            assert projection is not None
            if site == "activation":
                pre[projection.module] = _of_input(note)
            else:
                outputs.setdefault(projection.module, {})[site] = note
        for module, seen in outputs.items():
            forward[module] = _of_output(block, seen)
    with hooked(forward=forward, pre=pre):
        yield


def _of_input(note: Note) -> PreHook:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        note("activation", hidden_input(args, kwargs))

    return hook


def _of_output(block: Block, notes: Mapping[Site, Note]) -> ForwardHook:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        for site, note in notes.items():
            projection = projection_of(block, site)
            assert projection is not None
            note(site, projection.select(output))

    return hook
