"""The default model: the Paris prompt's decomposition, and knock-outs of five capitals."""

import pytest
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.facts import Attribution
from llm_anatomy.facts.importance import best_ffn_neurons, fact_of, layer_importance
from llm_anatomy.facts.knockout import Units, answers_without, ffn_units
from llm_anatomy.facts.readout import TargetToken
from llm_anatomy.facts.record import record_prompts
from llm_anatomy.facts.selections import RandomUnits
from llm_anatomy.facts.subvalues import Subvalues, split_units
from llm_anatomy.model.run.loading import load_model

from tests.default_model import default_model

CAPITALS = {
    "France": " Paris",
    "Germany": " Berlin",
    "Japan": " Tokyo",
    "Spain": " Madrid",
    "Russia": " Moscow",
}


@pytest.mark.default_model
def test_capitals_of_the_default_model():
    loaded = load_model(default_model(), Precision(), Compute())
    decoder, tokenizer = loaded.decoder, loaded.tokenizer
    prompts = [tokenizer(f"The capital of {country} is")["input_ids"] for country in CAPITALS]
    tokens = [tokenizer(answer)["input_ids"][0] for answer in CAPITALS.values()]
    subvalues = Subvalues(decoder)
    best: list[Units] = [Units()] * len(prompts)
    for row, recording in record_prompts(decoder, prompts, 2048):
        fact = fact_of(recording, TargetToken(tokens[row]), subvalues, Attribution())
        sums = layer_importance(fact).double().sum(0)
        gain = recording.log_probabilities[tokens[row]] - fact.scores[0]
        assert float(sums.sum()) == pytest.approx(float(gain), abs=1e-4)
        if row == 0:
            assert sums.tolist() == pytest.approx([5.80, 4.66], abs=0.02)
        found = best_ffn_neurons(fact, 10)
        assert found.certified
        layers, neurons = split_units(found.units, subvalues.widths)
        if row == 0:
            assert (int(layers[0]), int(neurons[0])) == (27, 846)
        best[row] = ffn_units(zip(layers.tolist(), neurons.tolist(), strict=True))
    random_units = RandomUnits(decoder, 0)
    control = [
        ffn_units(random_units.ffn(10, ("capitals", str(row)), "ffn"))
        for row in range(len(prompts))
    ]

    def mean(units):
        answers = answers_without(decoder, prompts, tokens, units, 2048)
        return sum(answer.probability for _, answer in answers) / len(prompts)

    original = mean([Units()] * len(prompts))
    assert mean(best) <= 0.1 * original
    assert mean(control) >= 0.98 * original
