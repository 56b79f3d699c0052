"""Features and counts of the real default model equal the slow references."""

import numpy as np
import pytest
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.geometry.spline import spline_features
from llm_anatomy.model.run.batching import token_budget_batches
from llm_anatomy.model.run.loading import load_model

from tests.default_model import default_model
from tests.unit.geometry import reference

TEXT = "The lake lies at the foot of two low hills."


@pytest.mark.default_model
def test_one_text_equals_the_naive_float64_loop_and_eager_attention() -> None:
    loaded = load_model(default_model(), Precision(), Compute())
    decoder, ids = loaded.decoder, loaded.tokenizer(TEXT)["input_ids"]
    (batch,) = token_budget_batches([ids], budget=64)
    read = read_activations(decoder, partitions(decoder), batch, Request(attention_tokens="last"))
    actual = spline_features(
        read.active[:, 0].numpy(), read.distance[:, 0].numpy(), np.array([len(ids)])
    )[0]
    for block, h in zip(decoder.blocks, reference.preactivations(decoder, ids), strict=True):
        expected = reference.features(h, block.preactivation.weight().numpy())
        np.testing.assert_allclose(actual[block.index], expected, rtol=1e-5, atol=1e-12)
    assert read.relative_counts is not None
    for layer, heads in enumerate(reference.attention(decoder, ids)):
        expected_counts = [reference.count(head[-1], 0.1, relative=True) for head in heads]
        assert read.relative_counts[layer, 0, 0].tolist() == expected_counts
