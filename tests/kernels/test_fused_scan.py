"""The map's kernel against softmax(U w) in float64, through Triton's interpreter or on a card."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_anatomy.neurons.decode import Decoded, HeadDecoder
from llm_anatomy.neurons.products import SplitHead
from llm_anatomy.neurons.scan import BLOCK
from scipy import stats

pytestmark = pytest.mark.slow


def fused(head: torch.Tensor, k: int, rows: int, device: str) -> HeadDecoder:
    """A decoder whose scans are the kernel's, wherever it runs."""
    from llm_anatomy.neurons.fused_scan import FusedScanner

    decoder = HeadDecoder(head.to(device), k)
    decoder.scanner = FusedScanner(SplitHead(decoder.head), rows, decoder.count)
    return decoder


def numbers(kind: str, generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Random weights as a checkpoint of that kind holds them, widened."""
    values = torch.randn(*shape, generator=generator)
    return {"bfloat16": values.bfloat16(), "float16": values.half(), "float32": values}[
        kind
    ].float()


def assert_equals_formula(found: Decoded, head: torch.Tensor, vectors: torch.Tensor, k: int):
    head, vectors = head.double(), vectors.double()
    logits = vectors @ head.T
    # What two bfloat16 parts may leave out, and float32 round; see `products`.
    slack = (vectors.abs() @ head.abs().T).amax(1) * 2**-14 + 1e-5
    cosines = logits / head.norm(dim=1).clamp_min(1e-30) / vectors.norm(dim=1)[:, None]
    for pole, sign in ((found.positive, 1), (found.negative, -1)):
        signed = sign * logits
        best = signed.topk(k, dim=1).values
        chosen = signed.gather(1, pole.ids[:, :k].cpu())
        assert ((chosen - best).abs() <= slack[:, None]).all()
        assert ((pole.logits[:, :k].cpu() - chosen).abs() <= slack[:, None]).all()
        exact = signed.logsumexp(1)
        assert ((pole.logsumexp.cpu() - exact).abs() <= slack + 1e-5 * exact.abs()).all()
        chances = signed.softmax(1)
        entropy = torch.special.entr(chances).sum(1)
        wide = 1 + signed.abs().amax(1)
        assert ((pole.entropy.cpu() - entropy).abs() <= 2 * slack * wide + 1e-4).all()
        np.testing.assert_allclose(
            pole.cosine.cpu(), (sign * cosines).amax(1), atol=2e-4, rtol=1e-3
        )
    values = logits.numpy()
    np.testing.assert_allclose(found.mean.cpu(), values.mean(1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.std.cpu(), values.std(1), rtol=1e-3)
    np.testing.assert_allclose(found.skew.cpu(), stats.skew(values, axis=1), atol=5e-3)
    np.testing.assert_allclose(
        found.kurtosis.cpu(), stats.kurtosis(values, axis=1, fisher=False), rtol=5e-3
    )


@settings(max_examples=60, deadline=None)
@given(
    vocab=st.integers(3, 2 * 16 * BLOCK + 70),
    width=st.integers(2, 24),
    count=st.integers(1, 9),
    scale=st.sampled_from([0.1, 1.0, 8.0]),
    rows=st.sampled_from([1, 4, 512]),
    kinds=st.tuples(*[st.sampled_from(["bfloat16", "float16", "float32"])] * 2),
    seed=st.integers(0, 10**6),
)
def test_any_shape_and_type_equals_the_formula(
    vocab: int,
    width: int,
    count: int,
    scale: float,
    rows: int,
    kinds: tuple[str, str],
    seed: int,
    device: str,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    head = numbers(kinds[0], generator, vocab, width)
    vectors = scale * numbers(kinds[1], generator, count, width)
    k = min(5, vocab)
    found = fused(head, k, rows, device).decode(vectors.to(device))
    assert_equals_formula(found, head, vectors, k)


def test_bfloat16_weights_give_the_tokens_and_logits_of_float32(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    head = numbers("bfloat16", generator, 1500, 64)
    vectors = numbers("bfloat16", generator, 200, 64)
    found = fused(head, 10, 64, device).decode(vectors.to(device))
    exact = vectors.double() @ head.double().T
    for pole, sign in ((found.positive, 1), (found.negative, -1)):
        best = (sign * exact).topk(10, dim=1)
        assert torch.equal(pole.ids.cpu(), best.indices)
        np.testing.assert_allclose(pole.logits.cpu(), best.values, rtol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("vocab", [130, 1030, 5000])
def test_equal_logits_come_by_token_id(vocab: int, sign: int, device: str) -> None:
    head = torch.zeros(vocab, 4)
    # More equal blocks than are looked at, each with one token that leads.
    leading = torch.arange(vocab - 1, -1, -65)
    head[leading, 0] = 1.0
    found = fused(head, 3, 2, device).decode(torch.tensor([[float(sign), 0, 0, 0]], device=device))
    leaders, others = (found.positive, found.negative)[::sign]
    expected = leading.sort().values
    if len(expected) >= 3:
        assert leaders.ids[0].tolist() == expected[:3].tolist()
    followers = [token for token in range(8) if token not in set(leading.tolist())][:3]
    assert others.ids[0].tolist() == followers


def test_rows_without_a_token_win_no_place(device: str) -> None:
    # One token past whole blocks: the 63 columns that fill its block hold logits of zero.
    head = -torch.ones(2 * BLOCK + 1, 4)
    found = fused(head, 5, 2, device).decode(torch.ones(3, 4, device=device))
    assert (found.positive.ids < len(head)).all()
    np.testing.assert_allclose(found.positive.logits.cpu(), -4.0)
    np.testing.assert_allclose(found.positive.probabilities.cpu(), 1 / len(head), rtol=1e-6)
    np.testing.assert_allclose(found.std.cpu(), 0, atol=1e-6)


def test_logits_whose_exponentials_fit_no_number_type_still_have_probabilities(
    device: str,
) -> None:
    generator = torch.Generator().manual_seed(0)
    head = numbers("bfloat16", generator, 300, 16)
    factors = torch.tensor([[1.0], [32], [256], [2**13]] * 2)
    vectors = numbers("bfloat16", generator, 8, 16) * factors
    found = fused(head, 3, 4, device).decode(vectors.to(device))
    logits = vectors.double() @ head.double().T
    for pole, sign in ((found.positive, 1), (found.negative, -1)):
        chances = (sign * logits).softmax(1)
        np.testing.assert_allclose(pole.logsumexp.cpu(), (sign * logits).logsumexp(1), rtol=1e-5)
        assert (pole.ids[:, 0].cpu() == chances.argmax(1)).all()
        np.testing.assert_allclose(pole.probabilities[:, 0].cpu(), chances.amax(1), atol=1e-3)
        entropy = torch.special.entr(chances).sum(1)
        np.testing.assert_allclose(pole.entropy.cpu(), entropy, atol=5e-3)
    for values in (found.std, found.skew, found.kurtosis):
        assert values.isfinite().all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("equal", "height"), [(256, 78.0), (64, 79.9), (2000, 70.5)])
def test_many_equal_logits_far_above_the_mean_have_a_finite_entropy(
    sign: int, equal: int, height: float, device: str
) -> None:
    head = torch.zeros(1 << 14, 2)
    head[1024 : 1024 + equal, 0] = sign * height / (1 - equal / len(head))
    found = fused(head, 3, 4, device).decode(torch.tensor([[1.0, 0.0]], device=device))
    pole = found.positive if sign == 1 else found.negative
    assert float(pole.entropy[0]) == pytest.approx(np.log(equal), abs=1e-3)


def test_a_vector_of_zeros_is_uniform_and_finite(device: str) -> None:
    found = fused(torch.randn(100, 8), 3, 4, device).decode(torch.zeros(1, 8, device=device))
    np.testing.assert_allclose(found.positive.probabilities.cpu(), 0.01, atol=1e-8)
    assert found.positive.cosine.abs().max() == 0
    assert torch.isfinite(found.kurtosis).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no card is here")
def test_a_card_with_triton_takes_the_kernel() -> None:
    from llm_anatomy.neurons.fused_scan import FusedScanner

    decoder = HeadDecoder(torch.randn(300, 16, device="cuda"), 5, screen=True)
    assert isinstance(decoder.scanner, FusedScanner)
    assert not decoder.screen
