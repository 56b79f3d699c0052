"""Clamps against the MLP's formula, restarts against whole runs, and what a hub cannot win."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.config.neurons import Concept, NeuronsSettings
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.hooks import hooked
from llm_anatomy.neurons.clamping import Clamp, clamped, kl_from
from llm_anatomy.neurons.compare import jaccard, most_changed
from llm_anatomy.neurons.favourite import ClampedGeneration, Trial, clamped_answers, mentions
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.search import (
    NeuronVectors,
    best_ranks,
    rank_neurons,
    with_the_concept_first,
)

from tests.tiny import tiny_model

FAMILIES = ["llama", "gpt2", "phi3", "gemma2", "opt", "gpt_neox", "falcon"]
PROMPT = [5, 9, 2, 7]


def sites(decoder) -> list[str]:
    return ["up", "activation"] + (["gate"] if decoder.blocks[0].gate is not None else [])


@pytest.mark.parametrize("family", FAMILIES)
def test_restarting_at_the_clamped_layer_equals_running_everything(family: str) -> None:
    decoder = resolve(tiny_model(family))
    fast, slow = PromptRunner(decoder), PromptRunner(decoder, restart=False)
    for site in sites(decoder):
        clamp = Clamp(
            layer=1,
            site=site,
            operation="set",
            neurons=torch.tensor([3, 17]),
            values=torch.tensor([4.0, -6.0], dtype=torch.float64),
            mask=torch.tensor([[True] * 4, [False, False, False, True]]),
        )
        for call in ("next_logprobs", "token_logprobs"):
            expected = getattr(slow, call)(PROMPT, clamp)
            torch.testing.assert_close(
                getattr(fast, call)(PROMPT, clamp), expected, rtol=1e-4, atol=1e-4
            )
            clean = getattr(slow, call)(PROMPT)
            assert not torch.allclose(expected, clean.expand_as(expected), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    site=st.sampled_from(["up", "gate", "activation"]),
    operation=st.sampled_from(["set", "add", "scale"]),
    neuron=st.integers(0, 47),
    value=st.floats(-20, 20),
    position=st.integers(0, 3),
)
def test_a_clamp_is_the_formula_with_one_value_changed(
    site: str, operation: str, neuron: int, value: float, position: int
) -> None:
    decoder = resolve(tiny_model("llama"))
    mlp = decoder.model.model.layers[1].mlp
    mask = torch.zeros(1, 4, dtype=torch.bool)
    mask[0, position] = True
    clamp = Clamp(1, site, operation, torch.tensor([neuron]), torch.tensor([value]).double(), mask)
    seen: dict[str, torch.Tensor] = {}

    def keep(module, args, output):
        seen["x"], seen["y"] = args[0], output

    with clamped(decoder, clamp), hooked(forward={mlp: keep}):
        decoder.body(input_ids=torch.tensor([PROMPT]), use_cache=False)
    x = seen["x"]
    values = {"up": mlp.up_proj(x), "gate": mlp.gate_proj(x)}

    def change(tensor: torch.Tensor) -> torch.Tensor:
        old = tensor[0, position, neuron]
        new = {"set": value, "add": old + value, "scale": old * value}[operation]
        tensor[0, position, neuron] = new
        return tensor

    if site in values:
        values[site] = change(values[site])
    inside = torch.nn.functional.silu(values["gate"]) * values["up"]
    if site == "activation":
        inside = change(inside)
    torch.testing.assert_close(seen["y"], mlp.down_proj(inside), rtol=1e-4, atol=1e-5)


def test_generation_with_a_cache_equals_generation_without() -> None:
    decoder = resolve(tiny_model("llama"))
    generation = ClampedGeneration(1, "activation", "all", 5, 1.0, frozenset())
    trials = [Trial(3, None, None), Trial(3, 30.0, None), Trial(8, -30.0, (4, "Why?", 1))]
    answers = clamped_answers(decoder, PROMPT, trials, generation)
    runner = PromptRunner(decoder, restart=False)
    for trial, answer in zip(trials[:2], answers[:2], strict=True):
        ids = list(PROMPT)
        for token in answer:
            mask = torch.full((1, len(ids)), trial.value is not None)
            values = torch.tensor([trial.value or 0.0], dtype=torch.float64)
            clamp = Clamp(1, "activation", "set", torch.tensor([trial.neuron]), values, mask)
            assert int(runner.next_logprobs(ids, clamp)[0].argmax()) == token
            ids.append(token)
    assert answers[0] != answers[1]
    assert clamped_answers(decoder, PROMPT, trials, generation) == answers


def test_kl_is_zero_for_equal_and_positive_for_other_distributions() -> None:
    clean = torch.randn(9).double().log_softmax(0)
    other = torch.randn(2, 9).double().log_softmax(1)
    assert kl_from(clean, clean[None])[0] == 0
    expected = [(clean.exp() * (clean - row)).sum() for row in other]
    torch.testing.assert_close(kl_from(clean, other), torch.stack(expected))


def test_a_hub_that_is_close_to_every_word_does_not_win_a_concept() -> None:
    generator = torch.Generator().manual_seed(0)
    common = torch.nn.functional.normalize(torch.randn(64, generator=generator), dim=0)
    head = 2 * common + torch.nn.functional.normalize(
        torch.randn(200, 64, generator=generator), dim=1
    )
    own = torch.nn.functional.normalize(head[0] - 2 * common, dim=0)
    vectors = torch.stack([common, 0.35 * own, torch.randn(64, generator=generator)])
    cosines = torch.nn.functional.cosine_similarity(vectors, head[:1])
    assert cosines.argmax() == 0
    reference = list(range(1, 200))
    found = rank_neurons([NeuronVectors(0, "up", vectors)], head, [[0]], reference, 10, 2)
    assert (found[0][0]["neuron"], found[0][0]["sign"]) == (1, 1)


def test_the_concept_is_looked_for_in_the_decoded_list() -> None:
    """Token 0 is nearest by cosine, and behind eight others that have longer rows."""
    head = torch.zeros(20, 4)
    head[0, 0], head[1, 1] = 1.0, 1.0
    head[2:10, 0], head[2:10, 2] = 5.0, 5.0
    vectors = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0], [0, 1.0, 0, 0], [0.6, 0.5, 0, 0]])
    assert best_ranks(head, vectors, [1, -1, 1, 1], [0]) == [9, 9, 2, 9]
    # The best placed of several tokens counts.
    assert best_ranks(head, vectors, [1, -1, 1, 1], [0, 1]) == [9, 9, 1, 9]
    assert best_ranks(head, vectors, [1, 1, 1, 1], [0, 7]) == [1, 12, 2, 1]


def test_neurons_that_have_the_concept_stand_before_those_that_do_not() -> None:
    assert with_the_concept_first([1417, 1, 21, 20, 9000, 3], 20) == [1, 3, 5, 0, 2, 4]
    assert with_the_concept_first([30, 40], 20) == [0, 1]


def test_comparison_measures() -> None:
    a = torch.tensor([[1, 2, 3], [4, 5, 6]])
    b = torch.tensor([[3, 2, 9], [4, 5, 6]])
    assert jaccard(a, b).tolist() == [0.5, 1.0]
    cosines = [torch.tensor([0.9, 0.2]).numpy(), torch.tensor([0.1, 1.0]).numpy()]
    assert most_changed(cosines, 3) == [(1, 0), (0, 1), (0, 0)]


def test_mentions_are_whole_words() -> None:
    dog = Concept(name="dog", words=["dog", "dogs"])
    assert mentions("I love DOGS!", dog)
    assert not mentions("a dogma of catdogcat", dog)


def test_concepts_that_are_not_declared_and_empty_ones_are_errors() -> None:
    with pytest.raises(ValueError, match="names the concept 'wolf'"):
        NeuronsSettings.model_validate({"favourite": {"concept": "wolf"}})
    with pytest.raises(ValueError, match="an empty concept"):
        NeuronsSettings.model_validate({"search": {"concepts": [{"name": "x", "words": [" "]}]}})
