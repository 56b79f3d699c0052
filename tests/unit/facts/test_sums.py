"""Sums over all neurons in float32, against Eq. 13 in float64: no rounding may add up.

The default model has 46,080 neurons and the sum of one fact must be right to 1e-3.
"""

import pytest
import torch
from llm_anatomy.config.facts import Attribution
from llm_anatomy.facts.importance import (
    Fact,
    best_ffn_neurons,
    ffn_coefficients,
    ffn_increase,
    head_importance,
)
from llm_anatomy.facts.readout import Readout, TargetToken
from llm_anatomy.facts.record import record_prompts
from llm_anatomy.facts.subvalues import Subvalues
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.readout import unembedding_of

from tests.tiny import tiny_model

PER_NEURON = 1e-3 / 46080
PROMPT = [5, 9, 20, 31, 7]


def fact_in(family, mode, target, dtype=torch.float32):
    decoder = resolve(tiny_model(family, dtype=dtype, vocab_size=16384))
    ((_, recording),) = record_prompts(decoder, [PROMPT], 64)
    readout = Readout(unembedding_of(decoder), recording.states()[-1], mode)
    certify = Attribution().search == "certified"
    return Fact(recording, readout, target, Subvalues(decoder), certify)


def scores64(fact, states):
    """Log p(w | state), or its contrast, from the definition."""
    decoder, target = fact.subvalues.decoder, fact.target
    norm, states, final = decoder.final_norm, states.double(), fact.readout.final.double()
    mode = fact.readout.mode
    normed = states
    if mode != "none":
        of = final if mode == "frozen" else states
        if norm.centred:
            normed, of = states - states.mean(-1, keepdim=True), of - of.mean(-1, keepdim=True)
        scale = (of.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        normed = normed / scale * norm.gain.double()
        if norm.bias is not None:
            normed = normed + norm.bias.double()
    logits = normed @ decoder.head.weight(torch.float64).T * decoder.logit_scale
    if decoder.logit_softcap is not None:
        logits = decoder.logit_softcap * torch.tanh(logits / decoder.logit_softcap)
    logs = logits.log_softmax(-1)
    if target.contrast is not None:
        return logs[:, target.token] - logs[:, target.contrast]
    return logs[:, target.token]


@pytest.mark.parametrize(
    ("family", "mode", "target", "dtype"),
    [
        ("llama", "frozen", TargetToken(42), torch.float32),
        ("llama", "per_vector", TargetToken(42), torch.float32),
        ("llama", "none", TargetToken(42), torch.bfloat16),
        ("llama", "frozen", TargetToken(42, contrast=7), torch.float32),
        ("gpt2", "frozen", TargetToken(42), torch.float16),
        ("gemma2", "frozen", TargetToken(42), torch.bfloat16),
        ("gemma2", "per_vector", TargetToken(42), torch.float32),
    ],
)
def test_every_increase_and_their_sum_are_those_of_float64(family, mode, target, dtype):
    fact = fact_in(family, mode, target, dtype)
    coefficients = ffn_coefficients(fact)
    units = torch.arange(len(coefficients))
    found = ffn_increase(fact, coefficients, units)
    exact = []
    start = 0
    for layer, columns in enumerate(fact.subvalues.ffn):
        base = fact.states[2 * layer + 1].double()
        m = coefficients[start : start + columns.shape[1]].double()
        moved = base + m[:, None] * columns.double().T
        exact.append(scores64(fact, moved) - scores64(fact, base[None]))
        start += columns.shape[1]
    expected = torch.cat(exact)
    # Beside it, what the float32 numbers themselves leave of sizes that a tiny model has.
    allowed = PER_NEURON * len(units) + 3e-7 * float(expected.abs().sum())
    assert abs(float(found.double().sum() - expected.sum())) < allowed
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    # In any order, whatever lies in one part with what.
    shuffled = torch.randperm(len(units), generator=torch.Generator().manual_seed(0))
    again = ffn_increase(fact, coefficients, shuffled)
    torch.testing.assert_close(again, found[shuffled], rtol=1e-5, atol=1e-8)
    best = best_ffn_neurons(fact, 5)
    assert best.units.tolist() == expected.topk(5).indices.tolist()


def test_large_changes_are_those_of_float64_too():
    fact = fact_in("llama", "frozen", TargetToken(42))
    vectors = fact.head_vectors.sum(2) * 40
    bases = 2 * torch.arange(3).repeat_interleave(4)
    found = fact.increase(vectors.flatten(0, 1), bases)
    states = fact.states[bases].double()
    expected = scores64(fact, states + vectors.flatten(0, 1)) - scores64(fact, states)
    assert float(expected.abs().max()) > 5
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert head_importance(fact).shape == (3, 4)
