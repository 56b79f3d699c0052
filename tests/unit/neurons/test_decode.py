"""The streamed decoding against the paper's formula written out slowly in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.neurons.compiled_scan import CompiledScanner
from llm_anatomy.neurons.decode import Decoded, HeadDecoder
from llm_anatomy.neurons.scan import TiledHead, TorchScanner
from scipy import stats


def assert_equals_reference(found: Decoded, head: torch.Tensor, vectors: torch.Tensor, k: int):
    """Compare with softmax(U w), one vector at a time, in float64."""
    for index, vector in enumerate(vectors.double()):
        logits = head.double() @ vector
        cosines = logits / head.double().norm(dim=1) / vector.norm()
        for pole, sign in ((found.positive, 1), (found.negative, -1)):
            chances = (sign * logits).softmax(0)
            expected = chances.topk(k)
            # Equal logits may come in any order; their values may not differ.
            np.testing.assert_allclose(chances[pole.ids[index, :k]], expected.values, rtol=1e-4)
            np.testing.assert_allclose(
                pole.probabilities[index, :k], expected.values, atol=1e-5, rtol=1e-4
            )
            np.testing.assert_allclose(
                pole.logsumexp[index], (sign * logits).logsumexp(0), atol=1e-4
            )
            entropy = -(chances * chances.clamp_min(1e-300).log()).sum()
            np.testing.assert_allclose(pole.entropy[index], entropy, atol=1e-4)
            np.testing.assert_allclose(pole.cosine[index], (sign * cosines).max(), atol=1e-4)
        values = logits.numpy()
        np.testing.assert_allclose(found.mean[index], values.mean(), atol=1e-4)
        np.testing.assert_allclose(found.std[index], values.std(), rtol=1e-4)
        np.testing.assert_allclose(found.skew[index], stats.skew(values), atol=1e-3)
        np.testing.assert_allclose(
            found.kurtosis[index], stats.kurtosis(values, fisher=False), rtol=1e-3
        )


@settings(max_examples=40, deadline=None)
@given(
    vocab=st.integers(2, 400),
    width=st.integers(1, 24),
    count=st.integers(1, 9),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    tile=st.sampled_from([64, 128]),
    rows=st.sampled_from([1, 4, 512]),
    compiled=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_any_shape_tiling_and_scale_equals_the_formula(
    vocab: int,
    width: int,
    count: int,
    scale: float,
    tile: int,
    rows: int,
    compiled: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    head = torch.randn(vocab, width, generator=generator)
    vectors = scale * torch.randn(count, width, generator=generator)
    k = min(5, vocab)
    decoder = HeadDecoder(head, k)
    scanner = CompiledScanner if compiled else TorchScanner
    decoder.scanner = scanner(TiledHead(head, tile, screen=False), rows, decoder.count)
    assert_equals_reference(decoder.decode(vectors), head, vectors, k)


def test_the_bytes_do_not_depend_on_the_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    decoder = HeadDecoder(torch.randn(3000, 32, generator=generator), 5)
    vectors = torch.randn(700, 32, generator=generator)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(decoder.decode(vectors))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    one, three = found
    assert torch.equal(one.positive.logits, three.positive.logits)
    assert torch.equal(one.negative.logsumexp, three.negative.logsumexp)
    assert torch.equal(one.kurtosis, three.kurtosis)


@pytest.mark.parametrize("scanner", [CompiledScanner, TorchScanner])
@pytest.mark.parametrize("screen", [False, True])
def test_logits_whose_exponentials_fit_no_number_type_still_have_probabilities(
    scanner: type[CompiledScanner | TorchScanner], screen: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    head = torch.randn(300, 16, generator=generator)
    vectors = torch.randn(6, 16, generator=generator) * torch.tensor([[1.0], [300], [1e4]] * 2)
    decoder = HeadDecoder(head, 3, screen)
    candidates = decoder.scanner.candidates
    decoder.scanner = scanner(TiledHead(head, 128, screen), 4, candidates)
    found = decoder.decode(vectors)
    logits = vectors.double() @ head.double().T
    for pole, sign in ((found.positive, 1), (found.negative, -1)):
        chances = (sign * logits).softmax(1)
        np.testing.assert_allclose(pole.logsumexp, (sign * logits).logsumexp(1), rtol=3e-4)
        assert (pole.ids[:, 0] == chances.argmax(1)).all()
        tolerance = 0.02 if screen else 1e-3
        np.testing.assert_allclose(
            pole.probabilities[:, 0], chances.amax(1), atol=tolerance, rtol=tolerance
        )
        entropy = torch.special.entr(chances).sum(1)
        np.testing.assert_allclose(pole.entropy, entropy, atol=0.05 if screen else 5e-3)
    for values in (found.std, found.skew, found.kurtosis):
        assert values.isfinite().all()


@pytest.mark.parametrize("scanner", [CompiledScanner, TorchScanner])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("equal", "height"), [(256, 78.0), (450, 78.0), (64, 79.9), (4000, 70.5)])
def test_many_equal_logits_far_above_the_mean_have_a_finite_entropy(
    scanner: type[CompiledScanner | TorchScanner], sign: int, equal: int, height: float
) -> None:
    vocab, tile = 1 << 15, 1 << 15
    head = torch.zeros(vocab, 2)
    # So many nats above the mean, which they raise themselves.
    head[1024 : 1024 + equal, 0] = sign * height / (1 - equal / vocab)
    decoder = HeadDecoder(head, 3)
    decoder.scanner = scanner(TiledHead(head, tile, False), 4, 3)
    found = decoder.decode(torch.tensor([[1.0, 0.0]]))
    pole = found.positive if sign == 1 else found.negative
    # What is left to the other tokens is below e^-60.
    assert float(pole.entropy[0]) == pytest.approx(np.log(equal), abs=1e-4)


def test_screening_in_bfloat16_gives_the_float32_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    head = torch.randn(700, 32, generator=generator)
    vectors = torch.randn(60, 32, generator=generator)
    exact = HeadDecoder(head, 4).decode(vectors)
    screened = HeadDecoder(head, 4, screen=True).decode(vectors)
    assert torch.equal(screened.positive.ids, exact.positive.ids)
    assert torch.equal(screened.negative.ids, exact.negative.ids)
    np.testing.assert_allclose(screened.positive.logits, exact.positive.logits, atol=1e-5)
    np.testing.assert_allclose(
        screened.positive.probabilities, exact.positive.probabilities, rtol=0.02
    )


def test_a_vector_of_zeros_is_uniform_and_finite() -> None:
    found = HeadDecoder(torch.randn(100, 8), 3).decode(torch.zeros(1, 8))
    np.testing.assert_allclose(found.positive.probabilities, 0.01, atol=1e-8)
    np.testing.assert_allclose(found.positive.entropy, np.log(100), atol=1e-6)
    assert found.positive.cosine.abs().max() == 0
    assert torch.isfinite(found.kurtosis).all()


def test_equal_logits_come_by_token_id() -> None:
    found = HeadDecoder(torch.ones(3000, 4), 3).decode(torch.ones(1, 4))
    assert found.positive.ids.tolist() == found.negative.ids.tolist() == [[0, 1, 2]]


def test_more_tokens_than_the_vocabulary_is_an_error() -> None:
    with pytest.raises(ValueError, match="only 5 tokens"):
        HeadDecoder(torch.randn(5, 4), 6)


@pytest.mark.parametrize("damage", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_an_error(damage: float) -> None:
    head, vectors = torch.randn(100, 8), torch.randn(3, 8)
    vectors[1, 2] = damage
    with pytest.raises(ValueError, match="a vector holds numbers that are not finite"):
        HeadDecoder(head, 3).decode(vectors)
    head[5, 5] = damage
    with pytest.raises(ValueError, match="the head holds numbers that are not finite"):
        HeadDecoder(head, 3)
