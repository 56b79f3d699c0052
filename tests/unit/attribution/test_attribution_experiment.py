"""Pairs, methods and rankings on tiny models: what is true by construction must come out."""

import math

import pandas as pd
import pytest
import torch
from llm_anatomy.attribution.areas import JudgedCurve, area_differences, resampled_facts
from llm_anatomy.attribution.experiment import (
    agreement,
    effects_of_units,
    measured_curve,
    random_ranking,
)
from llm_anatomy.attribution.faithfulness import FaithfulnessCurve
from llm_anatomy.attribution.methods import UnitScoring, baseline_of, helpfulness, of_units
from llm_anatomy.attribution.pairs import ALONE, FactPair, halves, pair_facts
from llm_anatomy.attribution.sites import Site, Unit, all_units, read_sites, sites_of
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.resolve import resolve

from tests.tiny import tiny_model

PAIRS = [
    FactPair("a", "b", (5, 17, 40, 99, 8), (5, 18, 41, 99, 9), 12, 90),
    FactPair("b", "a", (7, 30, 2, 61), (300, 30, 3, 60), 200, 31),
    FactPair("c", "d", (9, 9, 14, 3, 77), (9, 8, 14, 4, 78), 31, 8),
]


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return resolve(tiny_model("llama"))


def test_pairs_have_one_length_and_other_answers_and_lonely_facts_are_named() -> None:
    facts = pd.DataFrame(
        {
            "example_id": ["a", "b", "c", "d", "e"],
            "tokens": [[1, 2], [1, 3], [1, 4], [1, 2, 3], [1, 5]],
            "gold_token": [7, 7, 8, 9, 7],
        }
    )
    pairs, alone = pair_facts(facts, 0)
    assert set(alone) == {"d"}
    # Only c answers otherwise than a, b and e; c may be paired with any of the three.
    assert [(p.example_id, p.other_id) for p in pairs if p.example_id != "c"] == [
        ("a", "c"),
        ("b", "c"),
        ("e", "c"),
    ]
    (third,) = [p for p in pairs if p.example_id == "c"]
    assert third.other_id in {"a", "b", "e"}
    assert (third.answer, third.rival) == (8, 7)
    chosen = {pair_facts(facts, seed)[0][2].other_id for seed in range(20)}
    assert chosen == {"a", "b", "e"}
    # A fact's pair does not depend on the order of the others.
    shuffled = facts.iloc[[4, 2, 0, 3, 1]]
    assert {(p.example_id, p.other_id) for p in pair_facts(shuffled, 0)[0]} == {
        (p.example_id, p.other_id) for p in pairs
    }


@pytest.mark.parametrize(
    "method",
    ["attribution_patching", "denoising", "relevance_patching", "integrated_gradients"],
)
def test_scores_do_not_depend_on_the_batch(decoder: Decoder, method: str) -> None:
    units = all_units(decoder, "ffn_neuron")
    scoring = UnitScoring(method=method, steps=2)
    whole = helpfulness(decoder, PAIRS, units, scoring, 1000)
    alone = torch.cat([helpfulness(decoder, [pair], units, scoring, 1) for pair in PAIRS])
    torch.testing.assert_close(whole, alone, rtol=1e-3, atol=1e-5)
    assert whole.shape == (3, 3 * 48)


@pytest.fixture(scope="module")
def calm() -> Decoder:
    """A model with small weights, so nearly linear: there estimates are the truth."""
    model = tiny_model("llama")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:
                parameter.mul_(0.15)
    return resolve(model)


@pytest.mark.parametrize("baseline", ["counterfactual", "mean", "zero"])
@pytest.mark.parametrize("kind", ["ffn_neuron", "attention_neuron", "head"])
def test_scores_estimate_the_exact_losses(calm: Decoder, kind: str, baseline: str) -> None:
    units = all_units(calm, kind)
    others = baseline_of(calm, PAIRS, sites_of(units), baseline, 512)
    losses = effects_of_units(calm, PAIRS, units, UnitScoring(exchanged_for=others), 512)
    for method in ("attribution_patching", "integrated_gradients"):
        scoring = UnitScoring(method, others, steps=4)
        scores = helpfulness(calm, PAIRS, units, scoring, 512)
        (row, *by_layer) = agreement(scores, losses, units)
        assert row["layer"] == -1
        assert row["spearman"] > 0.98
        assert row["same_sign"] > 0.9
        assert row["slope"] == pytest.approx(1, abs=0.1)
        assert [r["layer"] for r in by_layer] == [0, 1, 2]
        assert sum(r["units"] for r in by_layer) == row["units"] == len(units)


