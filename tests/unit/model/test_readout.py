"""The one head computes what models compute, in float32 whatever their type."""

import gc
import weakref

import pytest
import torch
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.hooks import hidden_input, hooked
from llm_anatomy.model.run.readout import Unembedding, unembedding_of

from tests.tiny import tiny_model

# A plain head; biases of norm and head; a scale; a soft-cap; gain 1 + weight.
FAMILIES = ("llama", "gpt2", "phi", "granite", "gemma2", "gemma")
IDS = torch.tensor([[5, 9, 20, 31], [3, 8, 250, 7]])


def final_states(model):
    """States behind the last block and behind the final norm, and the model's logits."""
    decoder, states = resolve(model), []

    def keep(module, args, kwargs):
        states.append(hidden_input(args, kwargs).clone())

    with torch.no_grad(), hooked(pre={decoder.final_norm.module: keep}):
        normed = decoder.body(input_ids=IDS, use_cache=False).last_hidden_state
        logits = decoder.model(input_ids=IDS, use_cache=False).logits
    return decoder, states[0], normed, logits


@pytest.mark.parametrize("family", FAMILIES)
def test_a_float32_model_gives_its_own_logits_to_the_last_bit(family):
    decoder, states, normed, logits = final_states(tiny_model(family))
    unembedding = unembedding_of(decoder)
    assert torch.equal(unembedding.unembed(normed), logits)
    assert torch.equal(unembedding.logits(states), logits)
    assert unembedding.weight.data_ptr() == decoder.head.module.weight.data_ptr(), "no copy"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_half_precision_model_has_logits_in_float32(family, dtype):
    model = tiny_model(family, dtype=dtype)
    decoder, states, normed, logits = final_states(model)
    found = unembedding_of(decoder).logits(states)
    assert found.dtype == torch.float32
    wide = unembedding_of(resolve(tiny_model(family, dtype=dtype).float()))
    assert torch.equal(found, wide.logits(states.float())), "that of the same weights in float32"
    torch.testing.assert_close(found, logits.float(), rtol=0.05, atol=0.05)
    assert torch.equal(unembedding_of(decoder).unembed(normed), wide.unembed(normed.float()))


def test_a_float64_model_has_logits_in_float64():
    decoder, _, normed, logits = final_states(tiny_model("llama", dtype=torch.float64))
    assert unembedding_of(decoder).unembed(normed).dtype == torch.float64
    assert torch.equal(unembedding_of(decoder).unembed(normed), logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_products_and_constant_are_the_logits_of_the_parts(family):
    decoder, _, normed, logits = final_states(tiny_model(family, dtype=torch.float64))
    unembedding, bias = Unembedding(decoder), decoder.final_norm.bias
    parts = normed.flatten(0, 1) - (0 if bias is None else bias.double())
    half = unembedding.products(parts / 2)
    whole = half + half if unembedding.constant is None else half + half + unembedding.constant
    found = unembedding.capped(whole)
    torch.testing.assert_close(found, logits.flatten(0, 1), rtol=1e-6, atol=1e-6)


def test_one_for_all_who_ask_and_gone_with_its_model():
    decoder = resolve(tiny_model("llama", dtype=torch.bfloat16))
    assert unembedding_of(decoder) is unembedding_of(decoder)
    unembedding = weakref.ref(unembedding_of(decoder))
    del decoder
    gc.collect()
    assert unembedding() is None
