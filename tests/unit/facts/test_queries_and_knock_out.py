"""Query shares and knock-outs against the formulas and the model itself, written out slowly."""

import copy
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.facts.importance import best_attention_neurons, best_ffn_neurons
from llm_anatomy.facts.knockout import (
    Units,
    answers_without,
    attention_units,
    ffn_units,
    head_units,
    joined,
)
from llm_anatomy.facts.queries import (
    attention_query_layers,
    ffn_inner_products,
    ffn_query_layers,
    query_neurons,
)
from llm_anatomy.facts.selections import RandomUnits
from llm_anatomy.facts.subvalues import AttentionUnits, split_units, through_head

from tests.unit.facts.tools import (
    DTYPE,
    FAMILIES,
    PROMPTS,
    decoder_of,
    fact_of,
    recordings_of,
    replay_of,
    subvalues_of,
)

EPS = 1e-12


def entering(block, recording):
    parts = recording.parts()
    return parts[: 2 * block.index + (1 if block.parallel else 2)]


@pytest.mark.parametrize("family", FAMILIES)
def test_inner_products_sum_to_the_pre_activation(family):
    """Σ_u u · key is what the model's own up (and gate) projection gives, less the biases."""
    recording = recordings_of(family)[0]
    for block in decoder_of(family).blocks:
        neurons = torch.tensor([0, 5, 30])
        state = entering(block, recording).sum(0)
        normed = state if block.mlp_norm is None else block.mlp_norm.module(state)
        without = block.mlp_norm.bias if block.mlp_norm and block.mlp_norm.bias is not None else 0
        for role, projection in (("up", block.up), ("gate", block.gate)):
            if projection is None:
                continue
            expected = (projection.weight(DTYPE) @ (normed - without))[neurons]
            found = ffn_inner_products(block, entering(block, recording), neurons, role).sum(0)
            torch.testing.assert_close(found, expected.to(found), rtol=1e-5, atol=1e-6)