def test_denoising_and_noising_agree_on_what_helps_where_all_is_linear(calm: Decoder) -> None:
    units = all_units(calm, "ffn_neuron")
    noising = helpfulness(calm, PAIRS, units, UnitScoring("attribution_patching"), 512)
    denoising = helpfulness(calm, PAIRS, units, UnitScoring("denoising"), 512)
    assert float(torch.corrcoef(torch.stack([noising.mean(0), denoising.mean(0)]))[0, 1]) > 0.9


def test_harmful_units_are_not_among_the_best_however_large_they_are() -> None:
    units = [Unit(Site("ffn", 0), number) for number in range(30)]
    exact = torch.tensor([[*range(1, 11), *[-50.0] * 10, *[0.0] * 10]]).double()
    row = agreement(exact, exact, units)[0]
    assert (row["recall_10"], row["same_sign"]) == (1, 1)
    assert row["spearman"] == row["slope"] == pytest.approx(1)
    assert agreement(-exact, exact, units)[0]["recall_10"] == 0


def test_agreement_by_hand() -> None:
    units = [Unit(Site("ffn", 0), n) for n in range(4)] + [Unit(Site("ffn", 1), 0)]
    exact = torch.tensor([[4.0, 3.0, -2.0, 0.0, 1.0], [4.0, 3.0, -2.0, 0.0, 1.0]])
    scores = torch.tensor([[2.0, 1.0, 1.0, 5.0, 1.0], [2.0, 2.0, 0.0, -5.0, 0.0]])
    (row, first, second) = agreement(scores.double(), exact.double(), units)
    # Means of the scores: 2, 1.5, .5, 0, .5; ranks 5 4 2.5 1 2.5 against 5 4 1 2 3.
    assert row["spearman"] == pytest.approx(0.8207826817)
    assert row["same_sign"] == pytest.approx(3 / 4)
    assert row["slope"] == pytest.approx((8 + 4.5 - 1 + 0.5) / (4 + 2.25 + 0.25 + 0.25))
    assert math.isnan(row["recall_10"])
    assert (first["units"], second["units"]) == (4, 1)
    assert math.isnan(second["spearman"])


def test_recall_counts_the_exact_best_that_were_found() -> None:
    units = [Unit(Site("ffn", 0), n) for n in range(20)]
    exact = torch.arange(20.0).double()[None]
    scores = exact.clone()
    scores[0, 19], scores[0, 0] = 0, 19
    assert agreement(scores, exact, units)[0]["recall_10"] == pytest.approx(0.9)


def test_recall_is_missing_where_any_score_would_find_most_of_the_best() -> None:
    """Of 19 units a score in the wrong order finds a tenth of the best 10 all the same."""
    units = [Unit(Site("ffn", 0), n) for n in range(20)]
    exact = torch.arange(20.0).double()[None]
    whole, fewer = (
        agreement(-exact, exact, units),
        agreement(-exact[:, 1:], exact[:, 1:], units[1:]),
    )
    assert whole[0]["recall_10"] == 0
    assert math.isnan(fewer[0]["recall_10"])
    assert all(math.isnan(row["recall_100"]) for row in whole)


def test_denoising_without_a_counterfactual_is_refused(decoder: Decoder) -> None:
    unit = Unit(Site("ffn", 0), 0)
    zero = baseline_of(decoder, PAIRS, [unit.site], "zero", 64)
    with pytest.raises(ValueError, match="has no baseline"):
        helpfulness(decoder, PAIRS, [unit], UnitScoring("denoising", zero), 64)


