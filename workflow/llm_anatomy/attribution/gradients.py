"""First-order scores of every unit at once (papers/attribution, sections 1.2, 1.8 and 1.9).

Attribution patching, noising:     s(u) = (a' - a) . dm/da   in the clean run
                       denoising:  s(u) = (a - a') . dm/da   in the counterfactual run
Integrated gradients:              dm/da averaged over a + α (a' - a), one site at a time
Relevance patching:                dm/da of a backward pass with RelP's rules (`relevance`)

A score estimates what the metric would change by if the unit's activation were exchanged. Noising
asks what is lost without the unit, denoising what it restores alone: not each other's negatives.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.attribution.metric import Metric, last_logits
from llm_anatomy.attribution.sites import Activations, Site, at_sites
from llm_anatomy.config.attribution import Positions
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.hooks import hooked

# Score of every entry of a site, summed over the positions that count.
Scores = dict[Site, Float[Tensor, "batch _"]]


def patching_scores(
    decoder: Decoder,
    tokens: Int[Tensor, "batch tokens"],
    metric: Metric,
    others: Mapping[Site, Float[Tensor, "#batch #tokens _"]],
    positions: Positions = "all",
    rules: AbstractContextManager[None] | None = None,
) -> Scores:
    """Attribution patching: one forward and one backward pass for every unit of every site.

    Args:
        decoder: The model.
        tokens: Prompts of one length: the run that is patched, and that gradients are taken in.
        metric: What is attributed.
        others: What each site's activations would be exchanged for: those of the other prompt, a
            mean, or zero.
        positions: Positions at which activations are exchanged.
        rules: Changes of the backward pass (`relevance_rules`); None for the plain gradient.

    Returns:
        Of every entry of a site the sum over positions of (a' - a) . dm/da.
    """
    scores: Scores = {}
    # Differences of nearly equal activations lose their digits in half precision.
    wide = torch.promote_types(decoder.dtype, torch.float32)

    def watch(site: Site, activations: Tensor) -> Tensor:
        own = activations.detach().to(wide)
        difference = at_positions(others[site].to(own) - own, positions)

        def score(gradient: Tensor) -> None:
            scores[site] = (difference * at_positions(gradient, positions).to(wide)).sum(1)

        activations.register_hook(score)
        # Put back, because where a family flattens batch and tokens it is a view of its own.
        return activations

    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        stack.enter_context(from_embeddings(decoder))
        if rules is not None:
            stack.enter_context(rules)
        # Behind the rules, so that what they put in a site's place is what is watched.
        stack.enter_context(at_sites(decoder, others, len(tokens), watch))
        metric.of_logits(last_logits(decoder, tokens)).sum().backward()
    return scores


def integrated_scores(
    decoder: Decoder,
    tokens: Int[Tensor, "batch tokens"],
    metric: Metric,
    clean: Activations,
    others: Mapping[Site, Float[Tensor, "#batch #tokens _"]],
    steps: int = 8,
    positions: Positions = "all",
) -> Scores:
    """Integrated gradients over the activations of one site at a time, by the midpoint rule.

    s(u) = (a' - a) . 1/S Σ_k dm/da at a + α_k (a' - a), α_k = (k - 1/2) / S, the rest of the
    network as it follows. Over the entries of a site the scores sum to the exact effect of
    exchanging the whole site, with an error that falls with 1/S².

    Args:
        decoder: The model.
        tokens: Prompts of one length.
        metric: What is attributed.
        clean: Activations of every site in the run of `tokens`.
        others: What they would be exchanged for.
        steps: Points S on the way; each is one row of a pass for every prompt.
        positions: Positions at which activations are exchanged.
    """
    rows = torch.arange(len(tokens), device=tokens.device).repeat(steps)
    repeated, of_rows = tokens[rows], metric.rows(rows)
    return {
        site: _integrated(decoder, repeated, of_rows, site, clean[site], other, steps, positions)
        for site, other in others.items()
    }


def _integrated(
    decoder: Decoder,
    tokens: Int[Tensor, "rows tokens"],
    metric: Metric,
    site: Site,
    start: Float[Tensor, "batch tokens width"],
    other: Float[Tensor, "#batch #tokens width"],
    steps: int,
    positions: Positions,
) -> Float[Tensor, "batch width"]:
    way = other.to(start) - start
    if positions == "last":
        way = torch.cat([torch.zeros_like(way[:, :-1]), way[:, -1:]], dim=1)
    shares = (torch.arange(steps, device=way.device, dtype=way.dtype) + 0.5) / steps
    points = (start + shares[:, None, None, None] * way).flatten(0, 1).requires_grad_()
    with torch.enable_grad(), at_sites(decoder, [site], len(tokens), lambda *_: points):
        (slope,) = torch.autograd.grad(metric.of_logits(last_logits(decoder, tokens)).sum(), points)
    slopes: Tensor = slope.view(steps, *start.shape)
    return (way * slopes.mean(0)).sum(1)


def from_embeddings(decoder: Decoder) -> AbstractContextManager[None]:
    """Let gradients flow from the token embeddings on, while every parameter stays frozen."""

    def leaf(module: torch.nn.Module, args: tuple[object, ...], output: Tensor) -> Tensor:
        return output.detach().requires_grad_()

    return hooked(forward={decoder.model.get_input_embeddings(): leaf})


def at_positions(
    values: Float[Tensor, "batch tokens _"], positions: Positions
) -> Float[Tensor, "batch counted _"]:
    """Values at the positions that count: all, or the last."""
    return values[:, -1:] if positions == "last" else values
