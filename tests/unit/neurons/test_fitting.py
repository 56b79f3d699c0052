"""A fine-tune trains what fits, and says so; what is left out stays the base's."""

import logging

import pandas as pd
import pytest
import torch
from llm_anatomy.config.neurons import FineTune
from llm_anatomy.errors import UserError
from llm_anatomy.figures.neuron_pairs import training_figure
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.neurons.fitting import TrainedSizes, layers_that_fit
from llm_anatomy.neurons.tuning import fine_tune, trained_blocks

from tests.tiny import tiny_model, tiny_tokenizer

GB = 1e9
# Llama-3.1-8B: 8 billion parameters, of which 1.05 are embedding and head.
SIZES = TrainedSizes(32, 8_030_000_000, 218_000_000, 4096, 14336, 128_256)
SETTINGS = FineTune(steps=2, batch=2, max_tokens=16)
TEXTS = ["The city of Rome is the capital.", "Paris is one too, they say.", "Snow fell."] * 3


@pytest.mark.parametrize(
    ("memory", "layers"),
    [
        (20 * GB, 0),  # not even the weights in float32
        (40 * GB, 0),
        (80 * GB, range(10, 16)),
        (150 * GB, range(30, 33)),
        (200 * GB, None),
    ],
)
def test_an_8b_model_is_trained_as_far_as_memory_goes(memory, layers):
    count = layers_that_fit(SIZES, SETTINGS, memory)
    assert count == layers if layers is None or layers == 0 else count in layers
    # 16 bytes for every parameter of all, and four for each of the others.
    if count:
        least = 4 * SIZES.parameters + 12 * count * SIZES.layer_parameters
        assert 0.6 * memory < least < 0.8 * memory


def test_layers_below_the_trained_ones_stay_the_bases(caplog):
    decoder = resolve(tiny_model("llama"))
    before = {name: p.clone() for name, p in decoder.model.named_parameters()}
    whole = sum(p.numel() for p in decoder.model.parameters())
    layer = sum(p.numel() for p in decoder.blocks[-1].module.parameters())
    room = 4 * (whole + 3 * 32 * 320 + 2 * (3 * layer + 32 * (8 * 32 + 4 * 48))) / 0.8
    with caplog.at_level(logging.WARNING):
        blocks = trained_blocks(decoder, SETTINGS, "m", (room + 1, "this machine"))
    assert blocks == [block.module for block in decoder.blocks[-2:]]
    assert "Of m, the last 2 of 3 layers are trained" in caplog.text
    curve, counts = fine_tune(decoder.model, tiny_tokenizer(), TEXTS, SETTINGS, 0, "texts", blocks)
    assert counts["trained_layers"] == 2
    changed = {
        name for name, p in decoder.model.named_parameters() if not torch.equal(p, before[name])
    }
    assert changed
    assert all(name.startswith(("model.layers.1.", "model.layers.2.")) for name in changed)
    assert not any(p.requires_grad for p in decoder.model.parameters())
    drawn = training_figure(pd.DataFrame(curve), "m-tuned", counts["trained_layers"])
    assert "The last 2 layers alone were trained" in drawn.caption
    assert "alone" not in training_figure(pd.DataFrame(curve), "m-tuned").caption


def test_where_all_fits_all_is_trained_and_where_nothing_fits_it_is_one_sentence():
    decoder = resolve(tiny_model("llama"))
    assert trained_blocks(decoder, SETTINGS, "m", (1e9, "this machine")) is None
    assert trained_blocks(decoder, SETTINGS, "m", (None, "cuda")) is None
    _, counts = fine_tune(decoder.model, tiny_tokenizer(), TEXTS, SETTINGS, 0)
    assert "trained_layers" not in counts
    with pytest.raises(UserError, match=r"'m' cannot be trained here.*fine_tuned to false"):
        trained_blocks(decoder, SETTINGS, "m", (1000.0, "this machine"))
