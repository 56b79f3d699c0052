"""The study of a relation's units: tables of the declared columns, counted facts, seeds."""

from typing import Any

import pandas as pd
import pytest
import torch
from llm_anatomy.attribution import study as attribution_study
from llm_anatomy.attribution.experiment import (
    effects_of_units,
    measured_curve,
)
from llm_anatomy.attribution.faithfulness import SHARES, area
from llm_anatomy.attribution.methods import UnitScoring, helpfulness
from llm_anatomy.attribution.pairs import ALONE, FactPair, halves
from llm_anatomy.attribution.sites import Site, Unit, all_units
from llm_anatomy.attribution.study import attribute_units, sample_of_layers
from llm_anatomy.config.attribution import UnitAttribution
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.tables import attribution as tables
from llm_anatomy.tables.core import read_table, write_table
from torch import Tensor

from tests.tiny import tiny_model

SETTINGS = UnitAttribution(
    max_facts=6,
    methods=["attribution_patching", "relevance_patching"],
    exact_facts=2,
    exact_top=4,
    exact_sample=9,
    kept=7,
    resamples=20,
)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return LoadedModel(resolve(tiny_model("llama")), None, {})


def facts(count: int) -> pd.DataFrame:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 300, (count, 5), generator=generator).tolist()
    return pd.DataFrame(
        {
            "example_id": [f"f{n}" for n in range(count)],
            "tokens": tokens,
            "gold_token": list(range(10, 10 + count)),
        }
    )


def study(loaded: LoadedModel, count: int = 8, seed: int = 0, **changes: Any) -> Any:
    settings = SETTINGS.model_copy(update=changes)
    return attribute_units(loaded, facts(count), settings, seed, 512)


def paired_halves(count: int) -> list[list[FactPair]]:
    """The pairs that rank and those that judge."""
    return list(halves(facts(count), 0, "skip_pair", None)[:2])


def test_every_table_is_as_declared(loaded: LoadedModel, tmp_path) -> None:
    made = study(loaded)
    assert made.counts == {
        "facts": 8,
        "without_counterfactual": 0,
        "not_needed": 2,
        "used": 6,
    }
    for number, (schema, frame) in enumerate(made.frames.items()):
        path = tmp_path / f"{number}.parquet"
        write_table(path, schema, frame, {})
        assert len(read_table(path, schema)) == len(frame) > 0
    scores = made.frames[tables.UNIT_SCORES]
    assert (scores.groupby(["kind", "method"]).size() == 7).all()
    assert (scores["facts"] == 3).all()
    for _, own in scores.groupby(["kind", "method"]):
        assert own["score"].is_monotonic_decreasing
    assert scores[scores["kind"] == "head"]["unit"].max() < 4
    areas = made.frames[tables.AREAS]
    assert set(areas["method"]) == {"attribution_patching", "relevance_patching", "random"}
    assert (areas["facts"] == 3).all()
    exact = made.frames[tables.EXACT_LOSSES]
    neurons = exact[exact["kind"] == "ffn_neuron"]
    drawn = neurons[neurons["chosen"] == "sample"]
    assert drawn.groupby("layer").size().tolist() == [3, 3, 3]
    assert not neurons.duplicated(["layer", "unit"]).any()
    agreed = made.frames[tables.AGREEMENT_WITH_EXACT]
    assert sorted(agreed["layer"].unique()) == [-1, 0, 1, 2]


def test_rankings_are_made_on_some_facts_and_judged_on_the_others(loaded: LoadedModel) -> None:
    """Of seven facts four rank and three judge; what they rank follows them and not the others."""
    asked = {"kinds": ["head"], "methods": ["attribution_patching"], "max_facts": 7}
    made = study(loaded, 7, **asked).frames
    assert set(made[tables.UNIT_SCORES]["facts"]) == {4}
    assert set(made[tables.AREAS]["facts"]) == set(made[tables.FAITHFULNESS]["facts"]) == {3}
    ranked, judged = paired_halves(7)
    assert not {pair.example_id for pair in ranked} & {pair.example_id for pair in judged}
    units = all_units(loaded.decoder, "head")
    scores = helpfulness(loaded.decoder, ranked, units, UnitScoring(), 512).mean(0)
    best = made[tables.UNIT_SCORES].iloc[0]
    assert best["score"] == pytest.approx(float(scores.max()), rel=1e-4)


def test_the_seed_decides_and_nothing_else(loaded: LoadedModel) -> None:
    first, again, other = study(loaded), study(loaded), study(loaded, seed=1)
    for schema in tables.TABLES:
        pd.testing.assert_frame_equal(first.frames[schema], again.frames[schema])
    assert not first.frames[tables.AREAS].equals(other.frames[tables.AREAS])


