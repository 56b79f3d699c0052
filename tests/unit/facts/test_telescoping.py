"""What the parts must sum to is the model's own score, and not what the parts sum to."""

import dataclasses

import pytest
import torch
from llm_anatomy.config.facts import Attribution
from llm_anatomy.facts.explain import FactTables
from llm_anatomy.facts.importance import Fact
from llm_anatomy.facts.readout import TargetToken

from tests.tiny import tiny_tokenizer
from tests.unit.facts.tools import TARGET, decoder_of, fact_of

SETTINGS = Attribution(neurons=3, attention_neurons=3, head_positions=3, sums=0)


def error_of(fact: Fact) -> float:
    numbers = FactTables(tiny_tokenizer(), SETTINGS).add("a", fact, sums=False)
    total = numbers["attention"] + numbers["ffn"]
    assert total == pytest.approx(numbers["final_logprob"] - numbers["start_logprob"], abs=1e-6)
    return numbers["telescoping_error"]


def model_said(fact: Fact, **shifts: float) -> Fact:
    """The fact, had the model itself given its target or the contrast another log-probability."""
    logs = fact.recording.log_probabilities.clone()
    logs[fact.target.token] += shifts.get("target", 0.0)
    if fact.target.contrast is not None:
        logs[fact.target.contrast] += shifts.get("contrast", 0.0)
    recording = dataclasses.replace(fact.recording, log_probabilities=logs)
    return Fact(recording, fact.readout, fact.target, fact.subvalues)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_error_is_the_distance_to_the_model(family: str) -> None:
    fact = fact_of(family)
    logits = decoder_of(family).model(fact.recording.tokens[None]).logits[0, -1]
    expected = logits.double().log_softmax(-1)
    torch.testing.assert_close(fact.recording.log_probabilities.double(), expected)
    assert error_of(fact) < 1e-5
    for shift in (0.25, -0.5):
        assert error_of(model_said(fact, target=shift)) == pytest.approx(abs(shift), abs=1e-5)


def test_of_a_contrast_both_tokens_count() -> None:
    fact = fact_of("llama", target=TargetToken(TARGET.token, 7))
    assert error_of(fact) < 1e-5
    assert error_of(model_said(fact, contrast=0.25)) == pytest.approx(0.25, abs=1e-5)
    assert error_of(model_said(fact, target=0.25, contrast=0.25)) == pytest.approx(0, abs=1e-5)