def test_units_are_sums_over_their_entries() -> None:
    scores = {
        Site("attention", 0): torch.tensor([[1.0, 2.0, 3.0, 4.0]]),
        Site("ffn", 0): torch.tensor([[5.0, 6.0]]),
    }
    units = [
        Unit(Site("ffn", 0), 1),
        Unit(Site("attention", 0), 2, 2),
        Unit(Site("attention", 0), 0, 2),
    ]
    assert of_units(scores, units).tolist() == [[6.0, 7.0, 3.0]]


def test_a_rankings_curve_over_prompts_of_several_lengths(decoder: Decoder) -> None:
    units = all_units(decoder, "ffn_neuron")
    scoring = UnitScoring()
    order = helpfulness(decoder, PAIRS, units, scoring, 512).mean(0).argsort(descending=True)
    ranking = [units[number] for number in order.tolist()]
    curve = measured_curve(decoder, PAIRS, ranking, scoring, 512, (0.1, 0.5, 1.0))
    for row, pair in enumerate(PAIRS):
        alone = measured_curve(decoder, [pair], ranking, scoring, 512, (0.1, 0.5, 1.0))
        torch.testing.assert_close(curve.keep[row], alone.keep[0], rtol=0, atol=1e-4)
        torch.testing.assert_close(curve.empty[row], alone.empty[0], rtol=0, atol=1e-4)
    random = measured_curve(decoder, PAIRS, random_ranking(units, 0), scoring, 512, (0.1, 0.5, 1.0))
    torch.testing.assert_close(random.whole, curve.whole)
    torch.testing.assert_close(random.empty, curve.empty)
    # The best half carries more than a random half.
    assert curve.faithfulness("keep")[1] > random.faithfulness("keep")[1]


def test_halves_share_neither_fact_nor_counterfactual_and_have_all() -> None:
    facts = pd.DataFrame(
        {
            "example_id": [*"012345678"],
            "tokens": [[n, 7] for n in range(9)],
            "gold_token": range(9),
        }
    )
    for seed in range(20):
        first, second, aside = halves(facts, seed, "skip_pair", None)
        assert (len(first), len(second), aside) == (5, 4, {})
        prompts = [
            {p.example_id for p in half} | {p.other_id for p in half} for half in (first, second)
        ]
        assert not prompts[0] & prompts[1]
        assert prompts[0] | prompts[1] == set("012345678")
    assert halves(facts, 1, "skip_pair", None)[0] != halves(facts, 0, "skip_pair", None)[0]
    assert halves(facts, 0, "skip_pair", None) == halves(facts, 0, "skip_pair", None)
    # The first of each half, the odd one in the half that ranks.
    first, second, _ = halves(facts, 0, "skip_pair", None)
    assert halves(facts, 0, "skip_pair", 5)[:2] == (first[:3], second[:2])


def test_a_fact_without_another_in_its_half_is_counted() -> None:
    """Two answers to four facts: where a half has one answer alone, its facts have no partner."""
    facts = pd.DataFrame(
        {"example_id": [*"abcd"], "tokens": [[n] for n in range(4)], "gold_token": [1, 1, 2, 2]}
    )
    found = [halves(facts, seed, "skip_pair", None) for seed in range(20)]
    assert {(len(first), len(second), len(aside)) for first, second, aside in found} == {
        (2, 2, 0),
        (0, 0, 4),
    }
    assert {reason for *_, aside in found for reason in aside.values()} == {ALONE}


@pytest.mark.parametrize("seed", range(8))
def test_a_fact_is_on_the_side_of_the_one_whose_counterfactual_it_is(seed: int) -> None:
    # Each of the first ten names its neighbour's prompt, as data of minimal pairs do; the last two
    # name one prompt that is no fact's.
    facts = pd.DataFrame(
        {
            "example_id": list("abcdefghijkl"),
            "tokens": [[n] for n in range(12)],
            "gold_token": range(12),
            "counterfactual_prompt": "named",
            "counterfactual_tokens": [[n ^ 1] for n in range(10)] + [[99], [99]],
            "counterfactual_token": 50,
        }
    )
    first, second, _ = halves(facts, seed, "skip_pair", None)
    sides = [{pair.example_id for pair in half} for half in (first, second)]
    assert [len(side) for side in sides] == [6, 6]
    for one, other in ("ab", "cd", "ef", "gh", "ij"):
        assert any({one, other} <= side for side in sides)