def test_scores_losses_and_curves_share_one_mean_of_the_facts_that_rank(
    loaded: LoadedModel,
) -> None:
    # By definition, beside the study: the mean over the prompts of the ranked half alone.
    ranked, judged = (half[:3] for half in paired_halves(8))
    decoder, layers = loaded.decoder, range(3)
    read: dict[int, list[Tensor]] = {layer: [] for layer in layers}

    def keep(layer: int) -> Any:
        return lambda _module, inputs: read[layer].append(inputs[0].double())

    handles = [
        decoder.blocks[layer].down.module.register_forward_pre_hook(keep(layer)) for layer in layers
    ]
    for pair in ranked:
        decoder.model(torch.tensor([pair.tokens]))
    for handle in handles:
        handle.remove()
    means = {Site("ffn", n): torch.cat(read[n], 1).mean(1, keepdim=True) for n in layers}

    made = study(loaded, baseline="mean", kinds=["ffn_neuron"], methods=["attribution_patching"])
    units = all_units(decoder, "ffn_neuron")
    own = UnitScoring(exchanged_for=means)
    scores = helpfulness(decoder, ranked, units, own, 512)
    row = made.frames[tables.UNIT_SCORES].iloc[0]
    assert row["score"] == pytest.approx(float(scores.mean(0).max()), rel=1e-4)
    exact = made.frames[tables.EXACT_LOSSES]
    exchanged = [
        Unit(Site("ffn", n), u) for n, u in zip(exact["layer"], exact["unit"], strict=True)
    ]
    losses = effects_of_units(decoder, ranked[:2], exchanged, own, 512).mean(0).numpy()
    assert exact["loss"].to_numpy() == pytest.approx(losses, rel=1e-3, abs=1e-6)
    (area_row,) = (
        made.frames[tables.AREAS].query("method == 'attribution_patching'").to_dict("records")
    )
    order = scores.mean(0).argsort(descending=True, stable=True).tolist()
    curve = measured_curve(decoder, judged, [units[number] for number in order], own, 512)
    expected = float(area(SHARES, curve.faithfulness("keep")))
    assert area_row["cpr"] == pytest.approx(expected, rel=1e-3)


def test_no_prompt_of_a_fact_that_judges_is_read_for_the_rankings(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores and single exchanges read the ranked half, and curves the other, by their prompts."""
    read: dict[str, set[tuple[int, ...]]] = {"ranked": set(), "judged": set()}

    def noted(name: str, side: str) -> None:
        real = getattr(attribution_study, name)

        def note(decoder: Any, pairs: list[FactPair], *rest: Any) -> Any:
            read[side] |= {tokens for pair in pairs for tokens in (pair.tokens, pair.other_tokens)}
            return real(decoder, pairs, *rest)

        monkeypatch.setattr(attribution_study, name, note)

    noted("helpfulness", "ranked")
    noted("effects_of_units", "ranked")
    noted("measured_curve", "judged")
    study(loaded, 12, max_facts=12, kinds=["head"])
    assert len(read["ranked"]) == len(read["judged"]) == 6
    assert not read["ranked"] & read["judged"]


def test_facts_without_a_partner_in_their_half_are_counted(loaded: LoadedModel) -> None:
    given = facts(8)
    first, second = ([pair.example_id for pair in half] for half in paired_halves(8))
    # One of each half has another length than all of its half, though not than each other.
    lonely = given["example_id"].isin([first[0], second[0]])
    given.loc[lonely, "tokens"] = given.loc[lonely, "tokens"].map(lambda tokens: tokens[:-1])
    made = attribute_units(loaded, given, SETTINGS.model_copy(update={"kinds": ["head"]}), 0, 512)
    assert made.counts == {
        "facts": 8,
        "without_counterfactual": 2,
        "not_needed": 0,
        "used": 6,
    }
    assert made.reasons == {ALONE: 2}


def test_denoising_is_not_held_against_what_noising_loses(loaded: LoadedModel) -> None:
    made = study(loaded, kinds=["head"], methods=["attribution_patching", "denoising"])
    assert set(made.frames[tables.UNIT_SCORES]["method"]) == {"attribution_patching", "denoising"}
    assert set(made.frames[tables.AGREEMENT_WITH_EXACT]["method"]) == {"attribution_patching"}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_facts_give_empty_tables_and_are_counted(loaded: LoadedModel, count: int) -> None:
    made = study(loaded, count)
    assert made.counts["facts"] == count
    assert made.counts["used"] == 0
    for schema in tables.TABLES:
        assert made.frames[schema].empty


def test_nothing_is_exchanged_where_nothing_is_asked(loaded: LoadedModel) -> None:
    made = study(loaded, exact_facts=0)
    assert made.frames[tables.EXACT_LOSSES].empty
    assert made.frames[tables.AGREEMENT_WITH_EXACT].empty
    assert not made.frames[tables.AREAS].empty


def test_a_sample_has_as_many_units_of_every_layer_and_none_left_out() -> None:
    units = [Unit(Site("ffn", layer), n) for layer in range(3) for n in range(5)]
    drawn = sample_of_layers(units, {0, 5, 6}, 4, 0)
    assert len(drawn) == 6
    assert not drawn & {0, 5, 6}
    assert [sum(units[n].site.layer == layer for n in drawn) for layer in range(3)] == [2, 2, 2]
    assert drawn != sample_of_layers(units, {0, 5, 6}, 4, 1)


def test_a_model_of_more_layers_than_asked_units_has_a_sample_all_the_same() -> None:
    units = [Unit(Site("ffn", layer), n) for layer in range(40) for n in range(5)]
    drawn = sample_of_layers(units, {0}, 30, 0)
    assert {units[n].site.layer for n in drawn} == set(range(40))
    assert len(drawn) == 40
    assert sample_of_layers(units, {0}, 0, 0) == set()
