"""Importance is the paper's formula, telescopes, and the certified search equals the exhaustive."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.facts.importance import (
    best_attention_neurons,
    best_ffn_neurons,
    best_head_positions,
    ffn_bounds,
    ffn_coefficients,
    ffn_increase,
    head_importance,
    layer_importance,
    position_importance,
)
from llm_anatomy.facts.methods import METHODS, TokenRanks, best_by_method
from llm_anatomy.facts.readout import Readout, TargetToken, interpolated_scores
from llm_anatomy.facts.search import certified_best, exhaustive_best
from llm_anatomy.facts.subvalues import head_position_vectors, split_units, value_scalars
from llm_anatomy.model.run.readout import Unembedding, unembedding_of

from tests.unit.facts.tools import (
    DTYPE,
    FAMILIES,
    PROMPTS,
    TARGET,
    decoder_of,
    fact_of,
    readout_of,
    recordings_of,
    subvalues_of,
)

# Soft-capped logits are not affine, so that the bound does not hold there.
AFFINE = tuple(family for family in FAMILIES if family != "gemma2")


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ([1, 1, 1, 3], [0.01, 0.02, 0.05, 0.93]),
        ([3, 1, 1, 1], [0.20, 0.07, 0.20, 0.53]),
        ([6, 4, 4, 4], [0.20, 0.07, 0.20, 0.53]),
        ([6, 2, 2, 2], [0.64, 0.03, 0.09, 0.23]),
        ([-6, -2, -2, -2], [0.00, 0.09, 0.24, 0.67]),
    ],
)
def test_the_papers_toy_table(added, expected):
    toy = Unembedding(decoder_of("llama"))
    toy.weight = torch.eye(4, dtype=DTYPE)
    x = torch.tensor([[1.0, 2, 3, 4]], dtype=DTYPE)
    readout = Readout(toy, x[0], "none")
    # The paper cuts some digits instead of rounding them.
    before = torch.tensor([[0.03, 0.09, 0.24, 0.64]], dtype=DTYPE)
    torch.testing.assert_close(readout.log_probabilities(x).exp(), before, rtol=0, atol=0.0075)
    found = readout.log_probabilities(x + torch.tensor([added], dtype=DTYPE)).exp()
    torch.testing.assert_close(found, torch.tensor([expected], dtype=DTYPE), rtol=0, atol=0.0075)
    score = readout.scores(x, TargetToken(2))
    torch.testing.assert_close(score.exp(), before[:, 2], rtol=0, atol=0.0075)


@pytest.mark.parametrize("mode", ["frozen", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_bs_values_are_linear(family, mode):
    readout = readout_of(family, mode=mode)
    x, v = torch.randn(2, 5, 32, dtype=DTYPE).unbind(0)
    torch.testing.assert_close(
        readout.bs_values(x + 2.5 * v), readout.bs_values(x) + 2.5 * readout.bs_values(v)
    )


def test_per_vector_mode_is_the_logit_lens():
    decoder, recording = decoder_of("gpt2"), recordings_of("gpt2")[0]
    states = recording.states()
    found = readout_of("gpt2", mode="per_vector").log_probabilities(states)
    torch.testing.assert_close(
        found, unembedding_of(decoder).logits(states).log_softmax(-1), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("mode", ["frozen", "per_vector", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_telescope(family, mode):
    for prompt in range(len(PROMPTS)):
        fact = fact_of(family, prompt, mode)
        states = fact.recording.states()
        ends = fact.readout.scores(states[[0, -1]], TARGET)
        assert math.isclose(
            float(layer_importance(fact).sum()), float(ends[1] - ends[0]), abs_tol=1e-9
        )
        if mode == "frozen":
            model = fact.recording.log_probabilities[TARGET.token]
            assert math.isclose(float(ends[1]), float(model), abs_tol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_importance_is_equation_13_written_out(family):
    decoder, fact = decoder_of(family), fact_of(family)
    recording, readout = fact.recording, fact.readout

    def log_p(state):
        return float(readout.log_probabilities(state[None])[0, TARGET.token])

    heads, positions = head_importance(fact), position_importance(fact)
    coefficients = ffn_coefficients(fact)
    state = recording.start[-1]
    start = 0
    for block in decoder.blocks:
        layer = block.index
        vectors = head_position_vectors(block, recording)
        group = block.n_heads // block.n_kv_heads
        scalars = value_scalars(block, recording, layer)
        for head in range(block.n_heads):
            expected = log_p(state + vectors[head].sum(0)) - log_p(state)
            assert math.isclose(float(heads[layer, head]), expected, abs_tol=1e-9)
            torch.testing.assert_close(
                scalars[head],
                recording.weights[layer][head][:, None] * recording.values[layer][head // group],
            )
        for position in range(len(recording.tokens)):
            expected = log_p(state + vectors[:, position].sum(0)) - log_p(state)
            assert math.isclose(float(positions[layer, position]), expected, abs_tol=1e-9)
        state = state + recording.attention[layer, -1]
        for neuron in (0, 17, block.n_neurons - 1):
            subvalue = subvalues_of(family).ffn[layer][:, neuron]
            expected = log_p(state + coefficients[start + neuron] * subvalue) - log_p(state)
            found = ffn_increase(fact, coefficients, torch.tensor([start + neuron]))
            assert math.isclose(float(found), expected, abs_tol=1e-9)
        start += block.n_neurons
        state = state + recording.ffn[layer, -1]


@pytest.mark.parametrize("target", [TARGET, TargetToken(42, contrast=7)])
@pytest.mark.parametrize("family", FAMILIES)
def test_certified_equals_exhaustive(family, target):
    fast = fact_of(family, 2, target=target)
    slow = fact_of(family, 2, target=target, certify=False)
    for best, reference in (
        (best_ffn_neurons(fast, 20), best_ffn_neurons(slow, 20)),
        (best_attention_neurons(fast, 20)[1], best_attention_neurons(slow, 20)[1]),
        (best_head_positions(fast, 5)[1], best_head_positions(slow, 5)[1]),
    ):
        assert best.units.tolist() == reference.units.tolist()
        torch.testing.assert_close(best.values, reference.values)
        assert best.certified
        assert reference.evaluated == reference.n_units
        assert best.values[-1] >= best.next_bound


@pytest.mark.parametrize("family", AFFINE)
def test_the_bound_is_never_violated(family):
    for mode in ("frozen", "none"):
        fact = fact_of(family, 1, mode)
        coefficients = ffn_coefficients(fact)
        exact = ffn_increase(fact, coefficients, torch.arange(len(coefficients)))
        assert (exact <= ffn_bounds(fact, coefficients) + 1e-9).all()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("method", METHODS)
def test_methods_are_the_papers_formulas(family, method):
    fact = fact_of(family)
    subvalues = subvalues_of(family)
    m = ffn_coefficients(fact)
    v = torch.cat([columns.T for columns in subvalues.ffn])
    layers, _ = split_units(torch.arange(len(m)), subvalues.widths)
    x = fact.states[2 * layers + 1]

    def p(states):
        return fact.readout.log_probabilities(states)[:, TARGET.token].exp()

    def rank(vectors):
        bs = fact.readout.bs_values(vectors)
        return (bs > bs[:, TARGET.token, None]).sum(-1) + 1

    expected = {
        "log_prob_increase": p(x + m[:, None] * v).log() - p(x).log(),
        "log_prob": p(m[:, None] * v).log(),
        "prob_increase": p(x + m[:, None] * v) - p(x),
        "norm": v.norm(dim=1),
        "coefficient": m.abs(),
        "inverse_rank": 1 / rank(v),
        "coefficient_norm": m.abs() * v.norm(dim=1),
        "coefficient_rank": m.abs() / rank(v),
    }[method]
    ranks = TokenRanks(subvalues, [TARGET.token])
    best = best_by_method(fact, method, 10, ranks)
    reference = expected.topk(10).values.to(best.values.dtype)
    torch.testing.assert_close(best.values, reference, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(expected[best.units].to(reference), reference, rtol=1e-6, atol=1e-9)


def test_signed_ranks_read_m_v():
    fact = fact_of("llama")
    subvalues = subvalues_of("llama")
    m = ffn_coefficients(fact)
    bs = fact.readout.bs_values(m[:, None] * torch.cat([c.T for c in subvalues.ffn]))
    expected = (bs > bs[:, 42, None]).sum(-1) + 1
    assert (m < 0).any()
    assert TokenRanks(subvalues, [42]).of(42, m).tolist() == expected.tolist()


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.integers(-50, 50), min_size=1, max_size=300),
    slack=st.lists(st.integers(0, 20), min_size=300, max_size=300),
    count=st.integers(1, 40),
)
def test_any_upper_bound_gives_the_best(values, slack, count):
    exact = torch.tensor(values, dtype=DTYPE)
    bounds = exact + torch.tensor(slack[: len(values)], dtype=DTYPE)
    seen = []

    def evaluate(units):
        seen.extend(units.tolist())
        return exact[units]

    best = certified_best(bounds, evaluate, count)
    reference = exhaustive_best(len(values), lambda units: exact[units], count)
    assert best.values.tolist() == reference.values.tolist()
    assert best.certified
    assert len(seen) == len(set(seen)) == best.evaluated


@pytest.mark.parametrize("family", FAMILIES)
def test_the_curve_runs_from_embedding_to_answer(family):
    fact = fact_of(family)
    start, end = fact.states[0], fact.states[-1]
    logs, chances = interpolated_scores(fact.readout, start, end, TARGET, points=5)
    between = torch.stack([start + share * (end - start) for share in (0, 0.25, 0.5, 0.75, 1)])
    torch.testing.assert_close(logs, fact.readout.scores(between, TARGET))
    torch.testing.assert_close(chances, logs.exp())
