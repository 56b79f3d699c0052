"""The real default model: its map equals a float64 reference, and its dog neuron is found."""

import numpy as np
import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.clamping import Clamp, positions_mask
from llm_anatomy.neurons.decode import HeadDecoder
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.weights import ModelWeights

from tests.default_model import default_model

MATRICES = ("up", "gate", "down")
SAMPLE = 200
TOP = 10
LAYER, NEURON = 29, 808


@pytest.mark.default_model
def test_a_sample_of_neurons_equals_the_float64_reference() -> None:
    weights = ModelWeights(default_model().parent)
    head = weights.head.float()
    generator = np.random.default_rng(0)
    vectors = []
    for layer, share in enumerate(np.array_split(np.arange(SAMPLE), weights.n_layers)):
        rows = weights.vectors(layer, MATRICES[layer % 3]).float()
        vectors.append(rows[generator.choice(len(rows), len(share), replace=False)])
    sample = torch.cat(vectors)
    found = HeadDecoder(head, TOP).decode(sample)
    logits = sample.double() @ head.double().T
    for pole, sign in ((found.positive, 1), (found.negative, -1)):
        expected = (sign * logits).softmax(1).topk(TOP)
        assert torch.equal(pole.ids[:, :TOP], expected.indices)
        np.testing.assert_allclose(pole.probabilities[:, :TOP], expected.values, atol=1e-5)
        np.testing.assert_allclose(pole.probabilities[:, :TOP], expected.values, rtol=1e-4)


@pytest.mark.default_model
def test_the_dog_neuron_decodes_to_dog_and_its_clamp_raises_dog() -> None:
    provenance = default_model()
    weights = ModelWeights(provenance.parent)
    words = Vocabulary(weights.folder)
    decoder = HeadDecoder(weights.head.float(), TOP)
    poles = {}
    for matrix in MATRICES:
        vector = weights.vectors(LAYER, matrix)[NEURON : NEURON + 1].float()
        decoded = decoder.decode(vector)
        for sign, pole in ((1, decoded.positive), (-1, decoded.negative)):
            poles[matrix, sign] = [words.text(int(token)) for token in pole.ids[0]]
    assert poles["gate", 1][0] == " dog"
    assert " dog" in poles["up", -1]
    assert " dogs" in poles["down", 1]
    loaded = load_model(provenance, Precision(), Compute())
    prompt = loaded.tokenizer("My favourite animal is the")["input_ids"]
    (dog,) = loaded.tokenizer(" dog", add_special_tokens=False)["input_ids"]
    runner = PromptRunner(loaded.decoder)
    clamp = Clamp(
        layer=LAYER,
        site="up",
        operation="set",
        neurons=torch.tensor([NEURON]),
        values=torch.tensor([20.0], dtype=torch.float64),
        mask=positions_mask(1, len(prompt), "all"),
    )
    assert runner.next_logprobs(prompt)[0, dog].exp() == pytest.approx(0.02, abs=0.002)
    assert runner.next_logprobs(prompt, clamp)[0, dog].exp() == pytest.approx(0.214, abs=0.01)
