"""Gradient scores against finite differences, exact effects and sums, in float64."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from llm_anatomy.attribution.exact import exact_effect_by_definition, exact_effects
from llm_anatomy.attribution.gradients import (
    from_embeddings,
    integrated_scores,
    patching_scores,
)
from llm_anatomy.attribution.metric import Metric, last_logits
from llm_anatomy.attribution.relevance import norms, relevance_rules
from llm_anatomy.attribution.sites import Site, Unit, all_sites, at_sites, read_sites
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.norm import Norm
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.hooks import hooked
from llm_anatomy.model.run.replay import Replay, replaced_forward
from torch import Tensor

from tests.tiny import tiny_model

# Grouped queries, fused and transposed projections, parallel blocks, post-norms, soft-caps.
FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma2", "qwen2", "falcon", "opt", "olmo2", "qwen3")
KINDS = ("ffn", "attention", "ffn_output", "attention_output")
CLEAN = torch.tensor([[5, 17, 40, 99, 8], [7, 30, 2, 61, 250]])
OTHER = torch.tensor([[5, 18, 41, 99, 9], [300, 30, 3, 60, 250]])
METRICS = (
    Metric(torch.tensor([12, 200])),
    Metric(torch.tensor([12, 200]), torch.tensor([90, 31])),
)


def decoder_of(family: str) -> Decoder:
    if family != "gemma2":
        return resolve(tiny_model(family, dtype=torch.float64))
    # Its own implementation of attention, for a soft-cap, computes weights in float32.
    model = tiny_model(family, dtype=torch.float64, attn_logit_softcapping=None)
    model.config._attn_implementation = "sdpa"
    return resolve(model)


@contextmanager
def wide_norms(decoder: Decoder) -> Iterator[None]:
    """Norms in float64: transformers computes them in float32 whatever the model's type."""

    def forward(norm: Norm):
        bias = 0 if norm.bias is None else norm.bias.double()
        return lambda states: norm.frozen(states, states) + bias

    with replaced_forward({norm.module: forward(norm) for norm in norms(decoder)}):
        yield


def metric_with(
    decoder: Decoder, metric: Metric, site: Site, change: Tensor, tokens: Tensor = CLEAN
) -> Tensor:
    """The metric with something added to a site."""
    with torch.no_grad(), at_sites(decoder, [site], len(tokens), lambda _, a: a + change):
        return metric.of_logits(last_logits(decoder, tokens))


