"""Every family's sites against what its own modules put out and take in."""

import pytest
import torch
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.mlp_sites import noted, sites_there

from tests.tiny import tiny_model

TOKENS = torch.tensor([[3, 7, 9, 4], [5, 6, 8, 2]])
FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma2", "phi3")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_activation_is_the_product_of_gate_and_up(family):
    """Gate and up may be rows of one fused module, in either order."""
    model = tiny_model(family, dtype=torch.float64)
    decoder = resolve(model)
    seen = {}
    notes = [
        (
            block,
            {
                site: lambda site, values, layer=block.index: seen.update({(layer, site): values})
                for site in sites_there(block)
            },
        )
        for block in decoder.blocks
    ]
    with torch.no_grad(), noted(notes):
        decoder.body(input_ids=TOKENS, use_cache=False)
    with torch.no_grad():
        decoder.body(input_ids=TOKENS[:1], use_cache=False)
    gated = decoder.blocks[0].gate is not None
    assert sites_there(decoder.blocks[0]) == (
        ["up", "gate", "activation"] if gated else ["up", "activation"]
    )
    for block in decoder.blocks:
        up, down = seen[block.index, "up"], seen[block.index, "activation"]
        assert up.shape == down.shape == (2, 4, block.n_neurons), "the second pass was seen too"
        expected = (
            block.activation(seen[block.index, "gate"]) * up if gated else block.activation(up)
        )
        torch.testing.assert_close(down, expected, rtol=0, atol=1e-12)
