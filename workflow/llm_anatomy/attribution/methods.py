"""Ways to score units, behind one interface: how much a unit helps the answer, fact by fact.

Whatever a method computes, a larger score means that more would be lost without the unit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.attribution.gradients import (
    Scores,
    at_positions,
    integrated_scores,
    patching_scores,
)
from llm_anatomy.attribution.metric import Metric
from llm_anatomy.attribution.pairs import FactPair
from llm_anatomy.attribution.relevance import relevance_rules
from llm_anatomy.attribution.sites import Activations, Site, Unit, read_sites, sites_of
from llm_anatomy.config.attribution import ActivationMethod, Baseline, Positions
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import equal_length_batches


@dataclass(frozen=True)
class UnitScoring:
    """How units are scored.

    Attributes:
        method: `attribution_patching` and `denoising` by gradients of the clean and of the
            counterfactual run, `relevance_patching` and `integrated_gradients`; `activation`, the
            control without a gradient: the size of what the unit writes.
        exchanged_for: What activations are exchanged for, of `baseline_of`: the same for scores,
            exact losses and curves. None exchanges each fact's for its counterfactual's.
        positions: Where they are exchanged.
        contrast: Whether the metric is the logit over the counterfactual's answer's, and not the
            log-probability.
        steps: Points of integrated gradients.
    """

    method: ActivationMethod = "attribution_patching"
    exchanged_for: Activations | None = None
    positions: Positions = "all"
    contrast: bool = True
    steps: int = 8


def helpfulness(
    decoder: Decoder,
    pairs: Sequence[FactPair],
    units: Sequence[Unit],
    scoring: UnitScoring,
    batch_tokens: int,
) -> Float[Tensor, "facts units"]:
    """How much every unit helps the answer of every fact.

    Raises:
        ValueError: Denoising without a counterfactual: there is no run to restore.
    """
    if scoring.method == "denoising" and scoring.exchanged_for is not None:
        raise ValueError("denoising restores units in the counterfactual run and has no baseline")
    sites = sites_of(units)
    result = torch.empty(len(pairs), len(units), dtype=torch.float64)
    # Denoising restores the fact's activations in the run of its counterfactual.
    denoised = scoring.method == "denoising"
    runs = [pair.reversed for pair in pairs] if denoised else list(pairs)
    for batch in equal_length_batches([p.tokens for p in runs], batch_tokens, decoder.device):
        chosen = [runs[row] for row in batch.rows]
        metric = metric_of([pairs[row] for row in batch.rows], scoring.contrast, decoder.device)
        if scoring.method == "activation":
            values = _written(decoder, batch.input_ids, units, scoring.positions)
        else:
            scores = _scores(decoder, chosen, batch.input_ids, metric, sites, scoring)
            values = of_units(scores, units)
        result[batch.rows] = values.double().cpu()
    return result


def metric_of(pairs: Sequence[FactPair], contrast: bool, device: torch.device) -> Metric:
    """What is attributed of some pairs."""
    answers = torch.tensor([pair.answer for pair in pairs], device=device)
    rivals = torch.tensor([pair.rival for pair in pairs], device=device)
    return Metric(answers, rivals if contrast else None)


def baseline_of(
    decoder: Decoder,
    pairs: Sequence[FactPair],
    sites: Sequence[Site],
    baseline: Baseline,
    batch_tokens: int,
) -> Activations | None:
    """What every fact's activations are exchanged for; None where each fact has its own.

    Args:
        decoder: The model.
        pairs: Facts over whose prompts and positions the mean is taken. In the study the half that
            makes rankings, whatever is exchanged and measured: one definition for everything that
            is held against another, of which the facts that judge are no part.
        sites: Where activations are read.
        baseline: Which of the three.
        batch_tokens: Most tokens in one pass.
    """
    if baseline == "counterfactual":
        return None
    if baseline == "zero":
        # Of any prompt, for the shapes alone.
        shapes = counterfactual(decoder, pairs[:1], sites)
        return {site: torch.zeros_like(a[:, :1], dtype=torch.float64) for site, a in shapes.items()}
    total: dict[Site, Tensor] = {}
    n_tokens = 0
    for batch in equal_length_batches([p.tokens for p in pairs], batch_tokens, decoder.device):
        n_tokens += batch.input_ids.numel()
        for site, activations in read_sites(decoder, batch.input_ids, sites).items():
            summed = activations.double().sum((0, 1), keepdim=True)
            total[site] = total[site] + summed if site in total else summed
    return {site: values / n_tokens for site, values in total.items()}


def counterfactual(
    decoder: Decoder, pairs: Sequence[FactPair], sites: Sequence[Site]
) -> Activations:
    """What the activations of facts of one length are exchanged for: their counterfactuals'.

    Aligned to the fact's positions; where nothing stands for one, the fact's own activations.
    """
    by_length: dict[int, list[int]] = {}
    for row, pair in enumerate(pairs):
        by_length.setdefault(len(pair.other_tokens), []).append(row)
    places = torch.tensor([pair.places for pair in pairs], device=decoder.device)
    found: Activations = {}
    if bool((places < 0).any()):
        own = torch.tensor([pair.tokens for pair in pairs], device=decoder.device)
        found = read_sites(decoder, own, sites)
    for rows in by_length.values():
        tokens = torch.tensor([pairs[row].other_tokens for row in rows], device=decoder.device)
        for site, activations in read_sites(decoder, tokens, sites).items():
            at = places[rows, :, None]
            aligned = activations.gather(1, at.clamp(min=0).expand(-1, -1, activations.shape[-1]))
            if site not in found:
                found[site] = aligned.new_empty(*places.shape, activations.shape[-1])
            found[site][rows] = torch.where(at < 0, found[site][rows], aligned)
    return found


def of_units(
    scores: Mapping[Site, Float[Tensor, "batch _"]], units: Sequence[Unit]
) -> Float[Tensor, "batch units"]:
    """Scores of units: sums over their entries, never norms."""
    starts: dict[Site, int] = {}
    for site in scores:
        starts[site] = sum(scores[before].shape[1] for before in starts)
    flat = torch.cat(list(scores.values()), dim=1)
    # Cumulative sums would lose digits; units of one width are gathered together.
    result = flat.new_empty(len(flat), len(units))
    for width in {unit.width for unit in units}:
        rows = [number for number, unit in enumerate(units) if unit.width == width]
        first = torch.tensor([starts[units[row].site] + units[row].first for row in rows])
        entries = first[:, None] + torch.arange(width)
        result[:, rows] = flat[:, entries.to(flat.device)].sum(-1)
    return result


def _scores(
    decoder: Decoder,
    pairs: Sequence[FactPair],
    tokens: Int[Tensor, "batch tokens"],
    metric: Metric,
    sites: Sequence[Site],
    scoring: UnitScoring,
) -> Scores:
    others = scoring.exchanged_for or counterfactual(decoder, pairs, sites)
    if scoring.method == "integrated_gradients":
        clean = read_sites(decoder, tokens, sites)
        lost = integrated_scores(
            decoder, tokens, metric, clean, others, scoring.steps, scoring.positions
        )
    else:
        ruled = scoring.method == "relevance_patching"
        rules = relevance_rules(decoder, len(tokens)) if ruled else None
        lost = patching_scores(decoder, tokens, metric, others, scoring.positions, rules)
    if scoring.method == "denoising":
        # What the metric of the counterfactual's run gains by the fact's activations.
        return lost
    return {site: -values for site, values in lost.items()}


def _written(
    decoder: Decoder,
    tokens: Int[Tensor, "batch tokens"],
    units: Sequence[Unit],
    positions: Positions,
) -> Float[Tensor, "batch units"]:
    """Size of what every unit writes, summed over positions: |Σ a_k column_k| over its entries k.

    Of a neuron |a| times the length of its column. Entries of a head add up, or cancel each other,
    before the size is taken.
    """
    weights: dict[str, Callable[[int], Tensor]] = {
        "ffn": lambda layer: decoder.blocks[layer].down.weight(),
        "attention": lambda layer: decoder.blocks[layer].o.weight(),
    }
    activations = read_sites(decoder, tokens, sites_of(units))
    columns = {
        site: weights[site.kind](site.layer).to(values) for site, values in activations.items()
    }
    neurons = of_units(
        {
            site: (at_positions(values, positions).abs() * columns[site].norm(dim=0)).sum(1)
            for site, values in activations.items()
        },
        units,
    )
    for number, unit in enumerate(units):
        if unit.width > 1:
            own = at_positions(activations[unit.site], positions)[..., unit.entries]
            neurons[:, number] = (own @ columns[unit.site][:, unit.entries].T).norm(dim=-1).sum(1)
    return neurons
