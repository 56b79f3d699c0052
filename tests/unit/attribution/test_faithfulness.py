"""Faithfulness: its ends, its area, and what it says of a planted circuit."""

import pytest
import torch
from llm_anatomy.attribution.faithfulness import (
    SHARES,
    FaithfulnessCurve,
    area,
    distance,
    faithfulness_curve,
)
from llm_anatomy.attribution.metric import Metric, last_logits
from llm_anatomy.attribution.sites import Site, Unit, all_sites, at_sites, read_sites
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.resolve import resolve
from torch import Tensor

from tests.tiny import tiny_model

PROMPTS = torch.tensor([[5, 17, 40, 99, 8], [7, 30, 2, 61, 250], [9, 9, 14, 3, 77]])
OTHERS = torch.tensor([[5, 18, 41, 99, 9], [300, 30, 3, 60, 250], [9, 8, 14, 4, 78]])
METRIC = Metric(torch.tensor([12, 200, 31]), torch.tensor([90, 31, 8]))


def curve_of(
    decoder: Decoder, ranking: list[Unit], others: dict[Site, Tensor], **asked: object
) -> FaithfulnessCurve:
    return faithfulness_curve(decoder, PROMPTS, METRIC, ranking, others, **asked)


def shuffled(others: dict[Site, Tensor], seed: int) -> list[Unit]:
    units = [Unit(site, n) for site, values in others.items() for n in range(values.shape[-1])]
    order = torch.randperm(len(units), generator=torch.Generator().manual_seed(seed))
    return [units[n] for n in order]


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2", "falcon"])
def test_curves_equal_one_forward_pass_per_fact_and_share(family: str) -> None:
    decoder = resolve(tiny_model(family))
    others = read_sites(decoder, OTHERS, all_sites(decoder, ("ffn", "attention")))
    ranking = shuffled(others, 3)
    shares = (0.01, 0.3, 1.0)
    curve = curve_of(decoder, ranking, others, shares=shares)

    def metric_without(exchanged: set[Unit], fact: int) -> float:
        def exchange(site: Site, activations: Tensor) -> Tensor:
            changed = activations.clone()
            for entry in range(changed.shape[-1]):
                if Unit(site, entry) in exchanged:
                    changed[..., entry] = others[site][fact, :, entry]
            return changed

        row = torch.tensor([fact])
        with torch.no_grad(), at_sites(decoder, others, 1, exchange):
            return float(METRIC.rows(row).of_logits(last_logits(decoder, PROMPTS[row])))

    for fact in range(3):
        assert curve.whole[fact] == pytest.approx(metric_without(set(), fact), abs=1e-4)
        assert curve.empty[fact] == pytest.approx(metric_without(set(ranking), fact), abs=1e-4)
        for column, share in enumerate(shares):
            count = int(share * len(ranking) + 1e-9)
            best, rest = set(ranking[:count]), set(ranking[count:])
            assert curve.keep[fact, column] == pytest.approx(metric_without(rest, fact), abs=1e-4)
            assert curve.remove[fact, column] == pytest.approx(metric_without(best, fact), abs=1e-4)
    # All units kept is the clean model, all removed the empty one.
    assert curve.faithfulness("keep")[-1] == pytest.approx(1, abs=1e-5)
    assert curve.faithfulness("remove")[-1] == pytest.approx(0, abs=1e-5)


def test_curves_do_not_depend_on_the_batch() -> None:
    decoder = resolve(tiny_model("llama"))
    others = read_sites(decoder, OTHERS, all_sites(decoder, ("ffn",)))
    ranking = shuffled(others, 0)
    whole = curve_of(decoder, ranking, others, budget=100_000)
    parts = curve_of(decoder, ranking, others, budget=1)
    torch.testing.assert_close(whole.keep, parts.keep, rtol=0, atol=1e-5)
    torch.testing.assert_close(whole.remove, parts.remove, rtol=0, atol=1e-5)


def test_one_baseline_for_all_facts_is_each_ones_own() -> None:
    decoder = resolve(tiny_model("llama"))
    sites = all_sites(decoder, ("ffn",))
    width = decoder.blocks[0].n_neurons
    zero = {site: torch.zeros(1, 1, width) for site in sites}
    every = {site: torch.zeros(3, 5, width) for site in sites}
    ranking = shuffled(every, 0)
    one, many = (curve_of(decoder, ranking, others) for others in (zero, every))
    torch.testing.assert_close(one.keep, many.keep)
    torch.testing.assert_close(one.empty, many.empty)


def test_a_ranking_that_leaves_a_unit_out_is_refused() -> None:
    decoder = resolve(tiny_model("llama"))
    others = read_sites(decoder, OTHERS, all_sites(decoder, ("ffn",)))
    with pytest.raises(ValueError, match="names every unit"):
        curve_of(decoder, shuffled(others, 0)[1:], others)


def test_means_are_taken_before_the_ratio() -> None:
    ones = torch.ones(2, 1)
    curve = FaithfulnessCurve(
        (1.0,),
        keep=torch.tensor([[2.0], [0.0]]),
        remove=0 * ones,
        whole=torch.tensor([3.0, 1.0]),
        empty=torch.tensor([1.0, -3.0]),
    )
    # Of the means (1 - -1) / (2 - -1); the mean of the ratios would be (1/2 + 3/4) / 2.
    assert curve.faithfulness("keep")[0] == pytest.approx(2 / 3)
    assert curve.faithfulness("keep", torch.tensor([1, 1]))[0] == pytest.approx(3 / 4)


def test_areas_are_those_of_the_benchmark() -> None:
    """papers/attribution, section 3.3: the weights of the ten shares, and both extreme curves."""
    weights = torch.tensor([0.0005, 0.002, 0.004, 0.0075, 0.02, 0.04, 0.075, 0.2, 0.4, 0.25])
    for n in range(len(SHARES)):
        single = torch.zeros(len(SHARES), dtype=torch.float64)
        single[n] = 1
        # The page rounds the weights to its last digit.
        assert area(SHARES, single) == pytest.approx(float(weights[n]), abs=6e-4)
    everything = torch.ones(len(SHARES), dtype=torch.float64)
    nothing = torch.zeros(len(SHARES), dtype=torch.float64)
    nothing[-1] = 1
    assert area(SHARES, everything) == pytest.approx(0.999)
    assert distance(SHARES, everything) == pytest.approx(0)
    assert area(SHARES, nothing) == pytest.approx(0.25)
    assert distance(SHARES, nothing) == pytest.approx(0.749)
