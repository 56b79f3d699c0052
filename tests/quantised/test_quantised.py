"""8- and 4-bit weights through bitsandbytes, on the default model, wherever the package runs."""

import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.model.run.loading import load_model

from tests.default_model import default_model
from tests.packages import install_packages

# What the layer's own kernel may differ from its dequantised weights by: 8-bit layers round their
# inputs too.
KERNEL = {"8bit": 0.02, "4bit": 1e-4}
# What quantised weights may differ from the model's by.
WEIGHTS = {"8bit": 0.02, "4bit": 0.11}


@pytest.fixture(scope="module")
def bitsandbytes(tmp_path_factory):
    """The package, in a folder of its own: the locked environment is without it."""
    folder = tmp_path_factory.mktemp("quantised")
    install_packages(folder, "envs/quantised.lock")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


@pytest.mark.slow
@pytest.mark.default_model
@pytest.mark.parametrize("quantisation", ["8bit", "4bit"])
@torch.no_grad()
def test_dense_weights_are_what_the_quantised_layers_compute(bitsandbytes, quantisation):
    model = default_model()
    exact = load_model(model, Precision(), Compute()).decoder
    loaded = load_model(model, Precision(quantisation=quantisation), Compute())
    decoder = loaded.decoder
    for role in ("up", "gate", "down", "v", "o"):
        projection = getattr(decoder.blocks[1], role)
        dense = projection.weight(torch.float32)
        original = getattr(exact.blocks[1], role).weight(torch.float32)
        inputs = torch.randn(8, dense.shape[1], generator=torch.Generator().manual_seed(0))
        computed = projection.select(projection.module(inputs))
        assert_close(inputs @ dense.T, computed, KERNEL[quantisation], role)
        assert_close(dense, original, WEIGHTS[quantisation], role)
    tokens = torch.tensor([loaded.tokenizer("The capital of France is")["input_ids"]])
    top = decoder.model(input_ids=tokens).logits[0, -1].argmax()
    assert loaded.tokenizer.decode([int(top)]) == " Paris"
    assert loaded.provenance["quantisation"] == quantisation


def assert_close(actual, expected, tolerance, role):
    gap = float((actual - expected).norm() / expected.norm())
    assert gap <= tolerance, f"{role}: {gap}"
