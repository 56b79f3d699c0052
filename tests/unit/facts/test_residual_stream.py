"""The parts of the residual stream sum to the model's own state and logits."""

import pytest
import torch
from llm_anatomy.errors import UserError
from llm_anatomy.facts.record import record_prompts
from llm_anatomy.facts.subvalues import head_position_vectors

from tests.tiny import tiny_model
from tests.unit.facts.tools import (
    DTYPE,
    FAMILIES,
    PROMPTS,
    decoder_of,
    readout_of,
    recordings_of,
    subvalues_of,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_sum_to_the_models_states(family):
    decoder = decoder_of(family)
    for index, recording in recordings_of(family).items():
        out = decoder.model(torch.tensor([PROMPTS[index]]), output_hidden_states=True)
        for layer in range(decoder.n_layers):
            expected = out.hidden_states[layer][0]
            total = recording.start + (recording.attention + recording.ffn)[:layer].sum(0)
            torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            recording.log_probabilities, out.logits[0, -1].log_softmax(-1), rtol=1e-6, atol=1e-6
        )
        readout = readout_of(family, index)
        torch.testing.assert_close(
            readout.log_probabilities(recording.states()[-1:])[0],
            recording.log_probabilities,
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_and_positions_sum_to_attention(family):
    decoder, recording = decoder_of(family), recordings_of(family)[0]
    for block in decoder.blocks:
        vectors = head_position_vectors(block, recording)
        # With a zero input the o projection gives its bias alone.
        bias = block.o.bias(DTYPE)
        raw = recording.raw_attention[block.index, -1]
        rest = torch.zeros_like(raw) if bias is None else bias
        from llm_anatomy.facts.record import added_attention

        total = vectors.sum((0, 1)) + added_attention(block, rest, raw)
        torch.testing.assert_close(
            total, recording.attention[block.index, -1], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_neurons_sum_to_ffn_and_attention(family):
    decoder, recording = decoder_of(family), recordings_of(family)[2]
    subvalues = subvalues_of(family)
    for block in decoder.blocks:
        layer = block.index
        from llm_anatomy.facts.record import added_attention, added_ffn

        for position in (0, -1):
            bias = block.down.bias(DTYPE)
            raw = recording.raw_ffn[layer, position]
            rest = torch.zeros_like(raw) if bias is None else bias
            total = subvalues.ffn[layer] @ subvalues.ffn_coefficients(recording, layer, position)
            torch.testing.assert_close(
                total + added_ffn(block, rest, raw),
                recording.ffn[layer, position],
                rtol=1e-5,
                atol=1e-6,
            )
        scalars = subvalues.attention_coefficients(recording, layer).sum(1).flatten()
        raw = recording.raw_attention[layer, -1]
        bias = block.o.bias(DTYPE)
        rest = torch.zeros_like(raw) if bias is None else bias
        torch.testing.assert_close(
            subvalues.attention[layer] @ scalars + added_attention(block, rest, raw),
            recording.attention[layer, -1],
            rtol=1e-5,
            atol=1e-6,
        )


def test_a_stream_with_something_else_is_refused():
    from llm_anatomy.model.parts.resolve import resolve

    model = tiny_model("llama")
    model.model.layers[1].register_forward_hook(lambda m, a, output: output + 0.5)
    with pytest.raises(UserError, match="beside attention and MLP"):
        list(record_prompts(resolve(model), PROMPTS, 64))