@pytest.mark.parametrize("positions", ["all", "last"])
def test_the_size_of_what_a_head_writes_is_that_of_its_sum(
    decoder: Decoder, positions: str
) -> None:
    heads, neurons = all_units(decoder, "head"), all_units(decoder, "attention_neuron")
    scoring = UnitScoring("activation", positions=positions)
    found = helpfulness(decoder, PAIRS, heads, scoring, 512)
    single = helpfulness(decoder, PAIRS, neurons, scoring, 512)
    for row, pair in enumerate(PAIRS):
        for number, head in enumerate(heads):
            projection = decoder.blocks[head.site.layer].o.module
            values = read_sites(decoder, torch.tensor([pair.tokens]), [head.site])[head.site][0]
            values = values if positions == "all" else values[-1:]
            with torch.no_grad():
                # The projection itself, of a state that is zero but for the head.
                alone = torch.zeros_like(values)
                alone[:, head.entries] = values[:, head.entries]
                written = projection(alone) - projection(torch.zeros_like(alone))
            assert float(found[row, number]) == pytest.approx(
                float(written.norm(dim=-1).sum()), rel=1e-4
            )
    # Entries partly cancel each other: the sum of their sizes is larger.
    assert bool((found < 0.9 * single.unflatten(1, (len(heads), -1)).sum(-1)).all())


def test_intervals_hold_the_value_and_follow_the_facts() -> None:
    keep = torch.tensor([[0.5, 1.0], [1.5, 2.0], [1.0, 3.0]]).double()
    whole, empty = torch.tensor([1.0, 2.0, 3.0]).double(), torch.zeros(3).double()
    curve = FaithfulnessCurve((0.5, 1.0), keep, keep * 0, whole, empty)
    judged = JudgedCurve(curve, resampled_facts(3, 200, 0))
    frame = pd.DataFrame(judged.rows({"method": "m"}))
    assert frame.columns.tolist()[0] == "method"
    kept = frame[frame["side"] == "keep"]
    assert kept["faithfulness"].tolist() == pytest.approx([3 / 6, 6 / 6])
    # Ratios of single facts: 1/2, 3/4, 1/3 at one half of the units; always 1 at all.
    assert 1 / 3 <= kept["low"].iloc[0] < 0.5 < kept["high"].iloc[0] <= 0.75
    assert kept["low"].iloc[1] == kept["high"].iloc[1] == pytest.approx(1)
    row = judged.areas({"method": "m"})
    assert row["cpr"] == pytest.approx(0.5 * (0.5 + 1) / 2)
    assert row["cmd"] == pytest.approx(0.5 * 0.5 / 2)
    assert row["enough"] == 1.0
    assert row["cpr_low"] <= row["cpr"] <= row["cpr_high"]


def test_differences_of_areas_are_paired_over_facts() -> None:
    whole, empty = torch.ones(4).double(), torch.zeros(4).double()
    # Facts differ much, the two rankings by the same 0.1 on each of them.
    keep = torch.tensor([[0.0, 1.0], [0.8, 1.0], [0.2, 1.0], [0.6, 1.0]]).double()
    better = keep + torch.tensor([0.1, 0.0])
    drawn = resampled_facts(4, 300, 0)
    judged = {
        name: JudgedCurve(FaithfulnessCurve((0.0, 1.0), kept, kept * 0, whole, empty), drawn)
        for name, kept in (("better", better), ("worse", keep))
    }
    (row,) = area_differences(judged, {"kind": "head"})
    assert (row["method"], row["other"], row["facts"]) == ("better", "worse", 4)
    assert [row[name] for name in ("difference", "low", "high")] == pytest.approx([0.05] * 3)
    own = judged["better"].areas({})
    assert own["cpr_high"] - own["cpr_low"] > 0.1
