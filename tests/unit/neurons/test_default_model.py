"""The real default model: its map equals a float64 reference, its dog neuron is found, and its
contexts are those of a naive pass.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.contexts import Contexts
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.clamping import Clamp, positions_mask
from llm_anatomy.neurons.contexts import join_contexts, watch_neurons
from llm_anatomy.neurons.decode import HeadDecoder
from llm_anatomy.neurons.runner import PromptRunner
from llm_anatomy.neurons.weights import ModelWeights

from tests.default_model import default_model
from tests.unit.neurons.test_contexts import naive_contexts, naive_values, read_texts

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


@pytest.mark.default_model
def test_contexts_of_a_few_texts_equal_a_naive_pass() -> None:
    loaded = load_model(default_model(), Precision(), Compute(threads=1))
    lines = [
        "The dog ran across the field and barked at the postman.",
        "The dog ran home.",
        "Paris is the capital of France, and Rome that of Italy.",
        "def add(a, b):\n    return a + b",
        "It rained all night; in the morning the river was high.",
        "1, 2, 3, 5, 8, 13, 21, 34",
    ]
    texts = read_texts(loaded.tokenizer, lines)
    settings = Contexts(count=3, before=3, after=2)
    values = naive_values(loaded.decoder, texts, "activation")
    chosen = {layer: values[layer] for layer in (0, 14, 29)}
    words = [f"<{token}>" for token in range(loaded.decoder.token_rows)]
    expected = naive_contexts(chosen, texts, settings, words)
    for budget in (1, 2048):
        seen = watch_neurons(loaded.decoder, words, texts, settings, budget)
        found = pd.concat(
            [join_contexts([seen.contexts(layer)], 3).to_pandas() for layer in chosen],
            ignore_index=True,
        )
        # A few neurons have one sign on all tokens of a text.
        assert 3 * 1536 * 2 * 3 * 0.99 < len(found) == len(expected)
        np.testing.assert_allclose(
            found["activation"], expected["activation"], rtol=1e-3, atol=1e-5
        )
        # Two texts begin alike: there they are equal up to rounding, which may order them.
        same = ["neuron", "sign", "rank", "position", "before", "token"]
        assert (found[same] == expected[same]).all(axis=1).mean() > 0.999