@pytest.mark.parametrize("metric", METRICS, ids=["logprob", "contrast"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_slopes_of_the_metric(family: str, metric: Metric) -> None:
    decoder = decoder_of(family)
    with wide_norms(decoder):
        sites = all_sites(decoder, KINDS)
        clean, others = (read_sites(decoder, tokens, sites) for tokens in (CLEAN, OTHER))
        for positions in ("last", "all"):
            scores = patching_scores(decoder, CLEAN, metric, others, positions)
            assert set(scores) == set(sites)
            for site in sites:
                way = others[site] - clean[site]
                if positions == "last":
                    way[:, :-1] = 0
                step = 1e-5
                ends = (metric_with(decoder, metric, site, s * way) for s in (step, -step))
                slope = (next(ends) - next(ends)) / (2 * step)
                torch.testing.assert_close(scores[site].sum(-1), slope, rtol=1e-6, atol=1e-8)
                # One entry alone, in the second prompt.
                entry = int(scores[site][1].abs().argmax())
                single = torch.zeros_like(way)
                single[..., entry] = way[..., entry]
                ends = (metric_with(decoder, metric, site, s * single) for s in (step, -step))
                slope = (next(ends) - next(ends)) / (2 * step)
                torch.testing.assert_close(scores[site][:, entry], slope, rtol=1e-6, atol=1e-8)


def test_equal_prompts_score_nothing_and_directions_are_each_others_mirror() -> None:
    decoder, metric = decoder_of("llama"), METRICS[1]
    sites = all_sites(decoder, KINDS)
    clean, others = (read_sites(decoder, tokens, sites) for tokens in (CLEAN, OTHER))
    for values in patching_scores(decoder, CLEAN, metric, clean).values():
        assert (values == 0).all()
    # Denoising of a pair is noising of the pair exchanged; the two are not negatives.
    denoising = patching_scores(decoder, OTHER, metric, clean)
    noising = patching_scores(decoder, CLEAN, metric, others)
    assert not torch.allclose(denoising[Site("ffn", 0)], -noising[Site("ffn", 0)], rtol=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_neurons_add_up_to_what_their_projection_gives(family: str) -> None:
    decoder, metric = decoder_of(family), METRICS[0]
    sites = all_sites(decoder, KINDS)
    others = read_sites(decoder, OTHER, sites)
    scores = patching_scores(decoder, CLEAN, metric, others)
    for block in decoder.blocks:
        for inner, outer, norm in (
            ("ffn", "ffn_output", block.mlp_post_norm),
            ("attention", "attention_output", block.attention_post_norm),
        ):
            if norm is None:
                parts = scores[Site(inner, block.index)].sum(-1)
                whole = scores[Site(outer, block.index)].sum(-1)
                torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2", "qwen2"])
def test_integrated_gradients_sum_to_the_exact_effect(family: str) -> None:
    decoder, metric = decoder_of(family), METRICS[1]
    with wide_norms(decoder):
        sites = all_sites(decoder, ("ffn", "attention"))
        clean, others = (read_sites(decoder, tokens, sites) for tokens in (CLEAN, OTHER))
        before = metric.of_logits(last_logits(decoder, CLEAN)).detach()
        gaps = {}
        for steps in (16, 32):
            scores = integrated_scores(decoder, CLEAN, metric, clean, others, steps)
            gaps[steps] = torch.stack(
                [
                    metric_with(decoder, metric, site, others[site] - clean[site])
                    - before
                    - scores[site].sum(-1)
                    for site in sites
                ]
            )
        effects = torch.stack(
            [
                metric_with(decoder, metric, site, others[site] - clean[site]) - before
                for site in sites
            ]
        )
    assert float(gaps[32].abs().max()) <= 0.01 * float(effects.abs().max())
    # The midpoint rule: twice the steps, a quarter of the gap.
    assert float(gaps[32].abs().max()) <= 0.3 * float(gaps[16].abs().max()) + 1e-9


def test_integrating_at_the_last_position_leaves_the_others_alone() -> None:
    decoder, metric = decoder_of("llama"), METRICS[0]
    sites = [Site("ffn", 1)]
    clean, others = (read_sites(decoder, tokens, sites) for tokens in (CLEAN, OTHER))
    way = others[sites[0]] - clean[sites[0]]
    way[:, :-1] = 0
    effect = metric_with(decoder, metric, sites[0], way) - metric.of_logits(
        last_logits(decoder, CLEAN)
    )
    scores = integrated_scores(decoder, CLEAN, metric, clean, others, 64, "last")
    torch.testing.assert_close(scores[sites[0]].sum(-1), effect.detach(), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma", "olmo2", "qwen3"])
def test_relevance_is_conserved_where_the_network_is_linear(family: str) -> None:
    """x . R(x) of the whole stream is the logit, at every layer: with zero as the other, -score."""
    decoder = decoder_of(family)
    contrast = METRICS[1]
    logits = contrast.of_logits(last_logits(decoder, CLEAN)).detach()
    stream: list[Tensor] = []
    slopes: list[Tensor] = []

    def watch(module, args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        stream.append(states.detach())
        states.register_hook(lambda gradient: slopes.append(gradient))

    pre = {block.module: watch for block in decoder.blocks}
    with (
        torch.enable_grad(),
        from_embeddings(decoder),
        relevance_rules(decoder, len(CLEAN), freeze_attention=True),
        hooked(pre=pre),
    ):
        contrast.of_logits(last_logits(decoder, CLEAN)).sum().backward()
    for states, slope in zip(stream, reversed(slopes), strict=True):
        torch.testing.assert_close((states * slope).sum((1, 2)), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_relevance_rules_leave_the_forward_pass_as_it_is(family: str) -> None:
    decoder = decoder_of(family)
    with torch.no_grad():
        expected = last_logits(decoder, CLEAN)
        for frozen in (False, True):
            with relevance_rules(decoder, len(CLEAN), frozen):
                torch.testing.assert_close(last_logits(decoder, CLEAN), expected, rtol=0, atol=1e-9)
        assert torch.equal(last_logits(decoder, CLEAN), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_relevance_scores_differ_from_gradients_but_not_in_the_last_neurons(family: str) -> None:
    decoder = decoder_of(family)
    others = read_sites(decoder, OTHER, all_sites(decoder, ("ffn",)))
    plain = patching_scores(decoder, CLEAN, METRICS[1], others)
    rules = relevance_rules(decoder, len(CLEAN))
    ruled = patching_scores(decoder, CLEAN, METRICS[1], others, rules=rules)
    first = Site("ffn", 0)
    assert not torch.allclose(plain[first], ruled[first], rtol=1e-3)


@pytest.mark.parametrize("positions", ["last", "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_exact_effects_are_those_of_whole_forward_passes(family: str, positions: str) -> None:
    decoder = decoder_of(family)
    replay = Replay(decoder)
    sites = all_sites(decoder, KINDS)
    others = {site: a[0] for site, a in read_sites(decoder, OTHER, sites).items()}
    metric = METRICS[0].rows(torch.tensor([0]))
    units = [Unit(site, n) for site in sites for n in (0, 3)]
    units += [Unit(Site("attention", 1), 8, 8), Unit(Site("ffn_output", 0), 0, decoder.d_model)]
    expected = [
        exact_effect_by_definition(decoder, CLEAN[0], metric, unit, others, positions)
        for unit in units
    ]
    for budget in (1, 7, 4096):
        found = exact_effects(replay, CLEAN[0], metric, units, others, positions, budget)
        torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-5, atol=1e-7)
    assert max(map(abs, expected)) > 1e-3


def test_a_small_step_changes_the_metric_as_scored() -> None:
    """Exact effects of a hundredth of the way are a hundredth of the scores."""
    decoder = decoder_of("llama")
    sites = all_sites(decoder, ("ffn",))
    clean, others = (read_sites(decoder, tokens, sites) for tokens in (CLEAN, OTHER))
    near = {site: clean[site][0] + 1e-3 * (others[site] - clean[site])[0] for site in sites}
    metric = METRICS[1].rows(torch.tensor([0]))
    units = [Unit(site, n) for site in sites for n in range(10)]
    with wide_norms(decoder):
        effects = exact_effects(Replay(decoder), CLEAN[0], metric, units, near)
        scores = patching_scores(
            decoder, CLEAN[:1], metric, {site: values[None] for site, values in near.items()}
        )
    expected = torch.stack([scores[unit.site][0, unit.first] for unit in units])
    torch.testing.assert_close(effects, expected, rtol=2e-2, atol=1e-7)