def test_the_product_rule_is_the_derivative():
    recording, block = recordings_of("llama")[0], decoder_of("llama").blocks[1]
    parts, neurons = entering(block, recording), torch.tensor([3, 8, 40])
    state = parts.sum(0)

    def coefficient(moved):
        # The norm's scale stays that of the unmoved state.
        normed = block.mlp_norm.frozen(moved[None], state)[0]
        gate = block.gate.weight(DTYPE)[neurons] @ normed
        return block.activation(gate) * (block.up.weight(DTYPE)[neurons] @ normed)

    found = ffn_inner_products(block, parts, neurons, "product")
    step = 1e-6
    for part, u in enumerate(parts):
        slope = (coefficient(state + step * u) - coefficient(state - step * u)) / (2 * step)
        torch.testing.assert_close(found[part], slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("subkey", ["up", "gate", "up+gate", "product"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_shares_of_layers_sum_to_importance(family, subkey):
    fact = fact_of(family)
    best = best_ffn_neurons(fact, 12)
    layers, neurons = split_units(best.units, fact.subvalues.widths)
    shares = ffn_query_layers(
        fact.recording, decoder_of(family).blocks, layers, neurons, best.values, subkey, EPS
    )
    torch.testing.assert_close(shares.scores.sum(), best.values.sum())
    assert (shares.traced, shares.left_out) == (12, 0)
    units, best = best_attention_neurons(fact, 12)
    shares = attention_query_layers(
        fact.recording, decoder_of(family).blocks, units, best.values, EPS
    )
    torch.testing.assert_close(shares.scores.sum(), best.values.sum())


def test_cancelling_inner_products_are_left_out_and_counted():
    fact = fact_of("llama")
    best = best_ffn_neurons(fact, 12)
    layers, neurons = split_units(best.units, fact.subvalues.widths)
    blocks = decoder_of("llama").blocks

    def ratio(at):
        block = blocks[int(layers[at])]
        inner = ffn_inner_products(
            block, entering(block, fact.recording), neurons[at : at + 1], "up"
        )
        return float(inner.sum().abs() / inner.abs().sum())

    ratios = sorted(ratio(at) for at in range(12))
    smallest = (ratios[4] + ratios[5]) / 2
    shares = ffn_query_layers(fact.recording, blocks, layers, neurons, best.values, "up", smallest)
    assert (shares.traced, shares.left_out) == (7, 5)
    kept = [float(best.values[at]) for at in range(12) if ratio(at) > smallest]
    assert float(shares.scores.sum()) == pytest.approx(sum(kept))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_query_neurons_are_the_formula(family):
    """Q = Σ_n Imp_n (m fc2 · key_n) / (h_p · key_n), keyed by the value head of query head j."""
    decoder, recording = decoder_of(family), recordings_of(family)[0]
    units = AttentionUnits(*torch.tensor([[2, 2, 1], [3, 0, 1], [4, 1, 4], [5, 2, 7]]))
    importance = torch.tensor([0.5, 0.25, 0.125], dtype=DTYPE)
    subvalues = subvalues_of(family)
    found = query_neurons(recording, subvalues, units, importance, EPS)
    expected = [torch.zeros(width, dtype=DTYPE) for width in subvalues.widths]
    for n in range(3):
        layer, head, position, k = (
            int(axis[n]) for axis in (units.layer, units.head, units.position, units.dimension)
        )
        block = decoder.blocks[layer]
        row = head // (block.n_heads // block.n_kv_heads) * block.head_dim + k
        state = recording.parts(position)[: 2 * layer + 1].sum(0)
        key = block.v.weight(DTYPE)[row]
        whole = key @ block.attention_norm.frozen(state, state)
        for earlier in range(layer):
            m = subvalues.ffn_coefficients(recording, earlier, position)
            for neuron in range(subvalues.widths[earlier]):
                added = m[neuron] * subvalues.ffn[earlier][:, neuron]
                inner = key @ block.attention_norm.frozen(added, state)
                expected[earlier][neuron] += importance[n] * inner / whole
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma", "opt"])
def test_knock_out_is_zeroing_the_parameters(family):
    decoder = decoder_of(family)
    head_dim = decoder.blocks[0].head_dim
    chosen = [
        Units(),
        joined(ffn_units([(0, 3), (2, 11)]), attention_units([(1, 2, 5), (1, 2, 5)], head_dim)),
        head_units([(0, 1), (2, 3)], head_dim),
        Units(attention_layers=frozenset({1}), ffn_layers=frozenset({1, 2})),
    ]
    prompts, tokens = [*PROMPTS, PROMPTS[0]], [42, 7, 9, 11]
    found = dict(answers_without(decoder, prompts, tokens, chosen, 64))
    for index, units in enumerate(chosen):
        model = copy.deepcopy(decoder.model)
        names = dict(model.named_modules())
        for block in decoder.blocks:
            for projection, columns, layers in (
                (block.down, units.ffn.get(block.index), units.ffn_layers),
                (block.o, units.attention.get(block.index), units.attention_layers),
            ):
                module = names[projection.name]
                inputs = module.weight if projection.transposed else module.weight.T
                for column in columns or ():
                    inputs[column] = 0
                if block.index in layers:
                    for parameter in module.parameters():
                        parameter.zero_()
        logs = model(torch.tensor([prompts[index]])).logits[0, -1].float().log_softmax(-1)
        assert found[index].logprob == pytest.approx(float(logs[tokens[index]]), abs=1e-5)
        assert found[index].rank == int((logs > logs[tokens[index]]).sum()) + 1


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2", "falcon"])
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_joining_at_the_first_switched_layer_is_running_the_whole_prompt(family, data):
    decoder = decoder_of(family)
    layers = st.integers(0, 2)
    drawn = st.tuples(
        st.sampled_from(PROMPTS),
        st.lists(st.tuples(layers, st.integers(0, 47)), max_size=4),
        st.lists(st.tuples(layers, st.integers(0, 3)), max_size=2),
        st.lists(layers, max_size=1),
    )
    jobs = data.draw(st.lists(drawn, max_size=6))
    prompts = [prompt for prompt, *_ in jobs]
    head_dim = decoder.blocks[0].head_dim
    units = [
        dataclasses.replace(
            joined(ffn_units(ffn), head_units(heads, head_dim)), ffn_layers=frozenset(whole)
        )
        for _, ffn, heads, whole in jobs
    ]
    asked = (prompts, [42] * len(jobs), units, data.draw(st.sampled_from([8, 64])), "scale", -0.5)
    slow = dict(answers_without(decoder, *asked))
    fast = dict(answers_without(decoder, *asked, replay_of(family)))
    assert slow.keys() == fast.keys() == set(range(len(jobs)))
    for row, answer in slow.items():
        assert fast[row].logprob == pytest.approx(answer.logprob, abs=1e-6)
        assert fast[row].rank == answer.rank


def test_scaling_by_one_changes_nothing_and_by_zero_is_zeroing():
    decoder, units = decoder_of("llama"), [ffn_units([(1, 4), (0, 9)])] * 3

    def answers(**options):
        found = dict(answers_without(decoder, PROMPTS, [1, 2, 3], units, 64, **options))
        return [found[i].logprob for i in range(3)]

    clean = dict(answers_without(decoder, PROMPTS, [1, 2, 3], [Units()] * 3, 64))
    assert answers(operation="scale", value=1.0) == [clean[i].logprob for i in range(3)]
    assert answers(operation="scale", value=0.0) == answers()
    assert answers(operation="replace", value=0.0) == answers()
    assert answers(operation="replace", value=3.0) != answers()


def test_random_units_are_distinct_and_seeded():
    decoder = decoder_of("llama")
    fact = ("capitals", "France")
    first, again = (RandomUnits(decoder, 3).ffn(20, fact, "ffn") for _ in range(2))
    assert first == again
    assert len(set(first)) == 20
    assert first != RandomUnits(decoder, 4).ffn(20, fact, "ffn")
    assert all(layer < 3 and neuron < 48 for layer, neuron in first)


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_reading_through_heads_sums_to_what_attention_adds(family):
    """A^l = Σ_j Σ_p α_jp · (the state at p read through head j), without biases and post-norm."""
    recording, block = recordings_of(family)[0], decoder_of(family).blocks[1]
    total = torch.zeros(32, dtype=DTYPE)
    for position in range(len(recording.tokens)):
        entering = recording.parts(position)[:3]
        for head in range(block.n_heads):
            # Part by part, as query neurons are read.
            read = through_head(block, head, entering, entering.sum(0)).sum(0)
            total += recording.weights[1][head, position] * read
    torch.testing.assert_close(total, recording.attention[1, -1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("operation", "value"), [("zero", 0.0), ("scale", 0.5), ("scale", -1.0), ("replace", 0.7)]
)
@pytest.mark.parametrize("fast", [False, True], ids=["whole", "joining"])
def test_an_operation_on_units_is_the_same_written_out_for_the_model(fast, operation, value):
    """Neither way of knocking out is asked: each projection is computed anew from its input."""
    family = "llama"
    decoder, head_dim = decoder_of(family), decoder_of(family).blocks[0].head_dim
    prompts, tokens = [PROMPTS[0], PROMPTS[0], PROMPTS[2]], [42, 42, 7]
    chosen = [
        Units(),
        joined(ffn_units([(0, 3), (2, 11)]), attention_units([(1, 2, 5)], head_dim)),
        Units(
            attention={0: frozenset({1, 30})},
            attention_layers=frozenset({1}),
            ffn_layers=frozenset({1, 2}),
        ),
    ]
    asked = (decoder, prompts, tokens, chosen, 64, operation, value)
    found = dict(answers_without(*asked, replay_of(family) if fast else None))
    for index, units in enumerate(chosen):

        def written_out(block, role, units=units):
            columns = {"down": units.ffn, "o": units.attention}[role].get(block.index, ())
            layers = {"down": units.ffn_layers, "o": units.attention_layers}[role]

            def forward(module, args, output):
                inputs = args[0].clone()
                for column in columns:
                    new = {"zero": 0.0, "scale": inputs[..., column] * value, "replace": value}
                    inputs[..., column] = new[operation]
                added = inputs @ module.weight.T
                if block.index in layers:
                    # A whole layer has no coefficients to replace: what it adds is scaled or gone.
                    added = added * (value if operation == "scale" else 0.0)
                return added

            return forward

        handles = [
            projection.module.register_forward_hook(written_out(block, role))
            for block in decoder.blocks
            for role, projection in (("down", block.down), ("o", block.o))
        ]
        logs = decoder.model(torch.tensor([prompts[index]])).logits[0, -1].log_softmax(-1)
        for handle in handles:
            handle.remove()
        assert found[index].logprob == pytest.approx(float(logs[tokens[index]]), abs=1e-6)
        assert found[index].rank == int((logs > logs[tokens[index]]).sum()) + 1
